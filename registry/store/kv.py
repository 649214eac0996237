"""Keys and values with Consul's rules: check-and-set, locks, tombstones, prefix indexes.

Index name: "kvs". A deleted key leaves a tombstone with its index, so that the index of a prefix
does not fall back when its newest key goes; tombstones end after `TOMBSTONE_TTL` (see `reap`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from registry.errors import RegistryError
from registry.model import KVEntry
from registry.store.state import State, Write

MAX_KEY: Final = 4096
"""Characters: a key stands in tombstones, lock-delays and topics too, where only their number is bounded."""


def put_entry(write: Write, entry: KVEntry) -> KVEntry:
    """Store this entry as it stands. The same again keeps its index and wakes nobody."""
    if len(entry.key) > MAX_KEY:
        raise RegistryError(f"a key has at most {MAX_KEY} characters, not {len(entry.key)}", status=413)
    old = write.state.kvs.get(entry.key)
    if old is not None:
        entry = replace(entry, create_index=old.create_index, modify_index=old.modify_index)
        if entry == old:
            return old
    entry = replace(entry, create_index=old.create_index if old else write.index, modify_index=write.index)
    write.put("kvs", entry.key, entry)
    write.touch("kvs")
    return entry


def set_key(write: Write, key: str, value: bytes, flags: int) -> KVEntry:
    """A plain put: a lock stays with its holder, but the lock index falls to 0, as in Consul."""
    old = write.state.kvs.get(key)
    return put_entry(write, KVEntry(key, value, flags, session=old.session if old else ""))


def set_if_index(write: Write, key: str, value: bytes, flags: int, index: int) -> KVEntry | None:
    """Check-and-set: index 0 = only when absent, else only when unchanged since. None = refused."""
    old = write.state.kvs.get(key)
    if (old.modify_index if old else 0) != index:
        return None
    return set_key(write, key, value, flags)


def acquire(write: Write, key: str, value: bytes, flags: int, session: str) -> KVEntry | None:
    """Take the lock, or write again as its holder. None when the session is unknown or another holds it."""
    state = write.state
    if session not in state.sessions:
        return None
    old = state.kvs.get(key)
    if old is not None and old.session and old.session != session:
        return None
    taken = old.lock_index if old else 0
    if old is None or old.session != session:
        taken += 1
    return put_entry(write, KVEntry(key, value, flags, session=session, lock_index=taken))


def release(write: Write, key: str, value: bytes, flags: int, session: str) -> KVEntry | None:
    """Give the lock back and write; None unless this session holds it."""
    old = write.state.kvs.get(key)
    if old is None or old.session != session or not session:
        return None
    return put_entry(write, KVEntry(key, value, flags, lock_index=old.lock_index))


def delete_key(write: Write, key: str) -> bool:
    """Remove one key and leave its tombstone; False when there was none."""
    if key not in write.state.kvs:
        return False
    write.put("kvs", key, None)
    write.put("tombstones", key, write.index)
    write.touch("kvs")
    return True


def delete_if_index(write: Write, key: str, index: int) -> bool:
    """Remove only when unchanged since `index`; an absent key counts as removed, index 0 never matches."""
    old = write.state.kvs.get(key)
    if old is None:
        return True
    if old.modify_index != index:
        return False
    return delete_key(write, key)


def delete_tree(write: Write, prefix: str) -> int:
    """Remove every key under the prefix; how many there were."""
    keys = list(write.state.keys_under(prefix))
    for key in keys:
        delete_key(write, key)
    return len(keys)


def reap(write: Write, keys: Iterable[str]) -> None:
    """Forget these tombstones."""
    for key in keys:
        if key in write.state.tombstones:
            write.put("tombstones", key, None)


def list_entries(state: State, prefix: str) -> tuple[int, list[KVEntry]]:
    """Entries under a prefix, in order, with the index their answer carries.

    The index is the newest change under this prefix, deletions included, so that a change elsewhere
    does not wake its watchers. With nothing there, now or lately, it is the table's.
    """
    entries = [state.kvs[key] for key in state.keys_under(prefix)]
    if not prefix:
        return state.index_of("kvs"), entries
    newest = max((entry.modify_index for entry in entries), default=0)
    buried = max((index for key, index in state.tombstones.items() if key.startswith(prefix)), default=0)
    return max(newest, buried) or state.index_of("kvs"), entries
