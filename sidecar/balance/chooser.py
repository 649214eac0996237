"""The balancers that a policy can ask for instead of the default, and preference of the own zone with any of
them.

`choose` answers as `p2c.pick_by_cost` does. The default (peak EWMA, no zones) does not come through here.
"""

import random
from collections.abc import Sequence

from ..policy.hash_key import RING_MIN
from ..policy.settings import BalancePolicy
from .endpoints import Endpoint
from .locality import split
from .p2c import pick_by_cost
from .reference import Reference
from .ring_hash import RingHash
from .round_robin import RoundRobin

RANDOM_DRAWS = 16


class Chooser:
    """`rebuild` after every change of who may be picked, then `choose`."""

    __slots__ = ("_away", "_flat", "_here", "_kept", "_ring", "_rng", "_turns", "policy", "zone")

    def __init__(self, policy: BalancePolicy, zone: str, rng: random.Random) -> None:
        self.policy = policy
        self.zone = zone
        self._rng = rng
        self._here: list[Endpoint] = []
        self._away: list[Endpoint] = []
        self._kept = 0.0  # share of requests that stays in the own zone
        size = policy.hash_key.minimum_ring_size if policy.hash_key is not None else RING_MIN
        self._ring = RingHash(size, rng) if policy.kind == "ring_hash" else None
        self._turns = (RoundRobin(rng), RoundRobin(rng)) if policy.kind == "round_robin" else None
        self._flat: Reference | None = None
        if policy.kind == "least_request":
            self._flat = Reference()
            self._flat.band_s = 1e9  # every latency is within the band: only pending counts

    def rebuild(self, everyone: Sequence[Endpoint], ready: Sequence[Endpoint]) -> None:
        """Who is there, and who may be picked."""
        if self.policy.prefer_zone:
            self._here, self._away, self._kept = split(self.zone, everyone, ready)
        else:
            self._here, self._away, self._kept = [], list(ready), 0.0
        if self._ring is not None:
            self._ring.rebuild(everyone)
        if self._turns is not None:
            self._turns[0].rebuild(self._here)
            self._turns[1].rebuild(self._away)

    def choose(
        self, tried: Sequence[Endpoint], key: int | None, reference: Reference, now: float
    ) -> Endpoint | None:
        """The endpoint for the next attempt, none of `tried`; None if no other is there."""
        near = bool(self._here) and (self._kept >= 1.0 or self._rng.random() < self._kept)
        found = self._of(near, tried, key, reference, now)
        return found if found is not None else self._of(not near, tried, key, reference, now)

    def _of(
        self, near: bool, tried: Sequence[Endpoint], key: int | None, reference: Reference, now: float
    ) -> Endpoint | None:
        ready = self._here if near else self._away
        if not ready:
            return None
        found: Endpoint | None = None
        if self._ring is not None:
            return self._ring.pick(ready, tried, key)
        if self._turns is not None:
            found = self._turns[0 if near else 1].pick(tried, reference, now)
        elif self.policy.kind == "random":
            found = self._random(ready, tried)
        if self._flat is not None:
            self._flat.stall_s = reference.stall_s
            return pick_by_cost(ready, tried, self._flat, now, self._rng)
        # the default, and the way out where turns or dice found nobody
        return found if found is not None else pick_by_cost(ready, tried, reference, now, self._rng)

    def _random(self, ready: Sequence[Endpoint], tried: Sequence[Endpoint]) -> Endpoint | None:
        for _ in range(RANDOM_DRAWS):
            endpoint = ready[int(self._rng.random() * len(ready))]
            if self._rng.random() < endpoint.share * endpoint.gate and endpoint not in tried:
                return endpoint
        return None


def chooser_for(policy: BalancePolicy, zone: str, rng: random.Random) -> Chooser | None:
    """None = the default balancer, which the stack calls itself."""
    if policy.kind == "peak_ewma" and not (policy.prefer_zone and zone):
        return None
    return Chooser(policy, zone, rng)
