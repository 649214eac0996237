"""Mesh overview: is all well, how much is asked of whom, how fast, and whose breaker is open."""

from grafana_foundation_sdk.builders import dashboard

from grafana.boards import panels as p

EDGE = "{{source_workload}} → {{destination_workload}}"
INGRESS = 'reporter="source", source_workload="ingress"'
LATENCY = f"sum by (le) (rate(istio_request_duration_milliseconds_bucket{{{INGRESS}}}[30s]))"
# Not the recorded series: only the histogram itself has exemplars, which lead to the traces behind a point.
SLOWEST = (
    "histogram_quantile(0.99, sum by (source_workload, destination_workload, le) "
    '(rate(istio_request_duration_milliseconds_bucket{reporter="source"}[30s])))'
)
BREAKER = {0: ("closed", "green"), 1: ("open", "red"), 2: ("half-open", "yellow")}


def overview() -> dashboard.Dashboard:
    """The first board that people see."""
    return (
        p.board(
            "mesh-overview",
            "Mesh overview",
            "Throughput, latency, errors, saturation and breakers of the mesh.",
        )
        .with_row(dashboard.Row("What comes in"))
        .with_panel(
            p.number(
                "Requests/s",
                "What the ingress sends on.",
                p.PER_SECOND,
                f"sum(rate(istio_requests_total{{{INGRESS}}}[30s]))",
            )
        )
        .with_panel(
            p.number(
                "Failed",
                "Share of the ingress's requests that ended in 5xx or in no answer.",
                p.RATIO,
                f'(sum(rate(istio_requests_total{{{INGRESS}, response_code=~"5..|0"}}[30s])) or vector(0)) '
                f"/ sum(rate(istio_requests_total{{{INGRESS}}}[30s]))",
                warn=0.001,
                bad=0.01,
            )
        )
        .with_panel(
            p.number(
                "p50",
                "Half of the ingress's requests are faster.",
                p.MILLISECONDS,
                f"histogram_quantile(0.5, {LATENCY})",
            )
        )
        .with_panel(
            p.number(
                "p99",
                "99 of 100 of the ingress's requests are faster.",
                p.MILLISECONDS,
                f"histogram_quantile(0.99, {LATENCY})",
                warn=250,
                bad=1000,
            )
        )
        .with_panel(
            p.number(
                "Breakers open",
                "Breakers that hold an endpoint out, over all callers.",
                p.COUNT,
                "count(circuit_breaker_state == 1) or vector(0)",
                warn=1,
                bad=8,
            )
        )
        .with_panel(
            p.number(
                "Instances unhealthy",
                "As control sees the containers.",
                p.COUNT,
                "count(mesh_instance_healthy == 0) or vector(0)",
                warn=1,
                bad=4,
                empty="control does not run",
            )
        )
        .with_row(dashboard.Row("Per edge: who calls whom"))
        .with_panel(
            p.graph(
                "Throughput",
                "Requests/s of each edge, as the caller's sidecar counts them.",
                p.PER_SECOND,
                ("edge:requests:rate30s", EDGE),
                traces_of=p.CALLEE,
                stack=True,
            )
        )
        .with_panel(
            p.graph(
                "Error ratio",
                "Share of each edge's requests that ended in 5xx or in no answer.",
                p.RATIO,
                ("edge:error_ratio:rate30s", EDGE),
                traces_of=p.CALLEE,
            )
        )
        .with_panel(
            p.graph(
                "Latency p50",
                "Half of the edge's requests are faster; retries are in it.",
                p.MILLISECONDS,
                ("edge:latency_ms:p50", EDGE),
                traces_of=p.CALLEE,
            )
        )
        .with_panel(
            p.graph(
                "Latency p99",
                "99 of 100 of the edge's requests are faster; retries are in it. A dot is a request: its trace.",
                p.MILLISECONDS,
                (SLOWEST, EDGE),
                traces_of=p.CALLEE,
            )
        )
        .with_row(dashboard.Row("Per service"))
        .with_panel(
            p.graph(
                "Throughput per service",
                "Requests/s that all callers together send.",
                p.PER_SECOND,
                ("service:requests:rate30s", "{{destination_workload}}"),
                traces_of=p.CALLEE,
            )
        )
        .with_panel(
            p.graph(
                "Error ratio per service",
                "As all its callers saw it.",
                p.RATIO,
                ("service:error_ratio:rate30s", "{{destination_workload}}"),
                traces_of=p.CALLEE,
            )
        )
        .with_panel(
            p.graph(
                "Requests in flight",
                "Saturation: what waits for an answer at this moment, per edge.",
                p.COUNT,
                ("edge:in_flight", EDGE),
            )
        )
        .with_panel(
            p.graph(
                "Processor per service",
                "Cores that the sidecars and the apps of a service use.",
                p.CORES,
                (
                    'sum by (service) (rate(process_cpu_seconds_total{job=~"sidecars|ingress"}[30s]))',
                    "{{service}} sidecars",
                ),
                (
                    'sum by (service) (rate(process_cpu_seconds_total{job="services"}[30s]))',
                    "{{service}} apps",
                ),
            )
        )
        .with_row(dashboard.Row("Breakers"))
        .with_panel(
            p.timeline(
                "Breakers",
                "Of each endpoint, the worst that any caller's breaker says.",
                BREAKER,
                ("max by (endpoint) (circuit_breaker_state)", "{{endpoint}}"),
                empty=p.NO_TRAFFIC,
            )
        )
        .with_panel(
            p.graph(
                "Breakers opened",
                "Times that breakers opened, per endpoint, in 30 s.",
                p.COUNT,
                ("sum by (endpoint) (increase(circuit_breaker_opens_total[30s]))", "{{endpoint}}"),
            )
        )
        .with_panel(
            p.graph(
                "Picks that passed over an open endpoint",
                "How much traffic the breakers turn away from it.",
                p.PER_SECOND,
                ("sum by (endpoint) (rate(circuit_breaker_rejections_total[30s]))", "{{endpoint}}"),
            )
        )
    )
