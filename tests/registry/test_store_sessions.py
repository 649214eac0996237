"""Sessions and locks."""

import pytest

from registry.model import CRITICAL, PASSING, KVEntry, Session
from registry.store import kv
from registry.store.catalog import delete_check, delete_node
from registry.store.sessions import DELETE, SessionError, create_session, destroy_session, sessions_sorted
from tests.registry.stores import Recorded, put_check, stored


def _store(*, behavior: str = "release", lock_delay: float = 15.0) -> Recorded:
    store = stored()
    store.do(put_check("serf", PASSING))
    session = Session("s1", "n1", behavior=behavior, lock_delay=lock_delay, node_checks=("serf",))
    store.do(lambda write: create_session(write, session))
    store.do(lambda write: create_session(write, Session("s2", "n1", node_checks=("serf",))))
    return store


def _acquire(store: Recorded, key: str, session: str) -> KVEntry | None:
    with store.write() as write:
        return kv.acquire(write, key, b"v", 0, session)


def _release(store: Recorded, key: str, session: str) -> KVEntry | None:
    with store.write() as write:
        return kv.release(write, key, b"r", 0, session)


def test_one_holder_at_a_time() -> None:
    store = _store()
    taken = _acquire(store, "l", "s1")
    assert taken is not None
    assert (taken.session, taken.lock_index) == ("s1", 1)
    assert _acquire(store, "l", "s2") is None
    again = _acquire(store, "l", "s1")
    assert again is not None
    assert again.lock_index == 1, "the holder writes again without taking it again"
    assert _release(store, "l", "s2") is None
    given = _release(store, "l", "s1")
    assert given is not None
    assert (given.session, given.lock_index) == ("", 1)
    other = _acquire(store, "l", "s2")
    assert other is not None
    assert other.lock_index == 2


def test_nobody_takes_a_lock_with_an_unknown_session() -> None:
    assert _acquire(_store(), "l", "nobody") is None


def test_a_plain_put_leaves_the_lock_with_its_holder() -> None:
    store = _store()
    _acquire(store, "l", "s1")
    store.do(lambda write: kv.set_key(write, "l", b"plain", 0))
    entry = store.state.kvs["l"]
    assert (entry.session, entry.lock_index, entry.value) == ("s1", 0, b"plain")


def test_the_end_of_a_session_releases_and_begins_the_lock_delay() -> None:
    store = _store()
    _acquire(store, "l", "s1")
    commit = store.do(lambda write: destroy_session(write, "s1"))
    assert store.state.kvs["l"].session == ""
    assert commit is not None
    assert commit.delays == (("l", 15.0),)
    assert {"sessions", "session/s1", "session-node/n1", "kvs"} <= commit.topics


def test_a_deleting_session_takes_its_keys_along() -> None:
    store = _store(behavior=DELETE, lock_delay=0)
    _acquire(store, "l", "s1")
    commit = store.do(lambda write: destroy_session(write, "s1"))
    assert "l" not in store.state.kvs
    assert commit is not None
    assert commit.delays == ()


def test_a_critical_or_deleted_check_or_node_ends_the_session() -> None:
    for end in (
        put_check("serf", CRITICAL),
        lambda write: delete_check(write, "n1", "serf"),
        lambda write: delete_node(write, "n1"),
    ):
        store = _store()
        _acquire(store, "l", "s1")
        store.do(end)
        assert store.state.sessions == {}
        assert store.state.kvs["l"].session == ""


def test_a_session_without_checks_ends_with_its_node() -> None:
    """Its node is all that it rests on."""
    store = stored()
    store.do(lambda write: create_session(write, Session("bare", "n1")))
    assert _acquire(store, "l", "bare") is not None
    store.do(lambda write: delete_node(write, "n1"))
    assert store.state.sessions == {}
    assert store.state.kvs["l"].session == ""


def test_a_session_needs_its_node_and_healthy_checks() -> None:
    store = stored()
    store.do(put_check("bad", CRITICAL))
    for session, words in (
        (Session("x", "nowhere"), "Missing node registration"),
        (Session("x", "n1", node_checks=("none",)), "Missing check 'none' registration"),
        (Session("x", "n1", node_checks=("bad",)), "Check 'bad' is in critical state"),
    ):
        with pytest.raises(SessionError, match=words):
            store.do(lambda write, session=session: create_session(write, session))


def test_sessions_are_listed_by_id_and_node() -> None:
    store = _store()
    assert [one.id for one in sessions_sorted(store.state)] == ["s1", "s2"]
    assert [one.id for one in sessions_sorted(store.state, "n1")] == ["s1", "s2"]
    assert sessions_sorted(store.state, "elsewhere") == []
