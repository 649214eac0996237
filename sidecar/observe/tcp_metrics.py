"""Istio's TCP metrics: connections opened and closed, bytes each way, as seen by this sidecar."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric

LABELS = (
    "reporter",
    "source_workload",
    "source_version",
    "destination_workload",
    "destination_service_name",
    "destination_version",
    "response_flags",
    "request_protocol",
    "connection_security_policy",
)


class TcpSeries:
    """One pair of source and destination; as in Istio, the source is sent to and received from."""

    __slots__ = ("closed", "opened", "received", "sent")

    def __init__(self) -> None:
        self.opened = 0
        self.closed: dict[str, int] = {}
        self.sent = 0
        self.received = 0


class TcpMetrics:
    """All series of a sidecar.

    Args:
        workload, version: our own, as source outbound and as destination inbound.
    """

    def __init__(self, workload: str, version: str) -> None:
        self._own = workload, version
        self._series: dict[tuple[str, str, str], TcpSeries] = {}

    def series(self, reporter: str, service: str, version: str) -> TcpSeries:
        """For `source`: our connections to a version of a service. For `destination`: those to our app."""
        key = (reporter, service, version or "unknown")
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = TcpSeries()
        return series

    def collect(self) -> Iterator[Metric]:
        opened = CounterMetricFamily("istio_tcp_connections_opened", "TCP connections opened", labels=LABELS)
        closed = CounterMetricFamily("istio_tcp_connections_closed", "TCP connections closed", labels=LABELS)
        sent = CounterMetricFamily("istio_tcp_sent_bytes", "Bytes sent to the client", labels=LABELS)
        received = CounterMetricFamily("istio_tcp_received_bytes", "Bytes from the client", labels=LABELS)
        for (reporter, service, version), series in list(self._series.items()):
            source = self._own if reporter == "source" else ("unknown", "unknown")
            key = (reporter, *source, service, service, version)
            opened.add_metric((*key, "-", "tcp", "none"), series.opened)
            for flag, count in list(series.closed.items()):
                closed.add_metric((*key, flag, "tcp", "none"), count)
            sent.add_metric((*key, "-", "tcp", "none"), series.sent)
            received.add_metric((*key, "-", "tcp", "none"), series.received)
        yield from (opened, closed, sent, received)
