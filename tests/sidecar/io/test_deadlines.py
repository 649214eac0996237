"""Timers by a hand-driven clock: when they fire, and that exactly one loop handle is ever pending."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from sidecar.io.deadlines import Deadlines, Timer
from tests.fakes.clock import FakeClock


class Loop:
    """`call_at` and the handles that it gave out."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.pending: list[Entry] = []

    def call_at(self, at: float, call: Callable[[], None]) -> Entry:
        entry = Entry(self, at, call)
        self.pending.append(entry)
        return entry

    def run_until(self, end: float) -> None:
        """Call what is due, in order, moving the clock along."""
        while self.pending:
            entry = min(self.pending, key=lambda one: one.at)
            if entry.at > end:
                break
            self.pending.remove(entry)
            self.clock.now = max(self.clock.now, entry.at)
            entry.call()
            assert len(self.pending) <= 1
        self.clock.now = max(self.clock.now, end)


class Entry:
    """A handle."""

    def __init__(self, loop: Loop, at: float, call: Callable[[], None]) -> None:
        self.loop = loop
        self.at = at
        self.call = call

    def cancel(self) -> None:
        self.loop.pending.remove(self)


@pytest.fixture
def loop() -> Loop:
    return Loop(FakeClock(0.0))


def test_it_fires_once_when_its_time_has_come(loop: Loop) -> None:
    """Not before, and not again."""
    fired: list[float] = []
    deadlines = Deadlines(loop.call_at, loop.clock)
    deadlines.arm(Timer(lambda: fired.append(loop.clock())), 5.0)
    loop.run_until(4.9)
    assert fired == []
    loop.run_until(20.0)
    assert fired == [5.0]
    assert loop.pending == []


def test_moving_a_deadline_later_costs_no_handle(loop: Loop) -> None:
    """A thousand re-arms for later are a thousand stores."""
    fired: list[float] = []
    deadlines = Deadlines(loop.call_at, loop.clock)
    timer = Timer(lambda: fired.append(loop.clock()))
    deadlines.arm(timer, 1.0)
    handle = loop.pending[0]
    for step in range(1000):
        deadlines.arm(timer, 1.0 + step / 100)
    assert loop.pending == [handle]
    loop.run_until(50.0)
    assert fired == [10.99]


def test_earlier_and_cancelled(loop: Loop) -> None:
    """An earlier time takes over; a cancelled timer stays silent until it is armed again."""
    fired: list[str] = []
    deadlines = Deadlines(loop.call_at, loop.clock)
    first, second = Timer(lambda: fired.append("first")), Timer(lambda: fired.append("second"))
    deadlines.arm(first, 10.0)
    deadlines.arm(second, 12.0)
    deadlines.arm(first, 3.0)
    second.cancel()
    loop.run_until(11.0)
    assert fired == ["first"]
    deadlines.arm(second, 12.0)
    loop.run_until(30.0)
    assert fired == ["first", "second"]


def test_timers_that_arm_others_leave_one_handle(loop: Loop) -> None:
    """Ten timers that arm themselves again at each firing: one pending handle, and as many calls as firings.

    Handles that were scheduled twice once multiplied until the process only ran timers.
    """
    rng = random.Random(3)
    calls = 0
    fired = 0
    deadlines = Deadlines(loop.call_at, loop.clock)

    def make() -> Timer:
        def fire() -> None:
            nonlocal fired
            fired += 1
            deadlines.arm(timer, loop.clock() + rng.uniform(0.01, 2.0))

        timer = Timer(fire)
        return timer

    inner = loop.call_at

    def counting(at: float, call: Callable[[], None]) -> Entry:
        nonlocal calls
        calls += 1
        return inner(at, call)

    deadlines = Deadlines(counting, loop.clock)
    for _ in range(10):
        deadlines.arm(make(), rng.uniform(0.01, 2.0))
    loop.run_until(60.0)
    assert len(loop.pending) == 1
    assert calls <= fired + 11


def test_a_failing_call_does_not_stop_the_others(loop: Loop) -> None:
    """The loop logs the error; the next timer still fires."""
    fired: list[str] = []

    def fail() -> None:
        raise RuntimeError("a bug")

    deadlines = Deadlines(loop.call_at, loop.clock)
    deadlines.arm(Timer(fail), 1.0)
    deadlines.arm(Timer(lambda: fired.append("second")), 2.0)
    with pytest.raises(RuntimeError):
        loop.run_until(1.5)
    loop.run_until(3.0)
    assert fired == ["second"]
