"""What the driver sees and did, for Prometheus. Pure, but for the driver that it reads."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mesh.docker.driver import Driver


class DriverMetrics(Collector):
    """Instances' health, and a count for each thing that was done to one: the boards' annotations."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def collect(self) -> Iterator[Metric]:
        """At a scrape."""
        healthy = GaugeMetricFamily(
            "mesh_instance_healthy", "1 while the instance is healthy", labels=("name", "workload", "state")
        )
        actions = CounterMetricFamily(
            "mesh_actions", "What was done to an instance", labels=("action", "name")
        )
        status = self._driver.status()
        for each in (*status["instances"], *status["extras"]):
            healthy.add_metric((each["name"], each["service"], each["state"]), float(each["healthy"]))
        for (action, name), count in sorted(self._driver.actions.items()):
            actions.add_metric((action, name), count)
        yield from (healthy, actions)
