"""The honesty lamps: red exactly when the numbers cannot be believed, with words."""

import pytest

from loadgen.lamps import SYSTEM_SECONDS, generator_lamp, system_lamp
from loadgen.tally import IN_FLIGHT_CAP, TOO_LATE, Tally


def sent(n: int, lateness_us: int = 500) -> Tally:
    tally = Tally()
    for _ in range(n):
        tally.send(lateness_us)
    return tally


def test_a_punctual_generator_is_green() -> None:
    """So is one that has nothing to do."""
    assert generator_lamp(sent(1000)).ok
    assert generator_lamp(Tally()).ok


def test_lateness_above_ten_milliseconds_at_p99_is_red() -> None:
    """One in a hundred is the line."""
    tally = sent(990)
    for _ in range(10):
        tally.send(20_000)
    assert generator_lamp(tally).ok
    tally.send(20_000)
    lamp = generator_lamp(tally)
    assert not lamp.ok
    assert "lateness p99 20.0 ms" in lamp.reason


def test_sending_less_than_planned_is_red_and_says_why() -> None:
    """1 % is the line."""
    tally = sent(990)
    for _ in range(10):
        tally.drop(TOO_LATE)
    assert generator_lamp(tally).ok
    tally.drop(IN_FLIGHT_CAP)
    lamp = generator_lamp(tally)
    assert not lamp.ok
    assert lamp.reason == "sent 990 of 1001 planned (in_flight_cap 1, too_late 10)"


def test_a_generator_without_cpu_to_spare_is_red() -> None:
    """Its own queue would be in the service time."""
    assert generator_lamp(sent(10), cpu_share=0.9).ok
    assert "95% of a core" in generator_lamp(sent(10), cpu_share=0.95).reason


def second(planned: int, completed: int, capped: int = 0) -> Tally:
    tally = sent(planned - capped)
    for _ in range(capped):
        tally.drop(IN_FLIGHT_CAP)
    for _ in range(completed):
        tally.complete(1000, 1000, 200, None)
    return tally


@pytest.mark.parametrize(
    ("seconds", "ok"),
    [
        ([second(100, 100)] * 5, True),
        ([second(100, 90)] * 5, False),
        ([second(100, 96)] * 5, True),  # within 5 %
        ([second(100, 90)] * 4, True),  # not for five seconds yet
        ([second(100, 100)] * 4 + [second(100, 90)], True),  # one bad second of five
        ([second(100, 0)] + [second(100, 125)] * 4, True),  # a stall that was worked off
        ([second(2, 1)] * 5, True),  # a few requests on their way are no trend
        ([second(100, 80, capped=20)] * 5, False),  # at the cap, in flight cannot rise
        ([second(0, 0)] * 5, True),
        ([], True),
    ],
)
def test_the_system_is_saturated_when_work_piles_up(seconds: list[Tally], ok: bool) -> None:
    """Completed below 95 % of offered over five seconds, with more and more in flight."""
    assert system_lamp(seconds).ok is ok
    assert bool(system_lamp(seconds).reason) is not ok


def test_only_the_last_five_seconds_count() -> None:
    """An overload that is over turns the lamp green."""
    assert system_lamp([second(100, 10)] * 5 + [second(100, 100)] * SYSTEM_SECONDS).ok
