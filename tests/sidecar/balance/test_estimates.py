"""Latency histogram, peak EWMA and the reference of a pool."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.balance.attempt_ledger import penalise
from sidecar.balance.endpoints import Endpoint, EndpointSpec
from sidecar.balance.latency import BUCKETS, HALF_S, LatencyHistogram, quantile
from sidecar.balance.peak_ewma import penalised, projected, updated
from sidecar.balance.reference import Reference
from sidecar.policy.breaker import Breaker
from sidecar.policy.outlier import Outlier
from sidecar.policy.trip_rules import BreakerPolicy
from tests.fakes.clock import FakeClock


@given(st.lists(st.floats(0.0002, 90.0), min_size=20, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_quantiles_are_within_ten_percent(samples: list[float], q: float) -> None:
    """Against the sorted list, nearest rank."""
    histogram = LatencyHistogram()
    for sample in samples:
        histogram.record(sample, 100.0)
    found = quantile(histogram.counts(100.0), q)
    exact = sorted(samples)[max(0, math.ceil(q * len(samples)) - 1)]
    assert found is not None
    assert 0.90 * exact <= found <= 1.10 * exact


def test_extremes_stay_in_the_outer_buckets() -> None:
    """Zero and an hour are counted, not lost."""
    histogram = LatencyHistogram()
    for _ in range(10):
        histogram.record(0.0, 1.0)
        histogram.record(3600.0, 1.0)
    counts = histogram.counts(1.0)
    assert (counts[0], counts[BUCKETS - 1], sum(counts)) == (10, 10, 20)


def test_a_guess_is_no_quantile() -> None:
    """Nineteen samples give none."""
    histogram = LatencyHistogram()
    for _ in range(19):
        histogram.record(0.001, 1.0)
    assert quantile(histogram.counts(1.0), 0.95) is None


def test_old_samples_leave_within_two_halves() -> None:
    """After a minute of other samples nothing of the first is left."""
    histogram = LatencyHistogram()
    for _ in range(100):
        histogram.record(1.0, 10.0)
    for second in range(70):
        for _ in range(5):
            histogram.record(0.001, 11.0 + second)
    assert quantile(histogram.counts(81.0), 1.0) == pytest.approx(0.001, rel=0.1)


def test_samples_live_for_one_half_and_no_longer_than_two() -> None:
    """Also when nobody records any more: old numbers are no yardstick."""
    histogram = LatencyHistogram()
    for _ in range(100):
        histogram.record(1.0, 10.0)
    assert sum(histogram.counts(10.0 + HALF_S)) == 100
    assert sum(histogram.counts(10.0 + 2 * HALF_S)) == 0


@given(st.floats(1e-4, 10), st.floats(1e-4, 10), st.floats(0, 100), st.floats(0.5, 20))
def test_peak_ewma_jumps_up_and_comes_down_with_time(
    v: float, sample: float, dt: float, decay: float
) -> None:
    """A sample above is taken at once; else the result lies between sample and old value; reads only
    decay.
    """
    result = updated(v, sample, dt, decay)
    if sample >= v:
        assert result == sample
    else:
        assert sample * (1 - 1e-9) <= result <= v * (1 + 1e-9)
    assert projected(v, dt, decay) <= v


def test_a_penalty_never_improves() -> None:
    """One soft failure moves a third of the way, a hard one all of it."""
    assert penalised(0.5, 0.1, soft=False) == 0.5
    assert penalised(0.0, 1.0, soft=False) == 1.0
    assert penalised(0.0, 1.0, soft=True) == pytest.approx(0.3)


def make_pool(latencies: list[float], samples: int = 100) -> tuple[list[Endpoint], FakeClock]:
    """Endpoints that answered `samples` times in the given seconds."""
    clock = FakeClock()
    pool = Outlier("s", BreakerPolicy(), lambda event: None, lambda: None, clock)
    endpoints = []
    for index, latency in enumerate(latencies):
        breaker = Breaker(f"e{index}", BreakerPolicy(), pool, 0.0, random.Random(1))
        endpoint = Endpoint(EndpointSpec(f"e{index}", "127.0.0.1", 80), breaker, clock.now)
        endpoint.ewma = latency
        endpoint.measured = True
        for _ in range(samples):
            endpoint.latency.record(latency, clock.now)
        endpoints.append(endpoint)
    return endpoints, clock


@pytest.mark.parametrize("latencies", [[0.002, 0.5], [0.002, 0.002, 0.5], [0.5, 0.002, 0.5, 0.002]])
def test_slow_endpoints_do_not_move_the_yardstick(latencies: list[float]) -> None:
    """One of two, one of three, two of four: normal is still 2 ms."""
    endpoints, clock = make_pool(latencies)
    reference = Reference()
    reference.refresh(endpoints, 100.0, clock.now)
    assert reference.p95_s == pytest.approx(0.002, rel=0.1)
    assert reference.slow_s == 0.050
    assert reference.median_s == 0.002


def test_before_anything_is_measured_nothing_is_slow() -> None:
    """No threshold from fewer than twenty samples; a few in each are put together."""
    endpoints, clock = make_pool([0.002, 0.002], samples=5)
    reference = Reference()
    reference.refresh(endpoints, 1.0, clock.now)
    assert reference.slow_s == math.inf
    endpoints, clock = make_pool([0.002, 0.002], samples=12)
    reference.refresh(endpoints, 1.0, clock.now)
    assert reference.p95_s is not None


def test_a_failure_is_worth_what_it_took_or_what_was_asked_for() -> None:
    """At least five times p95; a Retry-After beyond half a minute is somebody's mistake."""
    (endpoint,), clock = make_pool([0.002])
    reference = Reference()
    for elapsed, retry_after, worth in (
        (0.001, None, 0.025),
        (5.0, None, 5.0),
        (5.0, 9.0, 9.0),
        (1.0, 1e6, 30.0),
    ):
        endpoint.ewma = 0.002
        penalise(endpoint, False, elapsed, retry_after, reference, clock.now)
        assert endpoint.ewma == worth


def test_the_yardstick_is_taken_all_over_the_pool() -> None:
    """Not from the sixteen that stand first: those may be one version, or one zone."""
    endpoints, clock = make_pool([0.5] * 16 + [0.002] * 16)
    reference = Reference()
    reference.refresh(endpoints, 10.0, clock.now)
    assert reference.median_s == 0.002
    assert (reference.decay_s, reference.inverse_decay) == (10.0, 0.1)
    reference.refresh(endpoints, 100.0, clock.now)
    assert reference.decay_s == 3.0, "where samples come often, forgetting costs no certainty"
