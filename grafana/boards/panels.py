"""What every panel of every board has: a data source, a unit, a description, words for when there is nothing."""

import json
from collections.abc import Sequence

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models.common import StackingMode, VisibilityMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

METRICS = DataSourceRef(type_val="prometheus", uid="prometheus")
TAG = "mesh"

# Grafana's names of units
PER_SECOND, MILLISECONDS, SECONDS, RATIO, COUNT, STATE = "reqps", "ms", "s", "percentunit", "short", "none"
BYTES, CORES = "bytes", "short"

# An empty panel says why: nobody has called yet, or nothing is wrong.
NO_TRAFFIC = "no traffic yet"

Query = tuple[str, str]  # PromQL, legend


# A count's first sample is no increase of it, and the first kill of an instance is one: so it is looked for.
ACTIONS = (
    "(increase(mesh_actions_total[10s]) > 0) or (mesh_actions_total unless mesh_actions_total offset 10s)"
)


def board(uid: str, title: str, about: str) -> dashboard.Dashboard:
    """A board that refreshes while people look, with links to the others and marks for what was done."""
    links = dashboard.DashboardLink("Mesh").type(DashboardLinkType.DASHBOARDS).tags([TAG]).as_dropdown(True)
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(about)
        .tags([TAG])
        .editable()
        .refresh("5s")
        .time("now-15m", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(links.keep_time(True))
        .annotation(mark("Actions", ACTIONS, "orange"))
        .annotation(
            mark(
                "Breakers opened",
                "sum by (upstream, endpoint) (increase(circuit_breaker_opens_total[10s])) > 0",
                "red",
            )
        )
    )


# What Prometheus' annotations need beside the schema's keys: the words of each mark, and how fine they are looked for.
MARKS = {
    "Actions": {"titleFormat": "{{action}} {{name}}", "step": "5s"},
    "Breakers opened": {"titleFormat": "the breaker of {{endpoint}} opened", "step": "5s"},
}


def mark(name: str, expr: str, colour: str) -> dashboard.AnnotationQuery:
    """Vertical lines on every graph of the board."""
    return (
        dashboard.AnnotationQuery().name(name).datasource(METRICS).enable(True).icon_color(colour).expr(expr)
    )


def service_variable() -> dashboard.QueryVariable:
    """Which service the board is about."""
    return (
        dashboard.QueryVariable("service")
        .label("Service")
        .datasource(METRICS)
        .query('label_values(istio_requests_total{reporter="source"}, destination_workload)')
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )


def queries(found: Sequence[Query], *, instant: bool = False) -> list[prometheus.Dataquery]:
    """PromQL with legends, named A, B, C …"""
    made = []
    for number, (expr, legend) in enumerate(found):
        query = prometheus.Dataquery().datasource(METRICS).expr(expr).legend_format(legend)
        query = query.ref_id(chr(ord("A") + number))
        if instant:
            query = query.instant().format(PromQueryFormat.TABLE)
        made.append(query)
    return made


# The label that names the callee in what the sidecars count.
CALLEE = "${__field.labels.destination_workload}"


def traces_link(service: str) -> dashboard.DashboardLink:
    """From numbers to the traces behind them: Jaeger's search for the service, in the time that is shown."""
    search = {"refId": "A", "queryType": "search", "service": service, "limit": 20}
    pane = {"datasource": "jaeger", "queries": [search], "range": {"from": "${__from}", "to": "${__to}"}}
    url = f"/explore?schemaVersion=1&orgId=1&panes={json.dumps({'traces': pane})}"
    return dashboard.DashboardLink("Traces of this service").url(url).target_blank(True)


def graph(
    title: str,
    about: str,
    unit: str,
    *found: Query,
    empty: str = NO_TRAFFIC,
    span: int = 12,
    stack: bool = False,
    traces_of: str | None = None,
) -> timeseries.Panel:
    """Lines over time, from zero; a click on one opens the traces of the service `traces_of`."""
    panel = timeseries.Panel().title(title).description(about).unit(unit).no_value(empty).datasource(METRICS)
    panel = panel.min(0).span(span).height(8).line_width(1).fill_opacity(8)
    panel = panel.show_points(VisibilityMode.NEVER)
    if traces_of is not None:
        panel = panel.data_links([traces_link(traces_of)])
    if stack:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(30)
    for query in queries(found):
        panel = panel.with_target(query.exemplar(True))
    return panel


def number(
    title: str,
    about: str,
    unit: str,
    expr: str,
    *,
    empty: str = NO_TRAFFIC,
    warn: float | None = None,
    bad: float | None = None,
    span: int = 4,
) -> stat.Panel:
    """One number; green, then yellow from `warn`, red from `bad`."""
    panel = stat.Panel().title(title).description(about).unit(unit).no_value(empty).datasource(METRICS)
    panel = panel.span(span).height(4).with_target(queries([(expr, title)])[0])
    return panel.thresholds(thresholds(warn, bad))


def thresholds(warn: float | None, bad: float | None) -> dashboard.ThresholdsConfig:
    """Green from the start."""
    steps = [Threshold(value=None, color="green")]
    steps += [
        Threshold(value=value, color=colour) for value, colour in ((warn, "yellow"), (bad, "red")) if value
    ]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def timeline(
    title: str, about: str, words: dict[int, tuple[str, str]], *found: Query, empty: str, span: int = 24
) -> statetimeline.Panel:
    """States over time; `words` is the number's word and colour."""
    mapping = ValueMap(
        options={
            str(value): ValueMappingResult(text=text, color=colour, index=index)
            for index, (value, (text, colour)) in enumerate(words.items())
        }
    )
    panel = (
        statetimeline.Panel().title(title).description(about).unit(STATE).no_value(empty).datasource(METRICS)
    )
    panel = (
        panel.span(span).height(10).mappings([mapping]).merge_values(True).show_value(VisibilityMode.NEVER)
    )
    for query in queries(found):
        panel = panel.with_target(query)
    return panel


def rows(title: str, about: str, unit: str, *found: Query, empty: str, span: int = 24) -> table.Panel:
    """A table of now: one row for each set of labels, a column for each query."""
    panel = table.Panel().title(title).description(about).unit(unit).no_value(empty).datasource(METRICS)
    panel = panel.span(span).height(9)
    renamed = {}
    for number_, (query, (_, name)) in enumerate(zip(queries(found, instant=True), found, strict=True)):
        panel = panel.with_target(query)
        renamed[f"Value #{chr(ord('A') + number_)}"] = name
    return panel.transformations(
        [
            DataTransformerConfig(id_val="merge", options={}),
            DataTransformerConfig(
                id_val="organize", options={"excludeByName": {"Time": True}, "renameByName": renamed}
            ),
        ]
    )
