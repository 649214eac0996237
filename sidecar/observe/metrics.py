"""Istio's standard metrics, counted in plain integers and turned into Prometheus' format at a scrape.

A `prometheus_client` histogram takes a lock and walks its buckets for each sample; three of them and
a counter cost 6 us a request, this 1 us. The labels of a series are joined once, when its first
request ends; a scrape pays for the text.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar

# Services on one machine answer in a millisecond: Istio's own buckets start at 0.5 ms too.
DURATION_MS = (0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
SIZE_BYTES = (256, 1024, 4096, 16384, 65536, 262144, 1048576, 10485760, 104857600)
# Sources come from a header, so their number is bounded here, whoever sends it.
MAX_PEERS = 256
# Statuses and flags come from the app, at 2 KB each: more different ones than these count as no status.
MAX_CELLS = 64

LABELS = (
    "reporter",
    "source_workload",
    "source_version",
    "destination_workload",
    "destination_service",
    "destination_service_name",
    "destination_version",
    "request_protocol",
    "connection_security_policy",
    "response_code",
    "response_flags",
)


class Peer(NamedTuple):
    """A workload and its version, as labels."""

    workload: str
    version: str


UNKNOWN = Peer("unknown", "unknown")
OTHER = (0, "-")


class _Cell:
    """All that is counted for one set of labels."""

    __slots__ = (
        "count", "duration", "duration_sum", "exemplars", "request", "request_sum", "response",
        "response_sum",
    )  # fmt: skip

    def __init__(self) -> None:
        self.count = 0
        self.duration = [0] * (len(DURATION_MS) + 1)
        self.duration_sum = 0.0
        self.exemplars: dict[int, Exemplar] = {}  # by bucket of duration
        self.request = [0] * (len(SIZE_BYTES) + 1)
        self.request_sum = 0
        self.response = [0] * (len(SIZE_BYTES) + 1)
        self.response_sum = 0


class RequestSeries:
    """Requests between one source and one destination; `record` is the hot path."""

    __slots__ = ("_cells", "labels")

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self._cells: dict[tuple[int, str], _Cell] = {}

    def record(self, status: int, flag: str, seconds: float, bytes_in: int, bytes_out: int) -> None:
        cell = self._cells.get((status, flag)) or self._cell(status, flag)
        milliseconds = seconds * 1000.0
        cell.count += 1
        cell.duration[bisect_left(DURATION_MS, milliseconds)] += 1
        cell.duration_sum += milliseconds
        cell.request[bisect_left(SIZE_BYTES, bytes_in)] += 1
        cell.request_sum += bytes_in
        cell.response[bisect_left(SIZE_BYTES, bytes_out)] += 1
        cell.response_sum += bytes_out

    def exemplify(self, status: int, flag: str, seconds: float, trace_id: bytes) -> None:
        """A recorded request is a sampled one: in its bucket its trace can be found, until the next one's."""
        milliseconds = seconds * 1000.0
        found = Exemplar({"trace_id": trace_id.decode()}, milliseconds)
        self._cell(status, flag).exemplars[bisect_left(DURATION_MS, milliseconds)] = found

    def _cell(self, status: int, flag: str) -> _Cell:
        cells = self._cells
        key = (status, flag) if (status, flag) in cells or len(cells) < MAX_CELLS else OTHER
        cell = cells.get(key)
        if cell is None:
            cell = cells[key] = _Cell()
        return cell

    def cells(self) -> Iterator[tuple[tuple[str, ...], _Cell]]:
        for (status, flag), cell in list(self._cells.items()):
            yield (*self.labels, str(status), flag), cell


