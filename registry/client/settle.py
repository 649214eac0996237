"""What to believe of names and keys after the registry was lost or began anew. Pure, like `last_good.py`.

What is new is believed at once; what is missing is held for `hold` seconds after a doubt, since a
registry that came back empty refills within seconds.
"""

from __future__ import annotations

from registry.model import KVEntry


class _Doubt:
    """When the last doubt began, and how long it holds things back."""

    def __init__(self, hold: float) -> None:
        self._hold = hold
        self._suspect = False
        self._settled_at = float("-inf")
        self._holding = False

    def lost(self) -> None:
        """A query failed; the next answer may come from a registry that forgot."""
        self._suspect = True

    def recheck_in(self, now: float) -> float | None:
        """Seconds until what is held may have to go; None when nothing is held."""
        return max(0.0, self._settled_at - now) if self._holding else None

    def _holds(self, now: float, *, reset: bool, known: bool, missing: bool) -> bool:
        """Whether what is missing is to be held back now."""
        if (reset or self._suspect) and known:
            self._settled_at = now + self._hold
        self._suspect = False
        self._holding = missing and now < self._settled_at
        return self._holding


class NamesSettle(_Doubt):
    """Names of services: those missing in a doubt are kept beside those that are there."""

    def __init__(self, hold: float) -> None:
        super().__init__(hold)
        self._believed: frozenset[str] | None = None

    def observe(self, now: float, seen: frozenset[str], *, reset: bool) -> frozenset[str] | None:
        """Take an answer; the names when belief changed, else None."""
        known = self._believed or frozenset()
        if self._holds(now, reset=reset, known=bool(known), missing=bool(known - seen)):
            seen |= known
        if seen == self._believed:
            return None
        self._believed = seen
        return seen


class KVSettle(_Doubt):
    """Keys under a prefix: as `LastGood`, but a tree is believed or held whole.

    Policies belong together, so a registry that came back with fewer keys is not merged with what was
    known: in a doubt the old tree stands, unless the new one has every key of it.
    """

    def __init__(self, hold: float) -> None:
        super().__init__(hold)
        self._believed: tuple[KVEntry, ...] | None = None

    def observe(self, now: float, seen: tuple[KVEntry, ...], *, reset: bool) -> tuple[KVEntry, ...] | None:
        """Take an answer; the tree when belief changed, else None."""
        known = self._believed or ()
        lacks = {entry.key for entry in known} - {entry.key for entry in seen}
        held = self._holds(now, reset=reset, known=bool(known), missing=bool(lacks))
        if held or _same(self._believed, seen):
            return None
        self._believed = seen
        return seen


def _same(old: tuple[KVEntry, ...] | None, new: tuple[KVEntry, ...]) -> bool:
    """Whether keys, values and flags are equal; indexes differ after a registry began anew."""
    return old is not None and [(e.key, e.value, e.flags) for e in old] == [
        (e.key, e.value, e.flags) for e in new
    ]
