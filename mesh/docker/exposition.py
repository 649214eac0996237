"""What the driver sees and what was done to the mesh, for Prometheus. Pure, but for the driver."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mesh.control.journal import Event
from mesh.docker.driver import Driver

# Names of policies are anybody's: past this many different things done, new ones are left out.
MAX_DEEDS = 500


class Deeds:
    """Counts what was done to the mesh's policies, as the journal tells it: (action, name) -> times."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], int] = {}

    def note(self, event: Event) -> None:
        """A listener of the journal; of a sidecar's events of these kinds none has an action."""
        kind, action = event["kind"], event.get("action")
        if action is not None and kind in ("fault", "policy"):
            name = event.get("target") or event.get("document") or event.get("name")
            self._count(f"{kind} {action}", str(name))

    def _count(self, action: str, name: str) -> None:
        if (action, name) in self.counts or len(self.counts) < MAX_DEEDS:
            self.counts[action, name] = self.counts.get((action, name), 0) + 1


class DriverMetrics(Collector):
    """Instances' health, and a count for each thing that was done: the boards' annotations."""

    def __init__(self, driver: Driver, deeds: Deeds) -> None:
        self._driver = driver
        self._deeds = deeds

    def collect(self) -> Iterator[Metric]:
        """At a scrape."""
        healthy = GaugeMetricFamily(
            "mesh_instance_healthy", "1 while the instance is healthy", labels=("name", "workload", "state")
        )
        actions = CounterMetricFamily(
            "mesh_actions", "What was done to an instance, a fault or a policy", labels=("action", "name")
        )
        status = self._driver.status()
        for each in (*status["instances"], *status["extras"]):
            healthy.add_metric((each["name"], each["service"], each["state"]), float(each["healthy"]))
        for (action, name), count in sorted({**self._driver.actions, **self._deeds.counts}.items()):
            actions.add_metric((action, name), count)
        yield from (healthy, actions)
