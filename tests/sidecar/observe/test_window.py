"""The ten-second window against a sorted list of the same samples."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from sidecar.observe.window import Window
from tests.fakes.clock import FakeClock


def test_empty() -> None:
    """No requests: no percentiles, no division by zero."""
    none = {"p50_ms": None, "p95_ms": None, "p99_ms": None}
    assert Window(FakeClock()).snapshot() == {"rps": 0.0, **none, "error_rate": 0.0}


def test_rate_and_errors_over_the_covered_time() -> None:
    """A young window divides by its age, an old one by its length."""
    clock = FakeClock(100.0)
    window = Window(clock)
    for _ in range(20):
        clock.advance(0.1)
        window.record(clock(), 0.002, failed=False)
    window.record(clock(), 0.002, failed=True)
    snapshot = window.snapshot()
    assert snapshot["rps"] == 10.5
    assert snapshot["error_rate"] == round(1 / 21, 6)


def test_what_is_older_than_ten_seconds_is_forgotten() -> None:
    """The window slides; totals since the start stay."""
    clock = FakeClock(100.0)
    window = Window(clock)
    window.record(clock(), 0.5, failed=True)
    clock.advance(30.0)
    window.record(clock(), 0.001, failed=False)
    snapshot = window.snapshot()
    assert snapshot["error_rate"] == 0.0
    assert snapshot["p99_ms"] == 1.008
    assert (window.requests, window.failed) == (2, 1)


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=300), st.sampled_from((0.5, 0.99)))
def test_percentiles_are_within_a_bucket_of_the_truth(samples: list[float], quantile: float) -> None:
    """Log-linear buckets: at most 1/32 of the value, and half a microsecond, beside the sorted list."""
    clock = FakeClock(100.0)
    window = Window(clock)
    for sample in samples:
        window.record(clock(), sample, failed=False)
    clock.advance(1.0)
    truth = sorted(samples)[max(0, math.ceil(quantile * len(samples)) - 1)]
    shown = window.snapshot()["p50_ms" if quantile == 0.5 else "p99_ms"]
    assert shown is not None
    assert abs(shown / 1000 - truth) <= truth / 32 + 2e-6
