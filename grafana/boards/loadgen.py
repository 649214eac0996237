"""Load generator: what was offered, what was done, and whether its numbers can be believed."""

from grafana_foundation_sdk.builders import dashboard

from grafana.boards import panels as p

NONE = "the load generator does not run"


def quantiles(metric: str, prefix: str) -> list[p.Query]:
    """p50, p90, p99 of a histogram in seconds."""
    return [
        (f"histogram_quantile({q}, sum by (le) (rate({metric}_bucket[30s])))", f"{prefix} p{q * 100:g}")
        for q in (0.5, 0.9, 0.99)
    ]


def loadgen() -> dashboard.Dashboard:
    """From the offered rate to the generator's own lamps."""
    return (
        p.board(
            "mesh-loadgen",
            "Load generator",
            "Open-loop traffic: offered, completed, how long, and how honestly measured.",
        )
        .with_panel(
            p.number("Rate", "What the pattern asks for now.", p.PER_SECOND, "loadgen_rate_now", empty=NONE)
        )
        .with_panel(
            p.number(
                "Completed",
                "Answers/s.",
                p.PER_SECOND,
                "sum(rate(loadgen_requests_completed_total[30s]))",
                empty=NONE,
            )
        )
        .with_panel(
            p.number(
                "Failed",
                "Share of what ended.",
                p.RATIO,
                'sum(rate(loadgen_requests_completed_total{result="failed"}[30s])) / sum(rate(loadgen_requests_completed_total[30s]))',
                warn=0.001,
                bad=0.01,
                empty=NONE,
            )
        )
        .with_panel(
            p.number(
                "In flight",
                "Requests that wait for an answer.",
                p.COUNT,
                "loadgen_requests_in_flight",
                empty=NONE,
            )
        )
        .with_panel(
            p.number(
                "Generator",
                "1 while it keeps its schedule; at 0 its latencies say nothing.",
                p.COUNT,
                "loadgen_generator_ok",
                empty=NONE,
            )
        )
        .with_panel(
            p.number(
                "Processor",
                "Cores that the generator uses; near 1 it is the bottleneck.",
                p.CORES,
                "loadgen_cpu_share",
                warn=0.6,
                bad=0.9,
                empty=NONE,
            )
        )
        .with_panel(
            p.graph(
                "Offered and completed",
                "An open loop offers on, whatever the answers do: the gap is the queue.",
                p.PER_SECOND,
                ("rate(loadgen_requests_planned_total[30s])", "offered"),
                ("rate(loadgen_requests_sent_total[30s])", "sent"),
                ("rate(loadgen_requests_completed_total[30s])", "{{result}}"),
                empty=NONE,
            )
        )
        .with_panel(
            p.graph(
                "Answers by status",
                "What came back.",
                p.PER_SECOND,
                ("rate(loadgen_responses_total[30s])", "{{status_code}}"),
                empty=NONE,
                stack=True,
            )
        )
        .with_panel(
            p.graph(
                "Response time",
                "From the intended start to the end: what a user waits.",
                p.SECONDS,
                *quantiles("loadgen_response_seconds", "response"),
                empty=NONE,
            )
        )
        .with_panel(
            p.graph(
                "Service time",
                "From the send to the end: what the mesh took.",
                p.SECONDS,
                *quantiles("loadgen_service_seconds", "service"),
                empty=NONE,
            )
        )
        .with_panel(
            p.graph(
                "Lateness",
                "From the intended start to the send: the generator's own delay.",
                p.SECONDS,
                *quantiles("loadgen_lateness_seconds", "late"),
                empty=NONE,
            )
        )
        .with_panel(
            p.graph(
                "Dropped",
                "Planned requests that were never sent, and requests that failed, by reason.",
                p.PER_SECOND,
                (
                    "sum by (reason) (rate(loadgen_requests_dropped_total[30s])) or vector(0)",
                    "dropped {{reason}}",
                ),
                ("sum by (reason) (rate(loadgen_errors_total[30s])) or vector(0)", "failed {{reason}}"),
                empty="none",
            )
        )
    )
