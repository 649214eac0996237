"""Transactions: each verb, what makes it fail, and that a failure is told and not half done."""

import pytest

from registry.model import PASSING, Check, Node, Service, Session
from registry.store import kv
from registry.store.sessions import create_session
from registry.store.txn import KVOp, Op, RowOp, apply
from tests.registry.stores import Recorded, put_check, put_service, stored

SESSION = "s" * 36
OTHER = "t" * 36


def _store() -> Recorded:
    """Key `a` = 1, key `held` of SESSION, service w1 with a check."""
    store = stored()
    store.do(put_check("serf", PASSING), put_service("w1"), put_check("c", PASSING, "w1"))
    for session in (SESSION, OTHER):
        made = Session(session, "n1", node_checks=("serf",))
        store.do(lambda write, made=made: create_session(write, made))
    store.do(lambda write: kv.set_key(write, "a", b"1", 0))
    store.do(lambda write: kv.acquire(write, "held", b"2", 0, SESSION))
    return store


def _apply(store: Recorded, *ops: Op, delayed: str = "") -> tuple[list[object], list[tuple[int, str]]]:
    """As the endpoint does: rolled back when anything failed."""
    with store.write() as write:
        rows, errors = apply(write, ops, lambda key: key == delayed)
        if errors:
            write.rollback()
    return list(rows), errors


def _index(store: Recorded, key: str) -> int:
    return store.state.kvs[key].modify_index


@pytest.mark.parametrize(
    ("op", "words"),
    [
        (KVOp("get", "no"), "doesn't exist"),
        (KVOp("check-not-exists", "a"), 'key "a" exists'),
        (KVOp("check-index", "a", index=999), "!= 999"),
        (KVOp("check-index", "no"), "doesn't exist"),
        (KVOp("check-session", "held", session=OTHER), "failed session check"),
        (KVOp("cas", "a", b"2", index=999), "index is stale"),
        (KVOp("cas", "a", b"2", index=0), "index is stale"),
        (KVOp("lock", "held", session=OTHER), "already held"),
        (KVOp("lock", "a", session=""), "missing session"),
        (KVOp("lock", "a", session="short"), "36 characters"),
        (KVOp("lock", "a", session="u" * 36), "invalid session"),
        (KVOp("lock", "delayed", session=SESSION), "lock delay"),
        (KVOp("unlock", "held", session=OTHER), "another session"),
        (KVOp("delete-cas", "a", index=999), "index is stale"),
        (KVOp("set", ""), "Must provide key"),
        (KVOp("bury", "a"), "unknown KV verb"),
        (RowOp("get", Node("n9", "")), "doesn't exist"),
        (RowOp("set", Service("n1", "w2", "")), "Must provide service name"),
        (RowOp("set", Service("n9", "w2", "web")), "Missing node"),
        (RowOp("cas", Service("n1", "w1", "www", modify_index=999)), "failed to set service"),
        (RowOp("delete-cas", Check("n1", "c", "c", modify_index=999)), "failed to delete check"),
        (RowOp("bury", Node("n1", "")), "unknown Node verb"),
    ],
    ids=lambda value: value.verb if isinstance(value, KVOp | RowOp) else None,
)
def test_each_failure_has_its_words_and_nothing_is_done(op: Op, words: str) -> None:
    """Also what stood before it in the same transaction."""
    store = _store()
    index, before = store.state.index, dict(store.state.kvs)
    rows, errors = _apply(store, KVOp("set", "new", b"x"), op, delayed="delayed")
    ((position, why),) = errors
    assert position == 1
    assert words in why
    assert (store.state.index, store.state.kvs) == (index, before)
    assert len(rows) <= 1


def test_flaws_are_told_before_anything_is_tried() -> None:
    """As Consul: a failure that only the doing would show is not told beside them."""
    _, errors = _apply(_store(), KVOp("get", "no"), KVOp("set", ""))
    assert errors == [(1, "Must provide key")]


def test_every_failure_of_the_doing_is_told() -> None:
    """By its place in the transaction."""
    _, errors = _apply(_store(), KVOp("get", "no"), KVOp("get", "a"), KVOp("check-not-exists", "a"))
    assert [position for position, _ in errors] == [0, 2]


def test_what_can_be_done_is_done_in_order() -> None:
    """Later operations see what earlier ones wrote; a write answers without its value."""
    store = _store()
    seen = _index(store, "a")
    rows, errors = _apply(
        store,
        KVOp("check-index", "a", index=seen),
        KVOp("cas", "a", b"2", index=seen),
        KVOp("get", "a"),
        KVOp("lock", "b", b"3", session=SESSION),
        KVOp("check-session", "b", session=SESSION),
        KVOp("unlock", "held", b"4", session=SESSION),
        KVOp("delete", "never"),
        KVOp("check-not-exists", "never"),
    )
    assert errors == []
    assert [(row.key, row.value) for row in rows] == [  # type: ignore[attr-defined]  # all are keys
        ("a", b""),
        ("a", b""),
        ("a", b"2"),
        ("b", b""),
        ("b", b""),
        ("held", b""),
    ]
    assert store.state.kvs["b"].session == SESSION
    assert store.state.kvs["held"].session == ""
    _, errors = _apply(store, KVOp("delete-cas", "a", index=_index(store, "a")), KVOp("delete-tree", "h"))
    assert errors == []
    assert sorted(store.state.kvs) == ["b"]


def test_rows_of_the_catalog() -> None:
    """Set, read, and check-and-set by the index that was read."""
    store = _store()
    index = store.state.services["n1", "w1"].modify_index
    rows, errors = _apply(
        store,
        RowOp("cas", Service("n1", "w1", "web", tags=("new",), modify_index=index)),
        RowOp("set", Node("n2", "10.0.0.2")),
        RowOp("get", Node("n2", "")),
        RowOp("delete-cas", Check("n1", "never", "never")),
        RowOp("delete", Check("n1", "c", "c")),
    )
    assert errors == []
    assert [type(row) for row in rows] == [Service, Node, Node]
    assert store.state.services["n1", "w1"].tags == ("new",)
    assert ("n1", "c") not in store.state.checks


def test_reads_are_no_writes() -> None:
    """The endpoint takes them while nobody leads."""
    reads = ("get", "get-tree", "check-index", "check-session", "check-not-exists")
    assert not any(KVOp(verb, "a").writes for verb in reads)
    writes = ("set", "cas", "lock", "unlock", "delete", "delete-cas", "delete-tree")
    assert all(KVOp(verb, "a").writes for verb in writes)
    assert not RowOp("get", Node("n1", "")).writes
    assert RowOp("cas", Node("n1", "")).writes
