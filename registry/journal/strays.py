"""Rows that belong to something that is not there: a record that was passed over leaves them behind.

Every write of ours keeps the catalog whole, and every reader relies on it.
"""

from __future__ import annotations

from dataclasses import replace

from registry.model import Check, LocalCheck, Service, Session
from registry.store.state import State


def drop_strays(state: State) -> list[str]:
    """Remove them, and let go of locks that nobody holds; what was done, a few words each.

    What the agent knows of its own services is not the catalog's, and stays: it puts them there again.
    """
    done: list[str] = []
    # in this order: each may leave the next without what it belongs to
    for table, missing in (
        ("services", _without_node),
        ("sessions", _without_node),
        ("checks", _without_service),
        ("local_checks", _without_local_service),
    ):
        rows = state.table(table)
        for key, words in [(key, missing(state, row)) for key, row in rows.items()]:
            if words:
                state.put(table, key, None)
                done.append(f"{table} {key!r:.80} has {words}, and is dropped")
    for key, entry in list(state.kvs.items()):
        if entry.session and entry.session not in state.sessions:
            state.put("kvs", key, replace(entry, session=""))
            done.append(f"the lock on {key!r:.80} is free: there is no session {entry.session!r:.80}")
    return done


def _without_node(state: State, row: Service | Session | Check) -> str:
    return "" if row.node in state.nodes else f"no node {row.node!r:.80}"


def _without_service(state: State, row: Check) -> str:
    if row.service_id and (row.node, row.service_id) not in state.services:
        return f"no service {row.service_id!r:.80}"
    return _without_node(state, row)


def _without_local_service(state: State, row: LocalCheck) -> str:
    known = not row.service_id or row.service_id in state.local_services
    return "" if known else f"no service {row.service_id!r:.80}"
