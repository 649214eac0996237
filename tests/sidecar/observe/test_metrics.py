"""Istio's metrics as Prometheus' own parser reads them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from sidecar.observe.metrics import MAX_CELLS, MAX_PEERS, Metrics, Peer, upstream_metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    registry = CollectorRegistry()
    registry.register(metrics)
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """The sum over all samples of a name that carry these labels."""
    return sum(
        number
        for (sample, pairs), number in samples(metrics).items()
        if sample == name and labels.items() <= dict(pairs).items()
    )


def test_names_labels_and_buckets() -> None:
    """One request shows up in all four, with Istio's labels, in cumulative buckets of milliseconds."""
    metrics = Metrics(Peer("gateway", "v2"))
    metrics.outbound("orders", "v1").record(200, "-", 0.003, 10, 2000)
    metrics.outbound("orders", "v1").record(503, "UF", 0.2, 0, 0)
    labels = {
        "reporter": "source",
        "source_workload": "gateway",
        "source_version": "v2",
        "destination_service_name": "orders",
        "destination_version": "v1",
    }
    assert value(metrics, "istio_requests_total", **labels, response_code="200", response_flags="-") == 1
    assert value(metrics, "istio_requests_total", **labels, response_code="503", response_flags="UF") == 1
    duration = "istio_request_duration_milliseconds_bucket"
    assert value(metrics, duration, le="2.5", response_code="200") == 0
    assert value(metrics, duration, le="5.0", response_code="200") == 1
    assert value(metrics, duration, le="+Inf", response_code="200") == 1
    assert value(metrics, "istio_request_duration_milliseconds_sum", response_code="200") == 3.0
    assert value(metrics, "istio_response_bytes_bucket", le="1024.0", response_code="200") == 0
    assert value(metrics, "istio_response_bytes_bucket", le="4096.0", response_code="200") == 1
    assert value(metrics, "istio_request_bytes_sum") == 10


def test_a_recorded_request_is_the_exemplar_of_its_bucket() -> None:
    """In OpenMetrics, which Prometheus asks for; the plain format has no place for it."""
    metrics = Metrics(Peer("gateway", "v2"))
    series = metrics.outbound("orders", "v1")
    for seconds, trace in ((0.003, b"a" * 32), (0.004, b"b" * 32), (7.0, b"c" * 32)):
        series.record(200, "-", seconds, 0, 0)
        series.exemplify(200, "-", seconds, trace)
    registry = CollectorRegistry()
    registry.register(metrics)
    encode, kind = choose_encoder("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    found = {
        sample.labels["le"]: (sample.exemplar.labels["trace_id"], sample.exemplar.value)
        for family in openmetrics(encode(registry).decode())
        for sample in family.samples
        if sample.exemplar is not None
    }
    assert found == {"5.0": ("b" * 32, 4.0), "10000.0": ("c" * 32, 7000.0)}
    assert b"trace_id" not in generate_latest(registry)


def test_sources_are_bounded() -> None:
    """A caller can choose its name, but not how many series there are; the overflow is counted."""
    metrics = Metrics(Peer("orders", "v1"))
    for number in range(MAX_PEERS * 2):
        metrics.inbound(Peer(f"caller-{number}", "v1")).record(200, "-", 0.001, 0, 0)
    assert value(metrics, "istio_requests_total") == MAX_PEERS * 2
    assert value(metrics, "istio_requests_total", source_workload="unknown") >= MAX_PEERS - 2
    assert value(metrics, "mesh_metrics_dropped_peers_total") > 0


def test_breaker_states_are_the_designs_numbers() -> None:
    """0 closed, 1 open, 2 half-open."""
    metrics = Metrics(Peer("a", "v1"))
    row = {"failures": 3, "opens": 1, "in_flight": 0, "ewma_ms": None, "ramp": 1.0, "rejections": 7}
    endpoints = [
        {"id": f"orders-{n}", "breaker": word, **row}
        for n, word in enumerate(("closed", "open", "half-open"))
    ]
    snapshot = {"orders": {"retries": 5, "budget": {"tokens": 2.5}, "stale_s": 0.0, "endpoints": endpoints}}
    metrics.add_source(upstream_metrics(lambda: snapshot))
    states = [value(metrics, "circuit_breaker_state", endpoint=f"orders-{n}") for n in range(3)]
    assert states == [0, 1, 2]
    assert value(metrics, "circuit_breaker_failures_total", service="orders", endpoint="orders-1") == 3
    assert value(metrics, "mesh_retries_total", service="orders") == 5


def test_an_app_with_many_statuses_does_not_fill_the_memory() -> None:
    """Beyond a number of different ones, more are counted together: every request still counts."""
    metrics = Metrics(Peer("gateway", "v2"))
    series = metrics.outbound("orders", "v1")
    for status in range(100, 600):
        for flag in ("-", "UF"):
            series.record(status, flag, 0.001, 0, 0)
            series.exemplify(status, flag, 0.001, b"a" * 32)
    assert len(list(series.cells())) <= MAX_CELLS + 1
    assert value(metrics, "istio_requests_total") == 1000
    assert value(metrics, "istio_requests_total", response_code="0") == 1000 - MAX_CELLS
