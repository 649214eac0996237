"""Registry: does Consul answer, does it know everybody, and how old is what the sidecars know."""

from grafana_foundation_sdk.builders import dashboard

from grafana.boards import panels as p

NONE = "the registry is not scraped"


def registry() -> dashboard.Dashboard:
    """The registry, and its absence as the sidecars feel it."""
    return (
        p.board("mesh-registry", "Registry", "Consul, and how fresh the sidecars' knowledge is.")
        .with_panel(
            p.number(
                "Registry", "1 while Prometheus reaches it.", p.COUNT, 'up{job="consul"}', empty=NONE, span=6
            )
        )
        .with_panel(
            p.number(
                "Instances",
                "Sidecars that Prometheus found through it.",
                p.COUNT,
                'count(up{job="sidecars"})',
                empty=NONE,
                span=6,
            )
        )
        .with_panel(
            p.number(
                "Down",
                "Of those, the ones that do not answer.",
                p.COUNT,
                'count(up{job="sidecars"} == 0) or vector(0)',
                warn=1,
                bad=4,
                span=6,
            )
        )
        .with_panel(
            p.number(
                "Stalest",
                "The oldest answer that any sidecar works with.",
                p.SECONDS,
                "max(mesh_discovery_staleness_seconds)",
                warn=60,
                bad=600,
                span=6,
            )
        )
        .with_panel(
            p.timeline(
                "Targets",
                "What Prometheus found, and whether it answers.",
                {0: ("down", "red"), 1: ("up", "green")},
                ('min by (instance) (up{job=~"sidecars|services"})', "{{instance}}"),
                empty=NONE,
            )
        )
        .with_panel(
            p.graph(
                "Staleness",
                "Since the registry last answered a sidecar's watch; it grows while the registry is gone.",
                p.SECONDS,
                ("max by (service) (mesh_discovery_staleness_seconds)", "{{service}}"),
            )
        )
        .with_panel(
            p.graph(
                "Requests to Consul",
                "RPCs, and catalog queries of its HTTP API.",
                p.PER_SECOND,
                ("rate(consul_rpc_request[1m])", "rpc"),
                ("rate(consul_rpc_query[1m])", "reads"),
                empty=NONE,
            )
        )
        .with_panel(
            p.graph(
                "Memory of Consul",
                "What its runtime holds.",
                p.BYTES,
                ("consul_runtime_alloc_bytes", "heap"),
                ("consul_runtime_sys_bytes", "from the system"),
                empty=NONE,
            )
        )
        .with_panel(
            p.graph(
                "Goroutines of Consul",
                "A watch of a sidecar is one; a steady climb is a leak.",
                p.COUNT,
                ("consul_runtime_num_goroutines", "goroutines"),
                empty=NONE,
            )
        )
        .with_panel(
            p.rows(
                "Who is where",
                "Every target as its labels stand in Prometheus; 1 is up.",
                p.COUNT,
                ('up{job="sidecars"}', "up"),
                empty=NONE,
            )
        )
    )
