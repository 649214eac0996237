"""Service detail: one service's instances side by side, and what its callers do about them."""

from grafana_foundation_sdk.builders import dashboard

from grafana.boards import panels as p

TO = 'reporter="source", destination_workload="$service"'
AT = 'reporter="destination", service="$service"'
ENDPOINT = 'upstream="$service"'


def service() -> dashboard.Dashboard:
    """For the service that is chosen above."""
    return (
        p.board(
            "mesh-service",
            "Service detail",
            "One service: its instances side by side, its callers' retries and breakers.",
        )
        .with_variable(p.service_variable())
        .with_row(dashboard.Row("As its callers see it"))
        .with_panel(
            p.graph(
                "Requests by caller",
                "Requests/s, counted by the callers' sidecars.",
                p.PER_SECOND,
                (
                    f"sum by (source_workload) (rate(istio_requests_total{{{TO}}}[30s]))",
                    "{{source_workload}}",
                ),
                traces_of="$service",
            )
        )
        .with_panel(
            p.graph(
                "Answers by code",
                "Codes that the callers got, after retries; 0 is no answer.",
                p.PER_SECOND,
                (f"sum by (response_code) (rate(istio_requests_total{{{TO}}}[30s]))", "{{response_code}}"),
                stack=True,
                traces_of="$service",
            )
        )
        .with_panel(
            p.graph(
                "Latency",
                "Percentiles of all callers together; retries are in it.",
                p.MILLISECONDS,
                *(
                    (
                        f"histogram_quantile({q}, sum by (le) (rate(istio_request_duration_milliseconds_bucket{{{TO}}}[30s])))",
                        f"p{q * 100:g}",
                    )
                    for q in (0.5, 0.9, 0.99)
                ),
            )
        )
        .with_panel(
            p.graph(
                "Requests by version",
                "How the traffic divides between versions.",
                p.PER_SECOND,
                (
                    f"sum by (destination_version) (rate(istio_requests_total{{{TO}}}[30s]))",
                    "{{destination_version}}",
                ),
                stack=True,
            )
        )
        .with_row(dashboard.Row("Instances side by side"))
        .with_panel(
            p.graph(
                "Requests per instance",
                "Counted by each instance's own sidecar.",
                p.PER_SECOND,
                (f"sum by (instance) (rate(istio_requests_total{{{AT}}}[30s]))", "{{instance}}"),
                traces_of="$service",
            )
        )
        .with_panel(
            p.graph(
                "Latency p99 per instance",
                "At the instance's own sidecar: the app and what it calls.",
                p.MILLISECONDS,
                (
                    f"histogram_quantile(0.99, sum by (instance, le) (rate(istio_request_duration_milliseconds_bucket{{{AT}}}[30s])))",
                    "{{instance}}",
                ),
            )
        )
        .with_panel(
            p.graph(
                "Errors per instance",
                "5xx that the instance's sidecar answered, its own or its app's.",
                p.PER_SECOND,
                (
                    f'sum by (instance) (rate(istio_requests_total{{{AT}, response_code=~"5.."}}[30s])) or 0 * sum by (instance) (rate(istio_requests_total{{{AT}}}[30s]))',
                    "{{instance}}",
                ),
            )
        )
        .with_panel(
            p.graph(
                "Memory per instance",
                "Resident memory of the sidecar and of the app.",
                p.BYTES,
                ('process_resident_memory_bytes{job="sidecars", service="$service"}', "{{instance}} sidecar"),
                ('process_resident_memory_bytes{job="services", service="$service"}', "{{instance}} app"),
            )
        )
        .with_row(dashboard.Row("What its callers do about it"))
        .with_panel(
            p.graph(
                "Retries",
                "Attempts after the first, per calling instance.",
                p.PER_SECOND,
                (f"sum by (instance) (rate(mesh_retries_total{{{ENDPOINT}}}[30s]))", "{{instance}}"),
            )
        )
        .with_panel(
            p.graph(
                "Retry budget",
                "Tokens left; at 0 a caller does not retry any more.",
                p.COUNT,
                (f"mesh_retry_budget_tokens{{{ENDPOINT}}}", "{{instance}}"),
            )
        )
        .with_panel(
            p.timeline(
                "Ejections",
                "Each caller's breaker for each endpoint.",
                {0: ("closed", "green"), 1: ("open", "red"), 2: ("half-open", "yellow")},
                (
                    f"max by (instance, endpoint) (circuit_breaker_state{{{ENDPOINT}}})",
                    "{{endpoint}} by {{instance}}",
                ),
                empty=p.NO_TRAFFIC,
            )
        )
        .with_panel(
            p.graph(
                "Ramp",
                "Share of its weight that an endpoint gets, after it came back.",
                p.RATIO,
                (f"avg by (endpoint) (mesh_endpoint_ramp{{{ENDPOINT}}})", "{{endpoint}}"),
            )
        )
        .with_panel(
            p.graph(
                "Queue",
                "Requests to each endpoint that wait for its answer.",
                p.COUNT,
                (f"sum by (endpoint) (mesh_endpoint_in_flight{{{ENDPOINT}}})", "{{endpoint}}"),
            )
        )
        .with_panel(
            p.graph(
                "Latency that callers expect",
                "Peak EWMA of each endpoint, averaged over the callers.",
                p.MILLISECONDS,
                (f"avg by (endpoint) (mesh_endpoint_ewma_milliseconds{{{ENDPOINT}}})", "{{endpoint}}"),
            )
        )
        .with_panel(
            p.graph(
                "Failed attempts",
                "Before retries, per endpoint.",
                p.PER_SECOND,
                (
                    f"sum by (endpoint) (rate(circuit_breaker_failures_total{{{ENDPOINT}}}[30s]))",
                    "{{endpoint}}",
                ),
            )
        )
    )
