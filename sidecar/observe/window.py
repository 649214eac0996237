"""The last ten seconds of a stream of requests: rate, percentiles, error share.

One dict of log-linear buckets a second, so that recording costs one `bit_length` and two look-ups,
and memory follows what happened, not what could.
"""

from __future__ import annotations

from collections.abc import Callable

SECONDS = 10
# 16 sub-buckets for each power of two: values are known to within 1/32.
_SUB_BITS = 4


class Window:
    """Counts and latencies by second; `clock` in seconds."""

    __slots__ = ("_clock", "_failed", "_slots", "_stamps", "_started", "_total", "failed", "requests")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started = clock()
        self._stamps = [-1] * SECONDS
        self._total = [0] * SECONDS
        self._failed = [0] * SECONDS
        self._slots: list[dict[int, int]] = [{} for _ in range(SECONDS)]
        self.requests = 0  # since the start
        self.failed = 0

    def record(self, now: float, seconds: float, failed: bool) -> None:
        """One request that ended at `now` after `seconds`."""
        second = int(now)
        index = second % SECONDS
        if self._stamps[index] != second:
            self._stamps[index] = second
            self._total[index] = self._failed[index] = 0
            self._slots[index] = {}
        self.requests += 1
        self._total[index] += 1
        if failed:
            self.failed += 1
            self._failed[index] += 1
        micros = int(seconds * 1e6)
        shift = micros.bit_length() - _SUB_BITS - 1
        bucket = micros if shift <= 0 else (shift << (_SUB_BITS + 1)) + (micros >> shift)
        slot = self._slots[index]
        slot[bucket] = slot.get(bucket, 0) + 1

    def snapshot(self) -> dict[str, float | None]:
        """`rps`, `p50_ms`, `p95_ms`, `p99_ms` (None without requests) and `error_rate` (0 to 1)."""
        now = self._clock()
        oldest = int(now) - SECONDS
        merged: dict[int, int] = {}
        total = failed = 0
        for index, stamp in enumerate(self._stamps):
            if stamp > oldest:
                total += self._total[index]
                failed += self._failed[index]
                for bucket, count in self._slots[index].items():
                    merged[bucket] = merged.get(bucket, 0) + count
        # The current second is not over yet, and the process may be younger than the window.
        covered = min(SECONDS - 1 + now % 1.0, now - self._started)
        ordered = sorted(merged.items())
        return {
            "rps": round(total / covered, 3) if covered > 0.05 else 0.0,
            "p50_ms": _quantile(ordered, total, 0.50),
            "p95_ms": _quantile(ordered, total, 0.95),
            "p99_ms": _quantile(ordered, total, 0.99),
            "error_rate": round(failed / total, 6) if total else 0.0,
        }


def _quantile(ordered: list[tuple[int, int]], total: int, quantile: float) -> float | None:
    if not total:
        return None
    rank = quantile * total
    seen = 0
    bucket = 0
    for bucket, count in ordered:  # noqa: B007  # the bucket at which the loop ends is the answer
        seen += count
        if seen >= rank:
            break
    shift, sub = bucket >> (_SUB_BITS + 1), bucket & ((2 << _SUB_BITS) - 1)
    middle = bucket + 0.5 if shift == 0 else (sub + 0.5) * (1 << shift)
    return round(middle / 1000, 3)
