"""`/stats`, `/clusters`, `/server_info` and `/listeners` in Envoy's form, of the snapshot and the metrics."""

import math
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sidecar.admin.clusters import clusters_text
from sidecar.admin.server_info import VERSION, listeners_json, listeners_text, server_info
from sidecar.admin.stats import Buckets, Query, Stats, WrongQuery, quantile, stats_json, stats_text
from sidecar.observe.metrics import Metrics, Peer

ROW: dict[str, Any] = {
    "id": "orders-1",
    "address": "127.0.0.1:9001",
    "health": "passing",
    "breaker": "closed",
    "weight": 2,
    "zone": "north",
    "opens": 1,
    "in_flight": 1,
    "requests": 9,
    "failures": 3,
    "window": {"total": 8, "failed": 2, "slow": 0},
}
OUT = {**ROW, "id": "orders-2", "address": "127.0.0.1:9002", "breaker": "open", "health": "critical"}
SNAPSHOT: dict[str, Any] = {
    "name": "gateway-1",
    "service": "gateway",
    "version": "v2",
    "zone": "north",
    "state": "serving",
    "uptime_s": 12.7,
    "connections": {"downstream": 3},
    "inbound": None,
    "outbound": {"requests": 18, "failed": 6, "in_flight": 2},
    "upstreams": {
        "orders": {
            "requests": 18,
            "retries": 4,
            "overflows": 0,
            "active": 2,
            "pending": 0,
            "endpoints": [ROW, OUT],
        },
        "stock": {"requests": 0, "retries": 0, "overflows": 0, "active": 0, "pending": 0, "endpoints": []},
    },
}


def stats() -> Stats:
    metrics = Metrics(Peer("gateway", "v2"))
    for status, seconds in ((200, 0.002), (200, 0.003), (503, 0.2)):
        metrics.outbound("orders", "v1").record(status, "-", seconds, 0, 100)
    return Stats(SNAPSHOT, metrics.collect())


def test_envoys_names_of_what_is_counted() -> None:
    """Of requests by service and code, of the listener and of the server; by name, whole numbers as such."""
    lines = stats_text(stats(), Query()).splitlines()
    for line in (
        "cluster.orders.upstream_rq_total: 18",
        "cluster.orders.upstream_rq_200: 2",
        "cluster.orders.upstream_rq_5xx: 1",
        "cluster.orders.upstream_rq_completed: 3",
        "cluster.orders.membership_total: 2",
        "cluster.orders.membership_healthy: 1",
        "cluster.orders.outlier_detection.ejections_active: 1",
        "cluster.stock.upstream_rq_time: No recorded values",
        "http.outbound.downstream_rq_5xx: 6",
        "server.live: 1",
        "server.uptime: 12",
    ):
        assert line in lines
    names = [line.partition(": ")[0] for line in lines]
    assert len(set(names)) == len(names)
    text = "\n".join(lines)
    assert "istiocustom.istio_requests_total;.;reporter=.=source;.;source_workload=.=gateway;.;" in text


def test_quantiles_of_what_took_time() -> None:
    """As Envoy writes them: (of the last interval, since the start)."""
    (line,) = stats_text(stats(), Query(filter="^cluster.orders.upstream_rq_time$")).splitlines()
    assert line.startswith("cluster.orders.upstream_rq_time: P0(nan,1) P25(nan,")
    assert line.endswith("P100(nan,250)")


def test_a_quantile_beyond_the_last_bucket_is_its_bound() -> None:
    """Nobody knows how far beyond; without a sample there is none."""
    assert quantile(Buckets((1.0, 5.0, math.inf), (0, 2, 4)), 0.99) == 5.0
    assert quantile(Buckets((1.0, 5.0, math.inf), (0, 2, 4)), 0.25) == 3.0
    assert quantile(Buckets((1.0, math.inf), (0, 0)), 0.5) is None


def test_only_what_was_asked_for() -> None:
    """`filter` is RE2, anywhere in the name; `usedonly` leaves out what never was; `type` takes one kind."""
    found = stats_text(stats(), Query("cluster\\.(orders|stock)\\.upstream_rq_total"))
    assert found == "cluster.orders.upstream_rq_total: 18\ncluster.stock.upstream_rq_total: 0\n"
    found = stats_text(stats(), Query("upstream_rq_total", used_only=True))
    assert found == "cluster.orders.upstream_rq_total: 18\n"
    assert stats_text(stats(), Query("orders.upstream_rq_time", type="Gauges")) == ""
    assert "No recorded values" not in stats_text(stats(), Query(used_only=True))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"filter": "("}, "filter: Invalid regex: missing closing ): `(`"),
        ({"filter": "a" * 2000}, "filter: has more than 1024 characters"),
        ({"type": "Rows"}, "type='Rows': use one of All, Counters, Gauges, Histograms"),
    ],
)
def test_a_wrong_question_is_told(given: dict[str, str], words: str) -> None:
    """In one line that says what can be asked."""
    with pytest.raises(WrongQuery) as caught:
        Query(**given)  # type: ignore[arg-type]  # what is wrong is the point
    assert str(caught.value) == words


def test_the_same_as_json() -> None:
    """Envoy's shape: rows, and the quantiles of all histograms in one."""
    rows = stats_json(stats(), Query("^cluster.orders.upstream_rq_(total|time)$"))["stats"]
    assert rows[0] == {"name": "cluster.orders.upstream_rq_total", "value": 18}
    computed = rows[1]["histograms"]["computed_quantiles"]
    assert [each["name"] for each in computed] == ["cluster.orders.upstream_rq_time"]
    assert len(computed[0]["values"]) == len(rows[1]["histograms"]["supported_quantiles"])


def test_clusters_by_host_and_key() -> None:
    """Who is well and who is kept away, in Envoy's words; then our own keys."""
    lines = clusters_text(SNAPSHOT["upstreams"]).splitlines()
    for line in (
        "orders::observability_name::orders",
        "orders::127.0.0.1:9001::health_flags::healthy",
        "orders::127.0.0.1:9001::rq_success::6",
        "orders::127.0.0.1:9001::rq_total::9",
        "orders::127.0.0.1:9001::success_rate::75.0",
        "orders::127.0.0.1:9001::weight::2",
        "orders::127.0.0.1:9001::breaker::closed",
        "orders::127.0.0.1:9002::health_flags::/failed_eds_health/failed_outlier_check",
    ):
        assert line in lines


def test_who_the_server_is() -> None:
    """State, uptime and node; the version is the project's."""
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert VERSION.split("/")[:2] == ["local-mesh", project["version"]]
    info = server_info(SNAPSHOT, {"workers": 2, "drain_timeout": 30.0, "log_level": "info"})
    assert (info["state"], info["uptime_all_epochs"]) == ("LIVE", "12s")
    assert info["node"]["id"] == "gateway-1"
    assert info["command_line_options"]["drain_time"] == "30s"
    assert server_info({**SNAPSHOT, "state": "draining"}, {})["state"] == "DRAINING"


def test_listeners_by_name() -> None:
    """As text, and as JSON with the port apart; an IPv6 address without its brackets."""
    addresses = {"outbound": "127.0.0.1:15001", "admin": "[::1]:15000"}
    assert listeners_text(addresses) == "outbound::127.0.0.1:15001\nadmin::[::1]:15000\n"
    (_, admin) = listeners_json(addresses)["listener_statuses"]
    assert admin["local_address"]["socket_address"] == {"address": "::1", "port_value": 15000}
