"""Weighted round robin by earliest deadline: next deadline = last + 1 / share.

Each entry begins with a random credit in [0, 1/share], so that many callers do not march in step.
"""

import heapq
import random
from collections.abc import Sequence
from typing import Final

from .endpoints import Endpoint
from .p2c import is_stalled
from .reference import Reference

LOOKS: Final = 8  # entries looked at for one that is not tried, stalled or gated


class RoundRobin:
    """`rebuild` keeps the deadlines of who stays; `pick` costs O(log N)."""

    __slots__ = ("_count", "_heap", "_rng")

    def __init__(self, rng: random.Random) -> None:
        self._heap: list[tuple[float, int, Endpoint]] = []
        self._count = 0
        self._rng = rng

    def rebuild(self, ready: Sequence[Endpoint]) -> None:
        """Take over the list of who may be picked."""
        kept = {endpoint: deadline for deadline, _, endpoint in self._heap}
        base = self._heap[0][0] if self._heap else 0.0
        self._heap = []
        for endpoint in ready:
            deadline = kept.get(endpoint)
            if deadline is None:
                deadline = base + self._rng.random() / endpoint.share
            self._count += 1
            self._heap.append((deadline, self._count, endpoint))
        heapq.heapify(self._heap)

    def pick(self, tried: Sequence[Endpoint], reference: Reference, now: float) -> Endpoint | None:
        """Whose turn it is; passed over ones wait for their next turn."""
        heap = self._heap
        for _ in range(min(LOOKS, len(heap))):
            deadline, _, endpoint = heap[0]
            self._count += 1
            heapq.heapreplace(heap, (deadline + 1.0 / endpoint.share, self._count, endpoint))
            if endpoint in tried or is_stalled(endpoint, reference, now):
                continue
            if endpoint.gate < 1.0 and self._rng.random() >= endpoint.gate:
                continue
            return endpoint
        return None
