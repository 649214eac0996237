"""Maglev hashing, as Envoy has it: a table in which every endpoint owns its share of the places.

Each endpoint goes through the places in an order of its own and takes the first free one when it is its
turn; who weighs half is passed over every other turn. Shares are exact to a place (a ring's differ by some
percent), and more keys move than with a ring when the set changes. As there, the table holds all endpoints:
one that may not be picked now hands its places to whoever owns the next ones, and gets them back.
"""

import random
from collections.abc import Sequence

from ..policy.hash_key import hash_of
from .endpoints import Endpoint


class Maglev:
    """`rebuild` after membership or weights changed, `pick` for a key. `size` is a prime."""

    __slots__ = ("_members", "_places", "_rng", "_shape", "_size")

    def __init__(self, size: int, rng: random.Random) -> None:
        self._size = size
        self._rng = rng
        self._members: list[Endpoint] = []
        self._places: list[Endpoint] = []
        self._shape: tuple[tuple[str, int], ...] = ()

    def rebuild(self, everyone: Sequence[Endpoint]) -> None:
        """Fill the table anew; nothing is done if the endpoints and weights are those of the last time."""
        shape = tuple((endpoint.id, endpoint.weight) for endpoint in everyone)
        if shape == self._shape and all(a is b for a, b in zip(everyone, self._members, strict=True)):
            return
        self._shape = shape
        self._members = list(everyone)
        self._places = self._fill() if everyone else []

    def _fill(self) -> list[Endpoint]:
        size = self._size
        # by id, so that every caller comes to the same table
        members = sorted(self._members, key=lambda endpoint: endpoint.id)
        largest = max(endpoint.weight for endpoint in members)
        places: list[Endpoint | None] = [None] * size
        at = [hash_of(endpoint.id.encode()) % size for endpoint in members]
        skips = [hash_of(b"skip " + endpoint.id.encode()) % (size - 1) + 1 for endpoint in members]
        due = [0] * len(members)  # what an endpoint's weights must add up to before its next turn
        turn = filled = 0
        while True:
            turn += 1
            for index, endpoint in enumerate(members):
                if turn * endpoint.weight < due[index]:
                    continue
                due[index] += largest
                place, skip = at[index], skips[index]
                while places[place] is not None:
                    place += skip
                    if place >= size:
                        place -= size
                places[place] = endpoint
                at[index] = place
                filled += 1
                if filled == size:
                    return [owner for owner in places if owner is not None]

    def pick(self, ready: Sequence[Endpoint], tried: Sequence[Endpoint], key: int | None) -> Endpoint | None:
        """The owner of the key's place, or of the next place whose owner is ready and not tried."""
        places = self._places
        if not places:
            return None
        start = (self._rng.getrandbits(64) if key is None else key) % self._size
        passed: set[str] = set()
        for step in range(self._size):
            endpoint = places[(start + step) % self._size]
            if endpoint.id in passed:
                continue
            if endpoint.gate > 0.0 and endpoint in ready and endpoint not in tried:
                return endpoint
            passed.add(endpoint.id)
            if len(passed) == len(self._shape):
                break
        return None
