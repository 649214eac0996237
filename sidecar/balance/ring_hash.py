"""Consistent hashing: the same key goes to the same endpoint as long as it is there and works.

The ring holds all endpoints, also those that may not be picked now: an open breaker moves only its own keys
(to the next endpoint clockwise), and they come back when it closes. Points per endpoint are proportional to
its weight, and at least `minimum_ring_size` in all, as in Envoy: the more, the less shares differ.
"""

import math
import random
from bisect import bisect_left
from collections.abc import Sequence

from ..policy.hash_key import hash_of
from .endpoints import Endpoint


class RingHash:
    """`rebuild` after membership or weights changed, `pick` for a key."""

    __slots__ = ("_hashes", "_minimum", "_owners", "_rng", "_shape")

    def __init__(self, minimum_ring_size: int, rng: random.Random) -> None:
        self._minimum = minimum_ring_size
        self._hashes: list[int] = []
        self._owners: list[Endpoint] = []
        self._shape: tuple[tuple[str, int], ...] = ()
        self._rng = rng

    def rebuild(self, everyone: Sequence[Endpoint]) -> None:
        """Points for all endpoints; nothing is done if ids and weights are those of the last time."""
        shape = tuple((endpoint.id, endpoint.weight) for endpoint in everyone)
        if shape == self._shape and all(a is b for a, b in zip(everyone, self._members(), strict=False)):
            return
        self._shape = shape
        # the lightest has a whole number of points, from which the others' follow
        total = sum(endpoint.weight for endpoint in everyone)
        lightest = min((endpoint.weight for endpoint in everyone), default=1)
        least = math.ceil(lightest * self._minimum / total) if total else 0
        points: list[tuple[int, Endpoint]] = []
        for endpoint in everyone:
            count = round(endpoint.weight * least / lightest)
            name = endpoint.id.encode()
            points.extend((hash_of(b"%s#%d" % (name, index)), endpoint) for index in range(count))
        points.sort(key=lambda point: point[0])
        self._hashes = [point[0] for point in points]
        self._owners = [point[1] for point in points]

    def _members(self) -> list[Endpoint]:
        seen = {owner.id: owner for owner in self._owners}
        return [seen[name] for name, _ in self._shape if name in seen]

    def pick(self, ready: Sequence[Endpoint], tried: Sequence[Endpoint], key: int | None) -> Endpoint | None:
        """The first endpoint clockwise from the key that is ready and not tried."""
        owners = self._owners
        if not owners:
            return None
        if key is None:
            key = self._rng.getrandbits(64)
        start = bisect_left(self._hashes, key)
        count = len(owners)
        left = len(self._shape)
        passed: set[str] = set()
        for step in range(count):
            endpoint = owners[(start + step) % count]
            if endpoint.id in passed:
                continue
            if endpoint.gate > 0.0 and endpoint in ready and endpoint not in tried:
                return endpoint
            passed.add(endpoint.id)
            if len(passed) == left:
                break
        return None
