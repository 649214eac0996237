"""The balancers that a policy can ask for instead of the default, and preference of what is near with any of
them.

`choose` answers as `p2c.pick_by_cost` does. The default (peak EWMA, no localities) does not come through
here.
"""

import random
from collections.abc import Sequence

from ..policy.hash_key import RING_MIN
from ..policy.settings import BalancePolicy
from .endpoints import Endpoint
from .locality import Group, Place, groups
from .maglev import Maglev
from .p2c import pick_by_cost
from .reference import Reference
from .ring_hash import RingHash
from .round_robin import RoundRobin

RANDOM_DRAWS = 16
SCANNING = ("peak_ewma", "least_request")  # those that `p2c.pick_by_cost` decides


class Chooser:
    """`rebuild` after every change of who may be picked, then `choose`."""

    __slots__ = ("_flat", "_groups", "_ring", "_rng", "_turns", "place", "policy")

    def __init__(self, policy: BalancePolicy, place: Place, rng: random.Random) -> None:
        self.policy = policy
        self.place = place
        self._rng = rng
        self._groups: list[Group] = []  # the nearest first
        size = policy.hash_key.minimum_ring_size if policy.hash_key is not None else RING_MIN
        self._ring: RingHash | Maglev | None = None
        if policy.kind == "ring_hash":
            self._ring = RingHash(size, rng)
        elif policy.kind == "maglev" and policy.hash_key is not None:
            self._ring = Maglev(policy.hash_key.table_size, rng)
        self._turns: list[RoundRobin] = []  # one for each group
        self._flat: Reference | None = None
        if policy.kind == "least_request":
            self._flat = Reference()
            self._flat.band_s = 1e9  # every latency is within the band: only pending counts

    def rebuild(self, everyone: Sequence[Endpoint], ready: Sequence[Endpoint]) -> None:
        """Who is there, and who may be picked."""
        if self.policy.locality is not None:
            self._groups = groups(self.policy.locality, self.place, everyone, ready)
        else:
            self._groups = [Group(list(ready), 1.0)] if ready else []
        if self._ring is not None:
            self._ring.rebuild(everyone)
        if self.policy.kind == "round_robin":
            while len(self._turns) < len(self._groups):
                self._turns.append(RoundRobin(self._rng))
            for turns, group in zip(self._turns, self._groups, strict=False):
                turns.rebuild(group.ready)

    def choose(
        self, tried: Sequence[Endpoint], key: int | None, reference: Reference, now: float
    ) -> Endpoint | None:
        """The endpoint for the next attempt, none of `tried`; None if no other is there."""
        drawn = self._draw() if len(self._groups) > 1 else 0
        if drawn < len(self._groups):
            found = self._of(drawn, tried, key, reference, now)
            if found is not None:
                return found
        for number in range(len(self._groups)):
            found = None if number == drawn else self._of(number, tried, key, reference, now)
            if found is not None:
                return found
        return None

    def _draw(self) -> int:
        """A group, by its share."""
        dice = self._rng.random()
        for number, group in enumerate(self._groups):
            dice -= group.share
            if dice < 0.0:
                return number
        return 0

    def _of(
        self, number: int, tried: Sequence[Endpoint], key: int | None, reference: Reference, now: float
    ) -> Endpoint | None:
        ready = self._groups[number].ready
        found: Endpoint | None = None
        if self._ring is not None:
            return self._ring.pick(ready, tried, key)
        if self._turns:
            found = self._turns[number].pick(tried, reference, now)
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


def chooser_for(policy: BalancePolicy, place: Place, rng: random.Random) -> Chooser | None:
    """None = the default balancer, which the stack calls itself."""
    locality = policy.locality
    near = locality is not None and bool(place.locality or locality.failover_priority)
    if policy.kind == "peak_ewma" and not near:
        return None
    return Chooser(policy, place, rng)
