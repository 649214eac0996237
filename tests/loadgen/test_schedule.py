"""The schedule: times follow the integral of the rate, and live changes lose and repeat nothing."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.patterns import parse_pattern
from loadgen.schedule import Schedule

START = 1000.0


def make(rate: float, text: str = "constant", seed: int = 1) -> Schedule:
    return Schedule(rate, parse_pattern(text), start=START, rng=random.Random(seed))


def take(schedule: Schedule, until: float) -> list[float]:
    """Pop everything that is due at START + until, as seconds since START."""
    times = []
    while schedule.peek(START + until) is not None:
        times.append(schedule.pop() - START)
    return times


def test_constant_times_are_evenly_spaced_midpoints() -> None:
    """Ten per second stand in the middle of tenths."""
    assert take(make(10), 0.5) == pytest.approx([0.05, 0.15, 0.25, 0.35, 0.45])


@pytest.mark.parametrize("rate", [0.7, 1, 3, 300, 997, 20_000])
def test_seconds_times_rate_requests_are_planned(rate: float) -> None:
    """No edge decides about one more or less."""
    assert len(take(make(rate), 10)) == pytest.approx(rate * 10, abs=0.51)


@pytest.mark.parametrize(
    "text",
    [
        "constant",
        "ramp:over=5s",
        "ramp:start=3,end=0,over=6s",
        "step:levels=0/1/3/0,every=2s",
        "sine:amplitude=1,period=4s",
        "spike:factor=10,lasting=1s,every=5s",
    ],
)
def test_the_nth_time_is_where_the_area_passes_n(text: str) -> None:
    """Every pattern, checked against the definition at each request."""
    schedule = make(50, text)
    shape = schedule.pattern.shape
    times = take(schedule, 20)
    for n, t in enumerate(times):
        assert 50 * shape.integral(t) == pytest.approx(n + 0.5, abs=1e-4)
    assert len(times) == pytest.approx(50 * shape.integral(20), abs=0.51)


@given(
    st.lists(st.floats(0.001, 0.3), min_size=1, max_size=60), st.sampled_from(["constant", "sine", "poisson"])
)
def test_how_often_one_looks_changes_nothing(looks: list[float], text: str) -> None:
    """A late or busy runner gets the same times as a punctual one."""
    punctual, busy = make(40, text), make(40, text)
    at, got = 0.0, []
    for look in looks:
        at += look
        got += take(busy, at)
        busy.peek(START + at + 1.0)  # looking ahead takes nothing
    assert got == pytest.approx(take(punctual, at))


def test_poisson_gaps_are_exponential() -> None:
    """Mean and spread of the gaps agree, and the share of gaps above the mean is 1/e."""
    times = take(make(100, "poisson"), 200)
    gaps = [b - a for a, b in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((g - mean) ** 2 for g in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(0.01, rel=0.03)
    assert spread == pytest.approx(mean, rel=0.05)
    assert sum(g > mean for g in gaps) / len(gaps) == pytest.approx(0.3679, abs=0.015)


def test_poisson_follows_the_shape() -> None:
    """Drawn gaps under a step: three times the rate has three times the requests."""
    times = take(make(200, "step:levels=1/3,every=20s,arrivals=poisson"), 40)
    first = sum(t < 20 for t in times)
    assert first == pytest.approx(4000, rel=0.05)
    assert len(times) - first == pytest.approx(12_000, rel=0.05)


def test_the_seed_decides_the_gaps() -> None:
    """Equal seeds give equal runs, others do not."""
    assert (
        take(make(50, "poisson", 7), 5) == take(make(50, "poisson", 7), 5) != take(make(50, "poisson", 8), 5)
    )


def test_rate_zero_plans_nothing_and_lives() -> None:
    """An idle schedule answers at once, and a new rate starts it."""
    schedule = make(0)
    assert schedule.peek(START + 1e6) is None
    schedule.change(START + 100, rate=10)
    assert take(schedule, 101) == pytest.approx([100.05 + i / 10 for i in range(10)])


def test_turning_to_zero_and_back_keeps_the_part_of_the_gap() -> None:
    """0.3 s of a 1 s gap, a pause, then the other 0.2 s to the midpoint."""
    schedule = make(1)
    schedule.change(START + 0.3, rate=0)
    assert take(schedule, 10) == []
    schedule.change(START + 10, rate=1)
    assert take(schedule, 12) == pytest.approx([10.2, 11.2])


def test_a_change_leaves_times_before_it_as_they_were() -> None:
    """A runner that is behind still gets the old times, even if the rate became 0 meanwhile."""
    schedule = make(10)
    schedule.change(START + 1.0, rate=0)
    assert take(schedule, 50) == pytest.approx([0.05 + i / 10 for i in range(10)])


def test_a_change_after_looking_ahead_takes_hold_at_once() -> None:
    """A slow schedule that was asked about the next 100 s does not make the new rate wait."""
    schedule = make(0.01)
    assert schedule.peek(START + 100) == pytest.approx(START + 50)
    schedule.change(START + 1.0, rate=100)
    times = take(schedule, 2.0)
    # 1 % of a request had passed of the half one that comes first
    assert times[0] == pytest.approx(1.0 + 0.49 / 100)
    assert len(times) == 100


def test_a_change_cannot_reach_back_before_what_was_taken() -> None:
    """A change with an old date holds from the last request on: times never repeat or fall."""
    schedule = make(10)
    taken = take(schedule, 1.0)
    schedule.change(START + 0.2, rate=100)
    assert take(schedule, 1.1)[0] == pytest.approx(taken[-1] + 0.01)


def test_many_changes_between_two_looks_are_all_honoured() -> None:
    """Dragging the slider while the runner is busy: each position counts for its time."""
    schedule = make(100)
    for i in range(1, 11):
        schedule.change(START + i, rate=100 * (i % 3))
    # seconds 0..1 at 100, then 100, 200, 0 in turn
    assert len(take(schedule, 10)) == 100 + 3 * (100 + 200 + 0)


def test_a_new_rate_does_not_restart_the_pattern_and_a_new_pattern_does() -> None:
    """The slider scales the wave where it is; another pattern begins at its beginning."""
    schedule = make(10, "ramp:over=10s")
    schedule.change(START + 5, rate=100)
    assert schedule.rate_at(START + 5) == pytest.approx(50)
    schedule.change(START + 6, pattern=parse_pattern("ramp:over=10s"))
    assert schedule.rate_at(START + 6) == 0
    assert schedule.rate_at(START + 16) == 100


rates = st.sampled_from([0.0, 0.5, 7.0, 100.0, 900.0])
texts = st.sampled_from(
    ["constant", "ramp:over=1s", "sine:period=700ms", "step:levels=0/2,every=300ms", "spike"]
)


@given(st.lists(st.tuples(st.floats(0.0, 0.8), rates, st.none() | texts), max_size=12), st.integers(0, 1000))
def test_live_changes_keep_order_and_accounting(
    changes: list[tuple[float, float, str | None]], seed: int
) -> None:
    """Whatever is turned and whenever one looks: times rise, and their number is the area under the rate."""
    rng = random.Random(seed)
    schedule = make(50)
    at, area, got = 0.0, 0.0, []
    segment = (50.0, parse_pattern("constant"), 0.0)
    for wait, rate, text in [*changes, (0.5, 0.0, None)]:
        now_rate, pattern, began = segment
        area += now_rate * (pattern.shape.integral(at + wait - began) - pattern.shape.integral(at - began))
        at += wait
        if rng.random() < 0.5:
            got += take(schedule, at)
        schedule.change(START + at, rate=rate, pattern=None if text is None else parse_pattern(text))
        segment = (rate, pattern, began) if text is None else (rate, parse_pattern(text), at)
    got += take(schedule, at)
    assert got == sorted(got)
    assert len(got) == pytest.approx(area, abs=0.501)


def test_a_look_back_shows_nothing_early() -> None:
    """What a longer look found is not due before its time."""
    schedule = Schedule(1.0, start=0.0, rng=random.Random(1))
    assert schedule.peek(10.0) == pytest.approx(0.5)
    assert schedule.peek(0.4) is None
    assert schedule.peek(0.5) == pytest.approx(0.5)


def test_a_change_that_is_still_to_come_leaves_the_spacing() -> None:
    """Even gaps until random ones are asked for, not until they are announced."""
    schedule = Schedule(10.0, start=0.0, rng=random.Random(1))
    schedule.change(1.0, pattern=parse_pattern("poisson"))
    taken = []
    while schedule.peek(1.0) is not None:
        taken.append(schedule.pop())
    assert taken == pytest.approx([0.05 + 0.1 * index for index in range(10)])


def test_pop_without_a_due_time_is_an_error() -> None:
    """Nothing is made up."""
    with pytest.raises(LookupError):
        make(0).pop()
