"""Latency histograms small enough to keep one per endpoint, and quantiles from them.

Buckets grow by 2^(1/4) (19 %) from 0.1 ms to about 100 s: 80 counters. Two halves rotate, so a quantile looks
back between one and two times `half_s`. A record costs one logarithm.
"""

import math
from collections.abc import Sequence
from typing import Final

PER_OCTAVE: Final = 4
LOWEST_S: Final = 1e-4
BUCKETS: Final = 80
HALF_S: Final = 30.0  # two halves: the last 30 to 60 s
MIN_SAMPLES: Final = 20  # a p95 of fewer is a guess
_SHIFT: Final = -math.log2(LOWEST_S) * PER_OCTAVE
_MIDDLE: Final[tuple[float, ...]] = tuple(
    LOWEST_S * math.exp2((index + 0.5) / PER_OCTAVE) for index in range(BUCKETS)
)


class LatencyHistogram:
    """`record(seconds, now)`, then `counts()` or `quantile(q)`; the error is at most 10 %."""

    __slots__ = ("_before", "_current", "_swap_at")

    def __init__(self) -> None:
        self._current = [0] * BUCKETS
        self._before = [0] * BUCKETS
        self._swap_at = 0.0

    def record(self, seconds: float, now: float) -> None:
        """One answer took `seconds`."""
        if now >= self._swap_at:
            self._swap(now)
        if seconds <= LOWEST_S:
            index = 0
        else:
            index = int(math.log2(seconds) * PER_OCTAVE + _SHIFT)
            if index >= BUCKETS:
                index = BUCKETS - 1
        self._current[index] += 1

    def counts(self, now: float) -> list[int]:
        """Samples per bucket over both halves."""
        if now >= self._swap_at:
            self._swap(now)
        return [new + old for new, old in zip(self._current, self._before, strict=True)]

    def _swap(self, now: float) -> None:
        self._before, self._current = self._current, [0] * BUCKETS
        self._swap_at = now + HALF_S


def quantile(counts: Sequence[int], q: float) -> float | None:
    """Seconds below which the share `q` (0..1) of the counted samples lies; None for fewer than
    MIN_SAMPLES.
    """
    total = sum(counts)
    if total < MIN_SAMPLES:
        return None
    wanted = q * total
    seen = 0
    for index, count in enumerate(counts):
        seen += count
        if seen >= wanted:
            return _MIDDLE[index]
    return _MIDDLE[-1]
