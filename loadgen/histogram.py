"""A latency histogram of fixed size whose relative error is the same at every scale."""

import math
from collections.abc import Iterable, Iterator, Sequence

SUB_BITS = 8
"""256 steps per first octave, 128 per later one: a bucket is at most 1/128 = 0.8 % of its value wide,
so two significant digits always hold (the 1 % rule of HdrHistogram)."""

TOP_BITS = 27
"""Values below 2**27 us = 134 s have a bucket: twice the longest time-out that anyone should wait."""

_LINEAR = 1 << SUB_BITS
_STEP = _LINEAR >> 1
SIZE = (TOP_BITS - SUB_BITS) * _STEP + _LINEAR
"""Number of buckets there can be, however many values are recorded: 2688."""

_LIMIT = 1 << TOP_BITS


class Histogram:
    """Counts of whole microseconds; exact below 256 us, within 0.8 % (never under) up to 134 s.

    Only buckets that hold something take memory, at most SIZE of them: a second of traffic touches some
    hundred, which makes the merging of many seconds cheap. Values from 2**27 us on are counted in `overflow`;
    `max_us` stays exact even then. Two histograms are combined by adding counts (`merge`), which loses
    nothing: percentiles are never averaged.
    """

    __slots__ = ("count", "counts", "max_us", "min_us", "overflow", "total_us")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.count = 0
        self.overflow = 0
        self.total_us = 0
        self.min_us: int | None = None
        self.max_us = 0

    def record(self, us: int) -> None:
        """Count one value; a negative one (which a monotonic clock never gives) counts as 0."""
        if us < _LIMIT:
            if us < _LINEAR:
                index = us = max(us, 0)
            else:
                shift = us.bit_length() - SUB_BITS
                index = shift * _STEP + (us >> shift)
            self.counts[index] = self.counts.get(index, 0) + 1
        else:
            self.overflow += 1
        self.count += 1
        self.total_us += us
        if us > self.max_us:
            self.max_us = us
        if self.min_us is None or us < self.min_us:
            self.min_us = us

    def merge(self, other: "Histogram") -> None:
        """Add the other's counts to this one."""
        if not other.count:
            return
        counts = self.counts
        for index, n in other.counts.items():
            counts[index] = counts.get(index, 0) + n
        self.count += other.count
        self.overflow += other.overflow
        self.total_us += other.total_us
        self.max_us = max(self.max_us, other.max_us)
        if other.min_us is not None and (self.min_us is None or other.min_us < self.min_us):
            self.min_us = other.min_us

    def percentiles(self, quantiles: Sequence[float]) -> list[int | None]:
        """Nearest-rank percentiles in us for ascending quantiles in 0..1; all None when nothing was recorded.

        Each is the upper edge of the bucket that holds the value, so it is never too small, and never above
        the largest value recorded. One that falls among the overflowed values is that largest value.
        """
        if not self.count:
            return [None] * len(quantiles)
        answers: list[int | None] = []
        rising = iter(sorted(self.counts.items()))
        seen, index = 0, 0
        for quantile in quantiles:
            rank = _rank(quantile, self.count)
            while seen < rank and rank <= self.count - self.overflow:
                index, n = next(rising)
                seen += n
            answers.append(self.max_us if seen < rank else min(upper_edge(index), self.max_us))
        return answers

    def percentile(self, quantile: float) -> int | None:
        """One nearest-rank percentile in us, or None when nothing was recorded."""
        return self.percentiles((quantile,))[0]

    def mean_us(self) -> float | None:
        """The exact arithmetic mean in us, or None when nothing was recorded."""
        return self.total_us / self.count if self.count else None

    def buckets(self) -> Iterator[tuple[int, int]]:
        """(upper edge in us, count) of the buckets that are not empty, ascending; without the overflow."""
        return ((upper_edge(index), n) for index, n in sorted(self.counts.items()))

    def at_most(self, bounds_us: Iterable[int]) -> list[int]:
        """How many values lie at or below each ascending bound, to the resolution of the buckets."""
        answers: list[int] = []
        seen = 0
        rising = list(self.buckets())
        rising.reverse()
        for bound in bounds_us:
            while rising and rising[-1][0] <= bound:
                seen += rising.pop()[1]
            answers.append(seen)
        return answers

    def __repr__(self) -> str:
        p50, p99 = self.percentiles((0.5, 0.99))
        return f"<Histogram n={self.count} p50={p50} p99={p99} max={self.max_us} us>"


def upper_edge(index: int) -> int:
    """The largest whole number of us that falls into the bucket of this index."""
    if index < _LINEAR:
        return index
    shift = index // _STEP - 1
    return ((index - shift * _STEP + 1) << shift) - 1


def _rank(quantile: float, count: int) -> int:
    """Position from 1 of the nearest-rank percentile; rounding first keeps 0.99 of 100 at 99, not 100."""
    return min(count, max(1, math.ceil(round(quantile * count, 6))))
