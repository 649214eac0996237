"""Who is picked, how often, and who never is."""

import random
from collections import Counter

import pytest

from sidecar.balance.endpoints import Endpoint, EndpointSpec
from sidecar.balance.p2c import cost_of, pick_by_cost
from sidecar.balance.reference import Reference
from sidecar.policy.breaker import Breaker
from sidecar.policy.outlier import Outlier
from sidecar.policy.trip_rules import BreakerPolicy
from tests.fakes.clock import FakeClock

NOW = 1000.0
POOL = Outlier("s", BreakerPolicy(), lambda event: None, lambda: None, FakeClock())


def endpoints(count: int) -> list[Endpoint]:
    """Equal ones, measured at the pool's median."""
    made = []
    for index in range(count):
        breaker = Breaker(f"e{index}", BreakerPolicy(), POOL, 0.0, random.Random(1))
        endpoint = Endpoint(EndpointSpec(f"e{index}", "127.0.0.1", 80), breaker, NOW)
        endpoint.measured = True
        made.append(endpoint)
    return made


def draw(ready: list[Endpoint], times: int = 6000, tried: tuple[Endpoint, ...] = ()) -> Counter[str]:
    """How often each is picked."""
    rng = random.Random(11)
    reference = Reference()
    picks: Counter[str] = Counter()
    for _ in range(times):
        found = pick_by_cost(ready, tried, reference, NOW, rng)
        picks[found.id if found is not None else "nobody"] += 1
    return picks


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 40])
def test_equals_share_equally(count: int) -> None:
    """No endpoint is first because it stands first."""
    picks = draw(endpoints(count))
    for index in range(count):
        assert picks[f"e{index}"] == pytest.approx(6000 / count, rel=0.35 if count > 7 else 0.12)


@pytest.mark.parametrize("count", [2, 4, 9])
def test_a_slow_one_gets_nothing_while_others_are_idle(count: int) -> None:
    """Three times the median is beyond the band."""
    ready = endpoints(count)
    ready[0].ewma *= 3
    assert draw(ready)["e0"] == 0


def test_noise_within_the_band_is_no_difference() -> None:
    """2.0 and 2.1 ms share as equals."""
    ready = endpoints(2)
    ready[0].ewma *= 1.05
    assert draw(ready)["e0"] == pytest.approx(3000, rel=0.1)


def test_the_less_loaded_one_is_picked() -> None:
    """Pending attempts raise the cost at once."""
    ready = endpoints(3)
    ready[0].pending = ready[1].pending = 3
    ready[0].silent_since = ready[1].silent_since = NOW
    assert draw(ready) == Counter({"e2": 6000})


@pytest.mark.parametrize("count", [2, 4, 6])
def test_an_idle_pool_is_shared_by_weight(count: int) -> None:
    """Weight 1 beside weight 3 gets a third of the others' part, not nothing."""
    ready = endpoints(count)
    ready[0].share = 1 / 3
    expected = 6000 * (1 / 3) / (count - 1 + 1 / 3)
    assert draw(ready)["e0"] == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("busy", [False, True])
def test_a_gate_holds_whatever_the_load_of_the_others(busy: bool) -> None:
    """At 5 % an idle endpoint beside a busy one gets at most 5 % of all."""
    ready = endpoints(2)
    ready[0].gate = 0.05
    if busy:
        ready[1].pending = 4
        ready[1].silent_since = NOW
    assert draw(ready)["e0"] <= 6000 * 0.06


@pytest.mark.parametrize("count", [2, 3, 8])
def test_tried_and_stalled_ones_are_passed_over(count: int) -> None:
    """Tried: never, not even if nobody else is there; stalled: only if nobody else is there."""
    ready = endpoints(count)
    assert "e1" not in draw(ready, 500, (ready[1],))
    ready[0].pending = 1
    ready[0].silent_since = NOW - 5.0
    assert "e0" not in draw(ready, 500)
    assert draw(ready[:1], 10) == Counter({"e0": 10})
    assert draw(ready, 10, tuple(ready)) == Counter({"nobody": 10})


def test_cost_as_explained() -> None:
    """max(latency, band) x (pending / share + 1)."""
    endpoint = endpoints(1)[0]
    reference = Reference()
    assert cost_of(endpoint, reference, NOW) == pytest.approx(reference.band_s)
    endpoint.pending, endpoint.share = 2, 0.5
    assert cost_of(endpoint, reference, NOW) == pytest.approx(5 * reference.band_s)


@pytest.mark.parametrize("count", [2, 9])
def test_attempts_in_flight_weigh_by_share(count: int) -> None:
    """Four at a half one are as many as eight at a whole one."""
    ready = endpoints(count)
    for endpoint in ready:
        endpoint.pending, endpoint.silent_since = 4, NOW
    ready[0].share = 0.5
    assert draw(ready, 500)["e0"] == 0


@pytest.mark.parametrize("count", [2, 9])
def test_one_that_was_slow_long_ago_is_tried_again(count: int) -> None:
    """Its estimate comes down with time, though nobody measures it."""
    ready = endpoints(count)
    ready[0].ewma *= 50
    assert draw(ready, 500)["e0"] == 0
    ready[0].ewma_at = NOW - 100.0
    assert draw(ready)["e0"] == pytest.approx(6000 / count, rel=0.25)


def test_a_quarter_more_is_as_good() -> None:
    """Else the last digit of an estimate would decide about all traffic."""
    ready = endpoints(2)
    for endpoint, latency in zip(ready, (0.100, 0.120), strict=True):
        endpoint.ewma, endpoint.ewma_at = latency, NOW
    assert draw(ready)["e1"] == pytest.approx(3000, rel=0.1)
    ready[1].ewma = 0.130
    assert draw(ready)["e1"] == 0


def test_of_many_a_gated_or_stalled_one_is_passed_over_too() -> None:
    """The draw of two obeys what the scan of all obeys."""
    ready = endpoints(9)
    ready[0].gate = 0.05
    ready[1].pending, ready[1].silent_since = 1, NOW - 60.0
    for endpoint in ready[2:]:
        endpoint.pending, endpoint.silent_since = 3, NOW
    picks = draw(ready)
    assert picks["e1"] == 0
    assert 0 < picks["e0"] < 200
