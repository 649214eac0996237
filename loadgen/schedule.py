"""When requests should start: the times at which the integral of rate(t) passes the next target.

The time of a request depends on the rate alone, never on answers, which is what makes the load open. A
change of rate or pattern begins a new segment: times before it stay what they were, even when they were
not taken yet, and the part of the gap that had passed is kept, so nothing is lost, repeated or moved by
turning the slider.
"""

import random
from collections import deque
from dataclasses import dataclass

from loadgen.patterns import CONSTANT, Pattern

FIRST_GAP = 0.5
"""Even arrivals stand in the middle of their interval, so that N seconds at rate R are exactly N * R requests
and no rounding at an edge decides about one more or less."""

_RESOLUTION = 1e-9
"""Times are found to a nanosecond: far below what any timer keeps."""
_MAX_STEPS = 100
"""Bisection halves an interval of a day to a nanosecond in 47 steps; this only bounds a mistake of ours."""


@dataclass(frozen=True, slots=True)
class _Segment:
    """From `start` on, `rate` requests/s shaped by `pattern`, which began at `shape_start`."""

    start: float
    rate: float
    pattern: Pattern
    shape_start: float

    def planned(self, begin: float, end: float) -> float:
        shape = self.pattern.shape
        return self.rate * (shape.integral(end - self.shape_start) - shape.integral(begin - self.shape_start))

    def rate_at(self, t: float) -> float:
        return self.rate * self.pattern.shape.value(t - self.shape_start)

    def when(self, begin: float, limit: float, need: float) -> float:
        """The time in begin..limit by which `need` requests have been planned since `begin`.

        Newton steps, kept inside a shrinking bracket: one step where the rate is flat, a few on curves,
        bisection where a jump or a rate of 0 would throw Newton out.
        """
        low, high, guess = begin, limit, begin
        for _ in range(_MAX_STEPS):
            miss = need - self.planned(begin, guess)
            if miss > 0:
                low = guess
            else:
                high = guess
            slope = self.rate_at(guess)
            step = guess + miss / slope if slope > 0 else high + 1.0
            if abs(step - guess) < _RESOLUTION or high - low < _RESOLUTION:
                break
            guess = step if low < step < high else (low + high) / 2
        return min(max(guess, begin), limit)


class Schedule:
    """Yields intended start times in order: `peek` the next one, `pop` it, `change` what comes later.

    Times are those of the caller's clock, in seconds; `rate` is requests/s and may be 0 (nothing is due,
    all else lives). Memory is one entry per change that has not been passed yet.
    """

    def __init__(self, rate: float, pattern: Pattern = CONSTANT, *, start: float, rng: random.Random) -> None:
        self._rng = rng
        self._segments = deque([_Segment(start, rate, pattern, start)])
        self._from = start
        self._need = rng.expovariate(1.0) if pattern.poisson else FIRST_GAP
        self._next: float | None = None

    @property
    def rate(self) -> float:
        """The set rate, requests/s, before the pattern shapes it."""
        return self._segments[-1].rate

    @property
    def pattern(self) -> Pattern:
        """The pattern in force."""
        return self._segments[-1].pattern

    def rate_at(self, t: float) -> float:
        """Requests/s intended at the time `t`, which is not before the last change."""
        last = self._segments[-1]
        return last.rate_at(max(t, last.start))

    def peek(self, until: float) -> float | None:
        """The next intended time when it is not later than `until`, else None; takes nothing."""
        if self._next is None:
            self._next = self._find(until)
        return self._next if self._next is not None and self._next <= until else None

    def pop(self) -> float:
        """Take the time that `peek` showed; LookupError when it showed none."""
        if self._next is None:
            raise LookupError("nothing was due")
        taken, self._next = self._next, None
        self._from = taken
        # the spacing in force at that time, not the newest: a change may stand between the two
        self._need = self._rng.expovariate(1.0) if self._segments[0].pattern.poisson else 1.0
        return taken

    def change(self, at: float, *, rate: float | None = None, pattern: Pattern | None = None) -> None:
        """From `at` on, use another rate, another pattern (which begins there), or both."""
        last = self._segments[-1]
        at = max(at, last.start)
        shape_start = last.shape_start if pattern is None else at
        self._segments.append(
            _Segment(at, last.rate if rate is None else rate, pattern or last.pattern, shape_start)
        )
        if self._next is not None and self._next > at:
            self._next = None  # it was computed with the old rate

    def _find(self, until: float) -> float | None:
        while True:
            segment = self._segments[0]
            end = self._segments[1].start if len(self._segments) > 1 else None
            limit = until if end is None else min(until, end)
            gain = segment.planned(self._from, limit) if limit > self._from else 0.0
            if gain >= self._need:
                return segment.when(self._from, limit, self._need)
            if end is None or end > until:
                return None  # progress is not stored: a change may still come before `until`
            self._need -= gain
            self._from = max(self._from, end)
            self._segments.popleft()
