"""Metrics of two workers: what adds up, what does not, and what stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.samples import Exemplar

from sidecar.workers.metrics import counted, dump, load, merged


def counter(value: float, *, host: str = "a") -> Metric:
    family = CounterMetricFamily("requests", "Requests", labels=("host",))
    family.add_metric((host,), value)
    return family


def gauge(name: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, "Words", labels=("host",))
    family.add_metric(("a",), value)
    return family


def histogram(small: int, all_of_them: int, exemplar: Exemplar | None = None) -> Metric:
    family = HistogramMetricFamily("duration", "Duration")
    first: Any = ("1.0", small) if exemplar is None else ("1.0", small, exemplar)
    family.add_metric((), [first, ("+Inf", all_of_them)], sum_value=2.0 * all_of_them)
    return family


def carried(*families: Metric) -> list[Any]:
    """As it arrives from a worker."""
    found: list[Any] = json.loads(json.dumps(dump(families)))
    return found


def values(families: list[Any]) -> dict[str, float]:
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for family in load(families)
        for sample in family.samples
    }


def test_counters_and_histograms_add_up() -> None:
    """Label by label, bucket by bucket; what only one has is kept."""
    both = merged(
        (carried(counter(2), histogram(1, 3)), carried(counter(5), counter(7, host="b"), histogram(2, 2)))
    )
    assert values(both) == {
        "requests_totala": 7.0,
        "requests_totalb": 7.0,
        "duration_bucket1.0": 3.0,
        "duration_bucket+Inf": 5.0,
        "duration_count": 5.0,
        "duration_sum": 10.0,
    }


@pytest.mark.parametrize(
    ("name", "one", "other", "shown"),
    [
        ("circuit_breaker_state", 0.0, 1.0, 1.0),
        ("circuit_breaker_state", 1.0, 2.0, 1.0),  # open is worse than half-open, though its number is lower
        ("circuit_breaker_state", 2.0, 0.0, 2.0),
        ("mesh_requests_in_flight", 2.0, 3.0, 5.0),
        ("mesh_retry_budget_tokens", 10.0, 4.0, 14.0),
        ("mesh_endpoint_ramp", 0.05, 1.0, 0.05),
        ("mesh_discovery_staleness_seconds", 0.5, 30.0, 30.0),
        ("process_start_time_seconds", 100.0, 90.0, 90.0),
    ],
)
def test_a_gauge_has_its_rule(name: str, one: float, other: float, shown: float) -> None:
    """A sum where a sum means something, else the worst; in either order."""
    parts = carried(gauge(name, one)), carried(gauge(name, other))
    assert values(merged(parts)) == values(merged(reversed(parts))) == {f"{name}a": shown}


def test_what_a_dead_worker_counted_stays_and_its_gauges_go() -> None:
    """Twice: two workers may die."""
    gone: list[Any] = []
    for _ in range(2):
        last = carried(counter(3), gauge("mesh_requests_in_flight", 9.0))
        gone = merged((gone, counted(last)))
    now = merged((carried(counter(1), gauge("mesh_requests_in_flight", 1.0)), gone))
    assert values(now) == {"requests_totala": 7.0, "mesh_requests_in_flighta": 1.0}


def test_exemplars_survive() -> None:
    """And the whole can be written as OpenMetrics."""
    families = merged(
        (carried(histogram(1, 1)), carried(histogram(1, 1, Exemplar({"trace_id": "abc"}, 0.5))))
    )

    class Registry:
        def collect(self) -> list[Metric]:
            return list(load(families))

    text = generate_latest(Registry()).decode()
    assert 'duration_bucket{le="1.0"} 2.0 # {trace_id="abc"} 0.5' in text
