"""Adaptive concurrency, load shedding and lanes: who is turned away, and when nobody is."""

import heapq
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.policy.adaptive import AdaptiveLimit, AdaptivePolicy
from sidecar.policy.lanes import Lane, lane_of
from sidecar.policy.shedding import LoadShed, SheddingPolicy
from tests.fakes.clock import FakeClock


def serve(
    limit: AdaptiveLimit, clock: FakeClock, rate: float, seconds: float, workers: int
) -> dict[str, float]:
    """An app of `workers` that take 10 ms each, fed at `rate`: share shed, p99 of the admitted, their
    number.
    """
    rng = random.Random(9)
    free = [clock.now] * workers
    ends: list[tuple[float, float]] = []
    end, shed, latencies = clock.now + seconds, 0, []
    while clock.now < end:
        clock.advance(rng.expovariate(rate))
        while ends and ends[0][0] <= clock.now:
            done, begun = heapq.heappop(ends)
            limit.leave(done - begun, sample=True)
            latencies.append(done - begun)
        if limit.enter(Lane.DEFAULT):
            start = max(clock.now, free[0])
            heapq.heapreplace(free, start + 0.010)
            heapq.heappush(ends, (start + 0.010, clock.now))
        else:
            shed += 1
    for done, begun in ends:
        limit.leave(done - begun, sample=False)
    latencies = sorted(latencies[len(latencies) // 4 :])
    return {"shed": shed / (shed + len(latencies)), "p99": latencies[int(0.99 * len(latencies))]}


def test_below_capacity_nobody_is_turned_away() -> None:
    """Ten workers at 60 %: no shed, in a minute."""
    clock = FakeClock()
    limit = AdaptiveLimit(AdaptivePolicy(), clock)
    assert serve(limit, clock, 600, 60, 10)["shed"] == 0.0


def test_at_twice_the_capacity_latency_stays_bounded() -> None:
    """Half is shed, and what is admitted waits for a few places, not for a queue without end."""
    clock = FakeClock()
    limit = AdaptiveLimit(AdaptivePolicy(), clock)
    serve(limit, clock, 600, 20, 10)
    over = serve(limit, clock, 2000, 30, 10)
    assert 0.35 < over["shed"] < 0.75
    assert over["p99"] < 0.15
    assert serve(limit, clock, 600, 30, 10)["shed"] < 0.02


def test_no_window_without_samples_moves_the_limit() -> None:
    """Neither silence nor failures."""
    clock = FakeClock()
    limit = AdaptiveLimit(AdaptivePolicy(), clock)
    for _ in range(100):
        assert limit.enter(Lane.DEFAULT)
        clock.advance(0.1)
        limit.leave(5.0, sample=False)
    assert limit.limit == 100


def test_the_limit_grows_only_in_use() -> None:
    """What is inside from before is use; one request after the other is none, however fast."""
    clock = FakeClock()
    limit = AdaptiveLimit(AdaptivePolicy(min_samples=1), clock)
    for _ in range(10):
        assert limit.enter(Lane.CRITICAL)
        clock.advance(0.5)
        limit.leave(0.010, sample=True)
    assert limit.limit == 100
    for _ in range(90):
        assert limit.enter(Lane.CRITICAL)
    for expected in (160.0, 252.6):
        clock.advance(0.5)
        limit.leave(0.010, sample=True)
        assert round(limit.limit, 1) == expected


def test_new_bounds_hold_at_once_and_what_was_learnt_stays() -> None:
    """But for what is older than the new memory."""
    clock = FakeClock()
    limit = AdaptiveLimit(AdaptivePolicy(min_samples=1), clock)
    for _ in range(90):
        assert limit.enter(Lane.CRITICAL)
    clock.advance(0.5)
    limit.leave(0.001, sample=True)
    limit.set_policy(AdaptivePolicy(min_samples=1, ceiling=120))
    assert (limit.limit, limit.in_flight) == (120.0, 89)
    clock.advance(0.5)
    limit.leave(0.010, sample=True)
    assert limit.limit < 120.0, "ten times as slow as the best that is remembered"
    limit.set_policy(AdaptivePolicy(min_samples=1, memory=1))
    before = limit.limit
    clock.advance(0.5)
    limit.leave(0.010, sample=True)
    assert limit.limit > before, "as fast as the best that is remembered"


def test_lanes_are_turned_away_lowest_first() -> None:
    """At a limit of ten: sheddable from seven, default from nine, critical at ten."""
    limit = AdaptiveLimit(AdaptivePolicy(initial=10), FakeClock())
    for _ in range(7):
        assert limit.enter(Lane.SHEDDABLE)
    assert not limit.enter(Lane.SHEDDABLE)
    assert limit.enter(Lane.DEFAULT)
    assert limit.enter(Lane.DEFAULT)
    assert not limit.enter(Lane.DEFAULT)
    assert limit.enter(Lane.CRITICAL)
    assert not limit.enter(Lane.CRITICAL)
    assert limit.shed == {Lane.SHEDDABLE: 1, Lane.DEFAULT: 1, Lane.CRITICAL: 1}
    assert limit.utilisation() == 1.0


@given(st.lists(st.floats(0.0005, 2.0), min_size=1, max_size=400), st.integers(1, 60))
def test_the_limit_stays_in_its_bounds(latencies: list[float], together: int) -> None:
    """floor <= limit <= ceiling, and in flight is exact."""
    clock = FakeClock()
    limit = AdaptiveLimit(AdaptivePolicy(initial=50, floor=5, ceiling=80), clock)
    held = 0
    for latency in latencies:
        if held < together and limit.enter(Lane.CRITICAL):
            held += 1
        else:
            clock.advance(0.05)
            if held:
                limit.leave(latency, sample=True)
                held -= 1
        assert 5 <= limit.limit <= 80
        assert limit.in_flight == held


def test_shedding_grows_with_lag_and_spares_the_critical() -> None:
    """No cliff: a share that grows between two lags, for each lane its own."""
    clock = FakeClock()
    shed = LoadShed(SheddingPolicy(), clock, random.Random(3))
    shares = []
    for lag in (0.0, 0.075, 0.15, 0.4):
        for _ in range(40):
            shed.observe(lag)
        shares.append([round(shed.probability(lane), 2) for lane in Lane])
    assert shares == [[0.0, 0.0, 0.0], [0.17, 0.0, 0.0], [0.67, 0.12, 0.0], [1.0, 0.75, 0.0]]
    assert not shed.admit(Lane.SHEDDABLE)
    assert shed.admit(Lane.CRITICAL)
    clock.advance(5.0)
    assert shed.admit(Lane.SHEDDABLE)


@pytest.mark.parametrize(
    ("header", "attempt", "lane"),
    [
        (None, 1, Lane.DEFAULT),
        (b"critical", 1, Lane.CRITICAL),
        (b" Sheddable ", 1, Lane.SHEDDABLE),
        (b"nonsense", 1, Lane.DEFAULT),
        (b"critical", 2, Lane.DEFAULT),
        (b"sheddable", 3, Lane.SHEDDABLE),
    ],
)
def test_a_retry_goes_one_lane_down(header: bytes | None, attempt: int, lane: Lane) -> None:
    """First tries come first."""
    assert lane_of(header, attempt) is lane
