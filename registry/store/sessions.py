"""Sessions: leases that hold locks on keys, and what their end does to those keys.

Index name: "sessions". Topics: "session/ID", "session-node/NODE". The lock-delay is time, so it is not
kept here: the write reports it in `delays`, and `leases.py` counts it down.
"""

from __future__ import annotations

from dataclasses import replace

from registry.errors import RegistryError
from registry.model import CRITICAL, Session
from registry.store.documents import QUERY, delete_document, documents
from registry.store.kv import delete_key, put_entry
from registry.store.state import State, Write

RELEASE = "release"
DELETE = "delete"


class SessionError(RegistryError):
    """A session that cannot be made, in Consul's words."""


def create_session(write: Write, session: Session) -> Session:
    """Add a session; its node and checks must exist and no check may be critical."""
    state = write.state
    if session.node not in state.nodes:
        raise SessionError("Missing node registration")
    for check_id in (*session.node_checks, *session.service_checks):
        check = state.checks.get((session.node, check_id))
        if check is None:
            raise SessionError(f"Missing check '{check_id}' registration")
        if check.status == CRITICAL:
            raise SessionError(f"Check '{check_id}' is in critical state")
    session = replace(session, create_index=write.index, modify_index=write.index)
    write.put("sessions", session.id, session)
    _changed(write, session)
    return session


def destroy_session(write: Write, session_id: str) -> list[str]:
    """End a session: its keys are released or deleted as it says, its queries go. The keys it held."""
    state = write.state
    session = state.sessions.get(session_id)
    if session is None:
        return []
    held = list(state.held_by.get(session_id, ()))
    for key in held:
        if session.behavior == DELETE:
            delete_key(write, key)
        else:
            put_entry(write, replace(state.kvs[key], session=""))
    if held and session.lock_delay > 0:
        write.delays.extend((key, session.lock_delay) for key in held)
    for query in documents(state, QUERY):
        if query.body["Session"] == session_id:
            delete_document(write, QUERY, query.name)
    write.put("sessions", session_id, None)
    _changed(write, session)
    return held


def invalidate_of_check(write: Write, node: str, check_id: str) -> None:
    """End every session that rests on this check."""
    for session_id in list(write.state.sessions_of.get((node, check_id), ())):
        destroy_session(write, session_id)


def invalidate_of_node(write: Write, node: str) -> None:
    """End every session of this node."""
    for session_id in list(write.state.sessions_on.get(node, ())):
        destroy_session(write, session_id)


def _changed(write: Write, session: Session) -> None:
    write.touch("sessions")
    write.wake(f"session/{session.id}")
    write.wake(f"session-node/{session.node}")


def sessions_sorted(state: State, node: str | None = None) -> list[Session]:
    """All sessions, or one node's, ordered by id."""
    ids = sorted(state.sessions if node is None else state.sessions_on.get(node, ()))
    return [state.sessions[session_id] for session_id in ids]
