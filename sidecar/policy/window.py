"""Counts over a sliding window of buckets, rotated lazily: O(1) per record, no timer."""

from typing import Final

BUCKETS: Final = 10  # an exact sliding window to a tenth of its length


class CountWindow:
    """Three counters (`total`, `bad`, `slow`) over the last `BUCKETS * width_s` seconds.

    `total`, `bad` and `slow` are right after `record(now)` or `rotate(now)`; they are plain attributes
    because a breaker reads them on its hot path.
    """

    __slots__ = ("_bad", "_head", "_per_s", "_slow", "_total", "bad", "slow", "total", "width_s")

    def __init__(self, width_s: float = 1.0) -> None:
        self.width_s = width_s
        self._per_s = 1.0 / width_s
        self._total = [0] * BUCKETS
        self._bad = [0] * BUCKETS
        self._slow = [0] * BUCKETS
        self._head = 0
        self.total = 0
        self.bad = 0
        self.slow = 0

    def record(self, now: float, bad: int, slow: int, count: int = 1) -> None:
        """Count `count` events of which `bad` and `slow` are 0 or 1 (or a number up to `count`)."""
        head = int(now * self._per_s)
        if head != self._head:
            self._rotate_to(head)
        slot = head % BUCKETS
        self._total[slot] += count
        self.total += count
        if bad:
            self._bad[slot] += bad
            self.bad += bad
        if slow:
            self._slow[slot] += slow
            self.slow += slow

    def rotate(self, now: float) -> None:
        """Let what is older than the window fall out."""
        head = int(now * self._per_s)
        if head != self._head:
            self._rotate_to(head)

    def clear(self) -> None:
        """Forget everything."""
        for slot in range(BUCKETS):
            self._total[slot] = self._bad[slot] = self._slow[slot] = 0
        self.total = self.bad = self.slow = 0

    def _rotate_to(self, head: int) -> None:
        passed = head - self._head
        if passed >= BUCKETS or passed < 0:
            self.clear()
        else:
            for index in range(self._head + 1, head + 1):
                slot = index % BUCKETS
                self.total -= self._total[slot]
                self.bad -= self._bad[slot]
                self.slow -= self._slow[slot]
                self._total[slot] = self._bad[slot] = self._slow[slot] = 0
        self._head = head
