"""Faults: drawn per request, for a time, for so many at once."""

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.policy.errors import PolicyError
from sidecar.policy.fault import (
    FAIL_FIRST_KEYS,
    MAX_DELAY_S,
    Action,
    Delay,
    Fault,
    FaultInjector,
    FaultRule,
    Shape,
)
from sidecar.routing.match import Match, Text
from tests.fakes.clock import FakeClock


def injector(*rules: FaultRule, seed: int = 3) -> tuple[FaultInjector, FakeClock]:
    """With these rules in force."""
    clock = FakeClock()
    made = FaultInjector(clock, random.Random(seed))
    made.replace(rules)
    return made, clock


def draw(made: FaultInjector, path: bytes = b"/", request: bytes = b"") -> Fault | None:
    """One request that is over at once."""
    fault = made.draw(b"GET", path, (), request)
    if fault is not None:
        made.done(fault)
    return fault


def test_a_percentage_is_a_dice_not_a_counter() -> None:
    """Ten percent within three sigma; the gaps vary; the same seed gives the same requests."""
    rule = FaultRule("f", action=Action.ABORT, action_percent=10.0, status=500)
    runs = []
    for _ in range(2):
        made, _clock = injector(rule)
        runs.append([draw(made) is not None for _ in range(5000)])
    assert runs[0] == runs[1]
    assert abs(sum(runs[0]) - 500) < 3 * (5000 * 0.09) ** 0.5
    hits = [index for index, hit in enumerate(runs[0]) if hit]
    assert len({b - a for a, b in pairwise(hits)}) > 10


def test_delay_and_abort_are_independent() -> None:
    """Both, one, or none, with Envoy's flags."""
    rule = FaultRule(
        "f", delay=Delay(0.1), delay_percent=50.0, action=Action.ABORT, action_percent=50.0, status=503
    )
    made, _clock = injector(rule)
    counts = Counter(fault.flags if (fault := draw(made)) else "" for _ in range(4000))
    for flags in ("", "DI", "FI", "DI,FI"):
        assert counts[flags] == pytest.approx(1000, rel=0.15)


def test_the_first_rule_that_matches_decides() -> None:
    """A rule that does nothing keeps later ones away."""
    shield = FaultRule("shield", Match(path=Text("prefix", b"/safe")))
    rule = FaultRule("f", action=Action.RESET, action_percent=100.0)
    made, _clock = injector(shield, rule)
    assert draw(made, b"/safe/x") is None
    fault = draw(made, b"/x")
    assert fault is not None
    assert fault.action is Action.RESET


def test_every_fault_ends() -> None:
    """After its time; a set that is given again unchanged does not start the time anew."""
    rule = FaultRule("f", action=Action.HANG, action_percent=100.0, ttl_s=10.0)
    made, clock = injector(rule)
    clock.advance(6.0)
    made.replace([rule])
    assert draw(made) is not None
    assert made.snapshot()[0]["ends_in_s"] == 4.0
    clock.advance(5.0)
    assert draw(made) is None
    assert made.snapshot() == []


def test_a_fault_holds_only_so_many_at_once() -> None:
    """The cap; what is over makes room."""
    made, _clock = injector(FaultRule("f", action=Action.HANG, action_percent=100.0, max_active=2))
    first, second = made.draw(b"GET", b"/", ()), made.draw(b"GET", b"/", ())
    assert first is not None
    assert second is not None
    assert made.draw(b"GET", b"/", ()) is None
    made.done(first)
    assert made.draw(b"GET", b"/", ()) is not None
    assert made.skipped == 1


def test_fail_first_fails_the_first_attempts_of_each_request() -> None:
    """So a retry of the same request id comes through."""
    made, _clock = injector(FaultRule("f", action=Action.FAIL_FIRST, action_percent=100.0, count=2))
    seen = [draw(made, request=b"r1") is not None for _ in range(4)]
    assert seen == [True, True, False, False]
    assert draw(made, request=b"r2") is not None


@given(st.sampled_from(list(Shape)), st.floats(0.0, MAX_DELAY_S), st.integers(0, 99))
def test_delays_are_bounded(shape: Shape, mean: float, seed: int) -> None:
    """Whatever the distribution."""
    assert 0.0 <= Delay(mean, shape).draw(random.Random(seed)) <= MAX_DELAY_S


@pytest.mark.parametrize("shape", [Shape.UNIFORM, Shape.EXPONENTIAL, Shape.LOGNORMAL])
def test_the_mean_is_the_mean(shape: Shape) -> None:
    """Of all shapes."""
    rng = random.Random(4)
    drawn = [Delay(0.05, shape).draw(rng) for _ in range(4000)]
    assert sum(drawn) / 4000 == pytest.approx(0.05, rel=0.06)


def test_settings_are_validated() -> None:
    """By field."""
    with pytest.raises(PolicyError, match=r"fault\.ttl"):
        FaultRule("f", ttl_s=1e9)
    with pytest.raises(PolicyError, match=r"fault\.delay"):
        Delay(61.0)


def test_who_is_held_when_the_rules_change_still_counts() -> None:
    """Its request ends later, and is given back to a rule that may be gone; the cap holds over the change."""
    rule = FaultRule("f", action=Action.HANG, action_percent=100.0, max_active=2)
    made, _clock = injector(rule)
    held = [made.draw(b"GET", b"/", ()) for _ in range(2)]
    made.replace([rule])
    assert made.active == 2
    assert made.draw(b"GET", b"/", ()) is None
    assert made.skipped == 1
    made.replace([])
    for fault in held:
        assert fault is not None
        made.done(fault)
    assert made.active == 0


def test_fail_first_remembers_only_so_many_requests() -> None:
    """Ids come from callers: the oldest are forgotten, and fail first again."""
    rule = FaultRule("f", action=Action.FAIL_FIRST, action_percent=100.0)
    made, _clock = injector(rule)
    for index in range(FAIL_FIRST_KEYS + 10):
        assert draw(made, request=b"%d" % index) is not None
    assert len(made._first) == FAIL_FIRST_KEYS
    assert draw(made, request=b"%d" % (FAIL_FIRST_KEYS + 9)) is None
    assert draw(made, request=b"0") is not None
