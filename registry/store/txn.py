"""Transactions: up to 64 operations that all happen, or none.

Every operation is tried even after one failed, because the answer names each failure; the caller
rolls the write back when there is any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from registry.errors import RegistryError
from registry.model import Check, KVEntry, Node, Service
from registry.store import kv
from registry.store.catalog import (
    delete_check,
    delete_node,
    delete_service,
    ensure_check,
    ensure_node,
    ensure_service,
)
from registry.store.state import State, Write

MAX_OPS: Final = 64
KV_WRITES: Final = frozenset({"set", "cas", "lock", "unlock", "delete", "delete-cas", "delete-tree"})
UUID_LENGTH: Final = 36


class TxnError(RegistryError):
    """Why one operation cannot be done."""


@dataclass(frozen=True, slots=True)
class KVOp:
    """One operation on a key; `index` for cas and check-index."""

    verb: str
    key: str
    value: bytes = b""
    flags: int = 0
    index: int = 0
    session: str = ""

    @property
    def writes(self) -> bool:
        """Whether it may change anything."""
        return self.verb in KV_WRITES


@dataclass(frozen=True, slots=True)
class RowOp:
    """One operation on a row of the catalog; its `modify_index` is the index of cas."""

    verb: str
    row: Node | Service | Check

    @property
    def writes(self) -> bool:
        """Whether it may change anything."""
        return self.verb != "get"


Op = KVOp | RowOp
Row = KVEntry | Node | Service | Check
Delayed = Callable[[str], bool]


def apply(write: Write, ops: Sequence[Op], delayed: Delayed) -> tuple[list[Row], list[tuple[int, str]]]:
    """Do all; the rows to answer with, and (position, reason) of what failed. `delayed`: see Leases."""
    rows: list[Row] = []
    errors = [(position, why) for position, op in enumerate(ops) if (why := _flaw(op, delayed))]
    if errors:
        # Consul looks all over before it begins, and then says nothing of what would have failed later.
        return rows, errors
    for position, op in enumerate(ops):
        try:
            rows += _kv(write, op) if isinstance(op, KVOp) else _row(write, op)
        except RegistryError as failed:
            errors.append((position, str(failed)))
    return rows, errors


def _flaw(op: Op, delayed: Delayed) -> str:
    """What is wrong with an operation whatever the state; "" = nothing."""
    if isinstance(op, RowOp):
        nameless = isinstance(op.row, Service) and op.writes and not op.row.name
        return "Must provide service name with ID" if nameless else ""
    if op.writes and not op.key and op.verb != "delete-tree":
        return "Must provide key"
    if op.verb == "lock" and delayed(op.key):
        return f'failed to lock key "{op.key}" due to lock delay'
    return ""


def _kv(write: Write, op: KVOp) -> list[Row]:
    state, key = write.state, op.key
    entry = state.kvs.get(key)
    if op.verb == "get":
        return [_there(entry, f'key "{key}" doesn\'t exist')]
    if op.verb == "get-tree":
        return list(kv.list_entries(state, key)[1])
    if op.verb == "check-not-exists":
        if entry is not None:
            raise TxnError(f'key "{key}" exists')
        return []
    if op.verb == "check-index":
        entry = _there(entry, f'failed to check index, key "{key}" doesn\'t exist')
        if entry.modify_index != op.index:
            why = f"current modify index {entry.modify_index} != {op.index}"
            raise TxnError(f'failed index check for key "{key}", {why}')
        return [_bare(entry)]
    if op.verb == "check-session":
        entry = _there(entry, f'failed to check session, key "{key}" doesn\'t exist')
        if entry.session != op.session:
            why = f'current session "{entry.session}" != "{op.session}"'
            raise TxnError(f'failed session check for key "{key}", {why}')
        return [_bare(entry)]
    return _kv_write(write, op)


def _kv_write(write: Write, op: KVOp) -> list[Row]:
    key, value, flags = op.key, op.value, op.flags
    if op.verb == "set":
        return [_bare(kv.set_key(write, key, value, flags))]
    if op.verb == "cas":
        written = kv.set_if_index(write, key, value, flags, op.index)
        return [_bare(_there(written, f'failed to set key "{key}", index is stale'))]
    if op.verb == "lock":
        _check_session(write.state, op.session)
        written = kv.acquire(write, key, value, flags, op.session)
        return [_bare(_there(written, f'failed to lock key "{key}", lock is already held'))]
    if op.verb == "unlock":
        written = kv.release(write, key, value, flags, op.session)
        why = f'failed to unlock key "{key}", lock isn\'t held, or is held by another session'
        return [_bare(_there(written, why))]
    if op.verb == "delete":
        kv.delete_key(write, key)
    elif op.verb == "delete-tree":
        kv.delete_tree(write, key)
    elif op.verb == "delete-cas":
        if not kv.delete_if_index(write, key, op.index):
            raise TxnError(f'failed to delete key "{key}", index is stale')
    else:
        raise TxnError(f'unknown KV verb "{op.verb}"')
    return []


def _check_session(state: State, session: str) -> None:
    if not session:
        raise TxnError("missing session")
    if len(session) != UUID_LENGTH:
        raise TxnError("failed session lookup: index error: UUID must be 36 characters")
    if session not in state.sessions:
        raise TxnError(f'invalid session "{session}"')


def _row(write: Write, op: RowOp) -> list[Row]:
    row = op.row
    what, kind = _words(row)
    old = _find(write.state, row)
    if op.verb == "get":
        if old is None:
            raise TxnError(f"{what} doesn't exist")
        return [old]
    if op.verb in ("cas", "delete-cas"):
        index = old.modify_index if old else 0
        if op.verb == "delete-cas" and old is None:
            return []
        if index != row.modify_index:
            verb = "set" if op.verb == "cas" else "delete"
            raise TxnError(f"failed to {verb} {what}, index is stale")
    if op.verb in ("set", "cas"):
        _ensure(write, row)
        written = _find(write.state, row)
        return [written] if written else []
    if op.verb in ("delete", "delete-cas"):
        _delete(write, row)
        return []
    raise TxnError(f'unknown {kind} verb "{op.verb}"')


def _words(row: Node | Service | Check) -> tuple[str, str]:
    if isinstance(row, Node):
        return f'node "{row.name}"', "Node"
    if isinstance(row, Service):
        return f'service "{row.id}" on node "{row.node}"', "Service"
    return f'check "{row.check_id}" on node "{row.node}"', "Check"


def _find(state: State, row: Node | Service | Check) -> Node | Service | Check | None:
    if isinstance(row, Node):
        return state.nodes.get(row.name)
    if isinstance(row, Service):
        return state.services.get((row.node, row.id))
    return state.checks.get((row.node, row.check_id))


def _ensure(write: Write, row: Node | Service | Check) -> None:
    if isinstance(row, Node):
        ensure_node(write, row)
    elif isinstance(row, Service):
        ensure_service(write, row)
    else:
        ensure_check(write, row)


def _delete(write: Write, row: Node | Service | Check) -> None:
    if isinstance(row, Node):
        delete_node(write, row.name)
    elif isinstance(row, Service):
        delete_service(write, row.node, row.id)
    else:
        delete_check(write, row.node, row.check_id)


def _there(entry: KVEntry | None, why: str) -> KVEntry:
    if entry is None:
        raise TxnError(why)
    return entry


def _bare(entry: KVEntry) -> KVEntry:
    """A write answers with the key's facts, not with its value."""
    return replace(entry, value=b"")
