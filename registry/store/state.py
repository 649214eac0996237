"""Tables, their secondary indexes, and the transaction that every change goes through."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from registry.errors import RegistryError
from registry.model import Check, Document, KVEntry, LocalCheck, Node, Service, Session
from registry.store.size import size_of

Key = str | tuple[str, str]
NodeKey = tuple[str, str]
"""(node, id) of a service or a check."""

MAX_BYTES: Final = 128 * 1024 * 1024
"""Of all rows: 40,000 instances with their checks, or 256 keys of the largest value. More is no mesh on one
machine, and what is here is in memory, in the journal, and in every answer that lists it."""

TABLES: Final = (
    "nodes",
    "services",
    "checks",
    "kvs",
    "tombstones",
    "sessions",
    "local_services",
    "local_checks",
    "documents",
)


class StateFull(RegistryError):
    """There is no room for this row."""


@dataclass(frozen=True, slots=True)
class Change:
    """One row as it was and as it is; None = absent. Undo swaps the two."""

    table: str
    key: Key
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Commit:
    """What a write did: its index, its rows, the indexes it moved, and whom to wake."""

    index: int
    changes: tuple[Change, ...]
    indexes: dict[str, int | None]
    topics: frozenset[str]
    keys: frozenset[str]
    delays: tuple[tuple[str, float], ...] = ()


class State:
    """All rows. Readers use the dictionaries as they are; only `Write` changes them."""

    def __init__(self) -> None:
        self.index = 0
        self.size = 0  # bytes that all rows take, about
        self.indexes: dict[str, int] = {}
        self.nodes: dict[str, Node] = {}
        self.services: dict[NodeKey, Service] = {}
        self.checks: dict[NodeKey, Check] = {}
        self.kvs: dict[str, KVEntry] = {}
        self.tombstones: dict[str, int] = {}
        self.sessions: dict[str, Session] = {}
        self.local_services: dict[str, Service] = {}
        self.local_checks: dict[str, LocalCheck] = {}
        self.documents: dict[tuple[str, str], Document] = {}
        # Secondary: who has this name, whose check this is, which keys there are in order, who holds what.
        # A dictionary of Nones is a set that keeps its order, so every run of a test sees the same.
        self.by_name: dict[str, dict[NodeKey, None]] = {}
        self.checks_of: dict[NodeKey, dict[NodeKey, None]] = {}
        self.services_on: dict[str, dict[NodeKey, None]] = {}
        self.checks_on: dict[str, dict[NodeKey, None]] = {}
        self.sorted_keys: list[str] = []
        self.held_by: dict[str, dict[str, None]] = {}
        self.sessions_on: dict[str, dict[str, None]] = {}
        self.sessions_of: dict[NodeKey, dict[str, None]] = {}
        self.local_checks_of: dict[str, dict[str, None]] = {}

    def table(self, name: str) -> dict[Any, Any]:
        """The primary dictionary of that name (one of TABLES)."""
        table: dict[Any, Any] = getattr(self, name)
        return table

    def index_of(self, *names: str) -> int:
        """The highest of these indexes; 0 when none was ever touched."""
        return max((self.indexes.get(name, 0) for name in names), default=0)

    def keys_under(self, prefix: str) -> Iterator[str]:
        """Keys that start with `prefix`, in order."""
        keys = self.sorted_keys
        for position in range(bisect_left(keys, prefix), len(keys)):
            key = keys[position]
            if not key.startswith(prefix):
                return
            yield key

    def put(self, table: str, key: Key, row: Any) -> Any:
        """Set (row None: remove) one row with its secondary indexes; the row before, or None."""
        rows = self.table(table)
        old = rows.get(key)
        if old is not None:
            self._unlink(table, key, old)
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = row
            self._link(table, key, row)
        self.size += size_of(row) - size_of(old)
        if table == "tombstones":  # its row is a number, so the name of the key is what counts
            self.size += len(key) * ((row is not None) - (old is not None))
        if table == "kvs" and (old is None) != (row is None):
            # Only here, not on every overwrite: moving a list of 100,000 keys costs 10 us.
            if row is None:
                del self.sorted_keys[bisect_left(self.sorted_keys, str(key))]
            else:
                insort(self.sorted_keys, str(key))
        return old

    def _sets(self, table: str, row: Any) -> Iterator[tuple[dict[Any, dict[Any, None]], Any]]:
        """Each secondary index this row stands in, with the entry it stands under."""
        if table == "services":
            yield self.by_name, row.name
            yield self.services_on, row.node
        elif table == "checks":
            yield self.checks_of, (row.node, row.service_id)
            yield self.checks_on, row.node
        elif table == "kvs":
            if row.session:
                yield self.held_by, row.session
        elif table == "sessions":
            yield self.sessions_on, row.node
            for check in (*row.node_checks, *row.service_checks):
                yield self.sessions_of, (row.node, check)
        elif table == "local_checks":
            yield self.local_checks_of, row.service_id

    def _link(self, table: str, key: Key, row: Any) -> None:
        for sets, entry in self._sets(table, row):
            sets.setdefault(entry, {})[key] = None

    def _unlink(self, table: str, key: Key, row: Any) -> None:
        for sets, entry in self._sets(table, row):
            members = sets[entry]
            members.pop(key, None)
            if not members:
                del sets[entry]


class Write:
    """One transaction: puts, touches and wakes, then `commit` or `rollback`.

    A write that changed no row takes no index and wakes nobody: that is what makes an identical
    registration silent.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.index = state.index + 1
        self._changes: list[Change] = []
        self._old_indexes: dict[str, int | None] = {}
        self._topics: set[str] = set()
        self._keys: set[str] = set()
        self.delays: list[tuple[str, float]] = []
        """Keys whose lock ended with its session, with the seconds nobody may take it."""

    def put(self, table: str, key: Key, row: Any) -> None:
        """Insert or replace one row; None removes it."""
        old = self.state.put(table, key, row)
        self._changes.append(Change(table, key, old, row))
        if table == "kvs":
            self._keys.add(str(key))

    def touch(self, *names: str) -> None:
        """These indexes move to this write, and who waits on them wakes."""
        for name in names:
            self._set_index(name, self.index)

    def forget(self, name: str) -> None:
        """This index ends (the last instance of a service went), and who waits on it wakes."""
        self._set_index(name, None)

    def wake(self, topic: str) -> None:
        """Wake waiters of a topic that has no index of its own."""
        self._topics.add(topic)

    def _set_index(self, name: str, value: int | None) -> None:
        indexes = self.state.indexes
        self._old_indexes.setdefault(name, indexes.get(name))
        self._topics.add(name)
        if value is None:
            indexes.pop(name, None)
        else:
            indexes[name] = value

    def check_room(self) -> None:
        """StateFull when there is too much, and this write made it more.

        What becomes of a check that is known is always kept: a full registry must still say who is critical.
        """
        if self.state.size > MAX_BYTES and any(map(_enlarges, self._changes)):
            words = f"the registry is full ({MAX_BYTES >> 20} MiB): remove services or keys that nobody needs"
            raise StateFull(words, status=507)

    def commit(self) -> Commit | None:
        """Take the index; None when nothing changed."""
        if not self._changes:
            self.rollback()
            return None
        self.state.index = self.index
        indexes = {name: self.state.indexes.get(name) for name in self._old_indexes}
        return Commit(
            self.index,
            tuple(self._changes),
            indexes,
            frozenset(self._topics),
            frozenset(self._keys),
            tuple(self.delays),
        )

    def rollback(self) -> None:
        """Put every row and index back as it was, also after `commit`."""
        self.state.index = self.index - 1
        for change in reversed(self._changes):
            self.state.put(change.table, change.key, change.old)
        for name, value in self._old_indexes.items():
            if value is None:
                self.state.indexes.pop(name, None)
            else:
                self.state.indexes[name] = value
        self._changes.clear()
        self._old_indexes.clear()
        self.delays.clear()


def _enlarges(change: Change) -> bool:
    known_check = change.table in ("checks", "local_checks") and change.old is not None
    if known_check or change.table == "tombstones":
        return False
    return size_of(change.new) > size_of(change.old)
