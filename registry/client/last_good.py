"""What a caller should believe about a service's instances: the last good set, through loss and rebirth.

A registry that answers is believed at once, with three exceptions:
- while it is lost, nothing changes (nobody calls `observe`);
- for `hold` seconds after it came back, or after its index went backwards, instances that it does not
  know (yet) are kept, and one that is suddenly critical keeps its better status: a registry that came
  back empty refills from heartbeats within seconds, and a refilled TTL check may start critical;
- an empty answer must have stood for `empty_hold` seconds, always: scaling a service to nothing may
  take a moment longer, an accident must not.
Keeping a dead instance a few seconds is cheap, since callers' breakers notice; losing a live one is
an outage.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from registry.client.records import ServiceInstance
from registry.model import CRITICAL

HOLD: Final = 10.0
"""Seconds: heartbeats come back within 2 s, and a real Consul takes some seconds to elect itself."""

EMPTY_HOLD: Final = 3.0
"""Seconds an empty set must stand before it is believed."""

Instances = tuple[ServiceInstance, ...]
Key = tuple[str, str]


class LastGood:
    """The set to believe. `observe` answers of the registry, tell of `lost` queries; read `instances`."""

    def __init__(self, *, hold: float = HOLD, empty_hold: float = EMPTY_HOLD) -> None:
        self._hold = hold
        self._empty_hold = empty_hold
        self._believed: Instances | None = None
        self._suspect = False
        self._settled_at = float("-inf")
        self._empty_since: float | None = None
        self._recheck_at: float | None = None
        self.held = 0

    @property
    def instances(self) -> Instances | None:
        """What is believed; None = nothing was ever learned."""
        return self._believed

    def lost(self) -> None:
        """A query failed; the next answer may come from a registry that forgot."""
        self._suspect = True

    def recheck_in(self, now: float) -> float | None:
        """Seconds until something held may have to go; None when nothing is held."""
        return None if self._recheck_at is None else max(0.0, self._recheck_at - now)

    def observe(self, now: float, seen: Instances, *, reset: bool) -> Instances | None:
        """Take an answer; the new set when belief changed, else None. `reset` = the index went backwards."""
        known = self._believed or ()
        if (reset or self._suspect) and known:
            self._settled_at = now + self._hold
        self._suspect = False
        if seen:
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = now
        deadlines: list[float] = []
        if now < self._settled_at:
            believed = self._settle(known, seen)
            if self.held:
                deadlines.append(self._settled_at)
        else:
            believed, self.held = seen, 0
        if not seen and self._empty_since is not None and now < self._empty_since + self._empty_hold:
            deadlines.append(self._empty_since + self._empty_hold)
            believed, self.held = known, len(known)
            if self._believed is None:
                # Nothing was ever known, and an empty set is not worth saying before it is certain.
                self._recheck_at = max(deadlines)
                return None
        self._recheck_at = max(deadlines, default=None)
        if believed == self._believed:
            return None
        self._believed = believed
        return believed

    def _settle(self, known: Instances, seen: Instances) -> Instances:
        """Everything seen, plus what is known and not seen, with the better of two statuses."""
        before = {(one.node, one.id): one for one in known}
        places = {(one.id, one.address, one.port) for one in seen}
        merged: dict[Key, ServiceInstance] = {}
        self.held = 0
        for one in seen:
            old = before.get((one.node, one.id))
            if old is not None and _only_turned_critical(old, one):
                self.held += 1
                one = replace(one, status=old.status)
            merged[one.node, one.id] = one
        for key, old in before.items():
            # The same place under another node name is the same instance: the registry's host was renamed.
            if key not in merged and (old.id, old.address, old.port) not in places:
                self.held += 1
                merged[key] = old
        return tuple(merged[key] for key in sorted(merged))


def _only_turned_critical(old: ServiceInstance, new: ServiceInstance) -> bool:
    same_place = (old.address, old.port) == (new.address, new.port)
    return same_place and new.status == CRITICAL and old.status != CRITICAL
