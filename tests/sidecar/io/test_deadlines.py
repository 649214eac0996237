"""Timers on one heap, under a clock that the test moves."""

from __future__ import annotations

import gc
import heapq
import random
import weakref
from collections.abc import Callable

import pytest

from sidecar.io.deadlines import Deadlines, Timer
from tests.fakes.clock import FakeClock


class FakeLoop:
    """`call_at` over a fake clock."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.calls = 0
        self._queue: list[tuple[float, int, FakeHandle]] = []

    def call_at(self, at: float, call: Callable[[], None]) -> FakeHandle:
        self.calls += 1
        handle = FakeHandle(call)
        heapq.heappush(self._queue, (at, self.calls, handle))
        return handle

    def advance(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self._queue and self._queue[0][0] <= end:
            at, _, handle = heapq.heappop(self._queue)
            self.clock.now = max(self.clock.now, at)
            if not handle.cancelled:
                handle.call()
        self.clock.now = end

    @property
    def scheduled(self) -> int:
        return sum(not handle.cancelled for _, _, handle in self._queue)


class FakeHandle:
    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def loop() -> FakeLoop:
    return FakeLoop(FakeClock())


@pytest.fixture
def deadlines(loop: FakeLoop) -> Deadlines:
    return Deadlines(loop.call_at, loop.clock)


def test_timers_fire_once_in_order(loop: FakeLoop, deadlines: Deadlines) -> None:
    """Whatever order they were armed in."""
    fired: list[int] = []
    for delay in (3, 1, 2):
        deadlines.arm(Timer(lambda delay=delay: fired.append(delay)), loop.clock() + delay)  # type: ignore[misc]
    loop.advance(1.5)
    assert fired == [1]
    loop.advance(10)
    assert fired == [1, 2, 3]
    assert loop.scheduled == 0


def test_arming_again_moves_it_both_ways(loop: FakeLoop, deadlines: Deadlines) -> None:
    """Later is free, earlier makes an entry; the old one does nothing."""
    fired: list[float] = []
    timer = Timer(lambda: fired.append(loop.clock()))
    start = loop.clock()
    deadlines.arm(timer, start + 5)
    deadlines.arm(timer, start + 9)
    loop.advance(6)
    assert fired == []
    deadlines.arm(timer, start + 7)
    loop.advance(10)
    assert fired == [start + 7]


def test_steady_traffic_costs_no_entry_for_each_request(loop: FakeLoop, deadlines: Deadlines) -> None:
    """A thousand requests a second with a timeout of 10 s: one call of the loop for each 10 s."""
    timer = Timer(lambda: None)
    for _ in range(20_000):
        deadlines.arm(timer, loop.clock() + 10)
        loop.advance(0.001)
    assert loop.calls <= 5


def test_cancelled_and_retired_timers_do_not_fire(loop: FakeLoop, deadlines: Deadlines) -> None:
    """A retired one also lets go of what it would have called."""

    class Owner:
        def __init__(self) -> None:
            self.timer = Timer(self.fire)

        def fire(self) -> None:
            raise AssertionError

    owner = Owner()
    deadlines.arm(owner.timer, loop.clock() + 1)
    owner.timer.cancel()
    loop.advance(2)
    deadlines.arm(owner.timer, loop.clock() + 1)
    owner.timer.retire()
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None
    loop.advance(2)


def test_a_timer_that_fails_does_not_stop_the_others(
    loop: FakeLoop, deadlines: Deadlines, caplog: pytest.LogCaptureFixture
) -> None:
    """All timers of the process are on this heap."""
    fired: list[int] = []

    def fail() -> None:
        raise ZeroDivisionError("on purpose")

    deadlines.arm(Timer(fail), loop.clock() + 1)
    deadlines.arm(Timer(lambda: fired.append(1)), loop.clock() + 1)
    loop.advance(1)
    deadlines.arm(Timer(lambda: fired.append(2)), loop.clock() + 1)
    loop.advance(1)
    assert fired == [1, 2]
    assert "in a timer" in caplog.text


def test_timers_that_arm_others_leave_one_call_of_the_loop(loop: FakeLoop, deadlines: Deadlines) -> None:
    """However many do so at once."""
    timers: list[Timer] = []
    for _ in range(10):
        timer = Timer(lambda: None)
        timer.fire = lambda timer=timer: deadlines.arm(timer, loop.clock() + 1)  # type: ignore[misc]
        deadlines.arm(timer, loop.clock() + 1)
        timers.append(timer)
    for _ in range(5):
        loop.advance(1)
        assert loop.scheduled == 1
    deadlines.close()
    assert loop.scheduled == 0


def test_random_use_fires_exactly_what_is_due(loop: FakeLoop, deadlines: Deadlines) -> None:
    """Against the plain rule: a timer fires at the last time it was armed for, unless cancelled."""
    rng = random.Random(11)
    due: dict[int, float] = {}
    wrong: list[str] = []

    def fired(number: int) -> None:
        at = due.pop(number, None)
        if at is None or abs(at - loop.clock()) > 0.001:
            wrong.append(f"{number} fired at {loop.clock()}, due {at}")

    timers = [Timer(lambda number=number: fired(number)) for number in range(20)]  # type: ignore[misc]
    for _ in range(3000):
        number = rng.randrange(20)
        if rng.random() < 0.2:
            timers[number].cancel()
            due.pop(number, None)
        else:
            due[number] = loop.clock() + rng.choice((0.05, 0.5, 5.0))
            deadlines.arm(timers[number], due[number])
        loop.advance(rng.random() * 0.1)
        late = [one for one, at in due.items() if at < loop.clock() - 0.001]
        assert not late
    assert not wrong