class Metrics:
    """A `prometheus_client` collector over everything this sidecar counts."""

    def __init__(self, own: Peer) -> None:
        self._own = own
        self._series: dict[tuple[str, Peer, Peer], RequestSeries] = {}
        self._sources: list[Callable[[], Iterable[Metric]]] = []
        self.dropped_peers = 0

    def outbound(self, service: str, version: str) -> RequestSeries:
        """Requests of ours to a version of a service."""
        return self._get("source", self._own, Peer(service, version or "unknown"))

    def inbound(self, source: Peer) -> RequestSeries:
        """Requests of a caller to us; callers beyond the bound share one series, and are counted."""
        if len(self._series) > MAX_PEERS and ("destination", source, self._own) not in self._series:
            self.dropped_peers += 1
            source = UNKNOWN
        return self._get("destination", source, self._own)

    def _get(self, reporter: str, source: Peer, destination: Peer) -> RequestSeries:
        key = (reporter, source, destination)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = RequestSeries(
                (
                    reporter,
                    source.workload,
                    source.version,
                    destination.workload,
                    destination.workload,
                    destination.workload,
                    destination.version,
                    "http",
                    "none",
                )
            )
        return series

    def add_source(self, source: Callable[[], Iterable[Metric]]) -> None:
        """Something else to collect at a scrape."""
        self._sources.append(source)

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("istio_requests", "Requests", labels=LABELS)
        duration = HistogramMetricFamily(
            "istio_request_duration_milliseconds", "Duration of requests in milliseconds", labels=LABELS
        )
        request_bytes = HistogramMetricFamily("istio_request_bytes", "Size of request bodies", labels=LABELS)
        response_bytes = HistogramMetricFamily(
            "istio_response_bytes", "Size of response bodies", labels=LABELS
        )
        for series in list(self._series.values()):
            for labels, cell in series.cells():
                requests.add_metric(labels, cell.count)
                duration.add_metric(
                    labels, cumulative(DURATION_MS, cell.duration, cell.exemplars), cell.duration_sum
                )
                request_bytes.add_metric(labels, cumulative(SIZE_BYTES, cell.request), cell.request_sum)
                response_bytes.add_metric(labels, cumulative(SIZE_BYTES, cell.response), cell.response_sum)
        yield from (requests, duration, request_bytes, response_bytes)
        dropped = CounterMetricFamily(
            "mesh_metrics_dropped_peers", "Requests counted under an unknown source"
        )
        dropped.add_metric((), self.dropped_peers)
        yield dropped
        for source in self._sources:
            yield from source()


def cumulative(
    bounds: tuple[float, ...], counts: list[int], exemplars: Mapping[int, Exemplar] = MappingProxyType({})
) -> list[Any]:
    """Prometheus' buckets: each counts all samples up to its bound; `exemplars` by the bucket's number."""
    total = 0
    buckets: list[Any] = []
    for number, (bound, count) in enumerate(zip((*bounds, float("inf")), counts, strict=True)):
        total += count
        name = "+Inf" if bound == float("inf") else repr(float(bound))
        exemplar = exemplars.get(number)
        buckets.append((name, total) if exemplar is None else (name, total, exemplar))
    return buckets


# pybreaker's state names as the numbers that dashboards colour.
BREAKER_STATES = {"closed": 0, "open": 1, "half-open": 2}


def upstream_metrics(snapshots: Callable[[], dict[str, dict[str, Any]]]) -> Callable[[], Iterable[Metric]]:
    """Breakers, retries, budgets and endpoints, from what `stack.Upstream.snapshot` tells."""

    def collect() -> Iterator[Metric]:
        labels = ("service", "endpoint")
        state = GaugeMetricFamily("circuit_breaker_state", "0 closed, 1 open, 2 half-open", labels=labels)
        failures = CounterMetricFamily("circuit_breaker_failures", "Failed attempts", labels=labels)
        opens = CounterMetricFamily("circuit_breaker_opens", "Times the breaker opened", labels=labels)
        rejections = CounterMetricFamily(
            "circuit_breaker_rejections",
            "Attempts that went elsewhere while the breaker was open",
            labels=labels,
        )
        in_flight = GaugeMetricFamily("mesh_endpoint_in_flight", "Attempts under way", labels=labels)
        ewma = GaugeMetricFamily("mesh_endpoint_ewma_milliseconds", "Peak EWMA of latency", labels=labels)
        ramp = GaugeMetricFamily(
            "mesh_endpoint_ramp", "Share of its weight that an endpoint gets", labels=labels
        )
        retries = CounterMetricFamily("mesh_retries", "Attempts after the first", labels=("service",))
        budget = GaugeMetricFamily(
            "mesh_retry_budget_tokens", "Retries left in the budget", labels=("service",)
        )
        stale = GaugeMetricFamily(
            "mesh_discovery_staleness_seconds", "Since the registry last answered", labels=("service",)
        )
        for name, snapshot in snapshots().items():
            retries.add_metric((name,), snapshot["retries"])
            budget.add_metric((name,), snapshot["budget"]["tokens"])
            stale.add_metric((name,), snapshot["stale_s"])
            for endpoint in snapshot["endpoints"]:
                key = (name, endpoint["id"])
                state.add_metric(key, BREAKER_STATES[endpoint["breaker"]])
                failures.add_metric(key, endpoint["failures"])
                opens.add_metric(key, endpoint["opens"])
                rejections.add_metric(key, endpoint["rejections"])
                in_flight.add_metric(key, endpoint["in_flight"])
                ewma.add_metric(key, endpoint["ewma_ms"] or 0.0)
                ramp.add_metric(key, endpoint["ramp"])
        yield from (state, failures, opens, rejections, in_flight, ewma, ramp, retries, budget, stale)

    return collect
