"""All timers of the data path on one heap, made so that re-arming for later is free.

A connection's timer is armed anew for every request, nearly always for later than before, and nearly
never fires. So arming for later only stores a number; the heap entry, when its time comes, looks at
that number and goes back in. Steady traffic costs one push for each timeout's length, not for each request.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)


class Handle(Protocol):
    """What `loop.call_at` returns."""

    def cancel(self) -> None: ...


class Timer:
    """One deadline that can be moved at will; `fire` is called once when it has passed."""

    __slots__ = ("deadline", "fire", "queued")

    def __init__(self, fire: Callable[[], None]) -> None:
        self.fire = fire
        self.deadline = math.inf
        self.queued = math.inf  # when its heap entry comes up; inf = it has none

    def cancel(self) -> None:
        """Never fire, until armed again."""
        self.deadline = math.inf

    def retire(self) -> None:
        """Never fire again, and let go of what would be called: the heap may hold this timer for a while.

        Without it, a client that connects anew for each request leaves thousands of dead connections there.
        """
        self.deadline = math.inf
        self.fire = _nothing


def _nothing() -> None:
    """What a retired timer calls."""


class Deadlines:
    """Runs timers; `clock` and `call_at` must be of the same time line (a loop's `time` and `call_at`)."""

    __slots__ = ("_call_at", "_clock", "_handle", "_heap", "_sequence", "_wake")

    def __init__(
        self, call_at: Callable[[float, Callable[[], None]], Handle], clock: Callable[[], float]
    ) -> None:
        self._call_at = call_at
        self._clock = clock
        self._heap: list[tuple[float, int, Timer]] = []
        self._sequence = itertools.count()
        self._wake = math.inf
        self._handle: Handle | None = None

    def arm(self, timer: Timer, at: float) -> None:
        """Fire at `at`, whatever was set before."""
        timer.deadline = at
        if at < timer.queued:
            self._push(timer, at)

    def _push(self, timer: Timer, at: float) -> None:
        timer.queued = at
        heapq.heappush(self._heap, (at, next(self._sequence), timer))
        if at < self._wake:
            if self._handle is not None:
                self._handle.cancel()
            self._wake = at
            self._handle = self._call_at(at, self._run)

    def _run(self) -> None:
        # While timers fire they arm others: nothing is scheduled before all is done, for a second handle
        # would call us once more, schedule its own successor, and never end.
        self._wake = -math.inf
        self._handle = None
        # Loop clocks are rounded to their resolution, so an entry may come up a hair early.
        now = self._clock() + 0.0005
        heap = self._heap
        try:
            while heap and heap[0][0] <= now:
                at, _, timer = heapq.heappop(heap)
                if at != timer.queued:
                    continue  # armed for earlier since; that entry has done the work
                timer.queued = math.inf
                if timer.deadline <= now:
                    timer.deadline = math.inf
                    self._fire(timer)
                elif timer.deadline < math.inf:
                    self._push(timer, timer.deadline)
        finally:  # also when a timer's call failed: the others must not wait for ever
            self._wake = math.inf
            if heap:
                self._wake = heap[0][0]
                self._handle = self._call_at(self._wake, self._run)

    @staticmethod
    def _fire(timer: Timer) -> None:
        try:
            timer.fire()
        except Exception:
            log.exception("an error of our own, in a timer")  # the other timers must go on

    def close(self) -> None:
        """Forget all timers."""
        self._heap.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._wake = math.inf
