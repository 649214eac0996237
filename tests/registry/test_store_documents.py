"""Documents: indexes, compare-and-set, what ends with a session or a node, and that they last."""

from pathlib import Path

from registry.journal import recover
from registry.journal.journal import Journal
from registry.model import Node, Session
from registry.store import Store
from registry.store.catalog import delete_node, ensure_node
from registry.store.documents import (
    COORDINATE,
    QUERY,
    at_index,
    delete_document,
    documents,
    index_name,
    put_document,
)
from registry.store.sessions import create_session, destroy_session


def test_a_write_moves_the_index_of_its_family_only() -> None:
    store = Store()
    with store.write() as write:
        put_document(write, "config/a", "one", {"x": 1})
    with store.write() as write:
        put_document(write, "config/b", "two", {})
    assert store.state.index_of(index_name("config/a")) == store.state.index == 2
    assert store.state.index_of(index_name(QUERY)) == 0
    with store.write() as write:
        put_document(write, "config/a", "one", {"x": 2})
    (row,) = documents(store.state, "config/a")
    assert (row.body, row.create_index, row.modify_index) == ({"x": 2}, 1, 3)
    assert at_index(store.state, "config/a", "one", 3)
    assert not at_index(store.state, "config/a", "one", 1)
    assert at_index(store.state, "config/a", "none", 0)


def test_a_removal_of_nothing_is_no_write() -> None:
    store = Store()
    with store.write() as write:
        assert not delete_document(write, QUERY, "none")
    assert store.state.index == 0


def test_a_query_ends_with_its_session_and_a_coordinate_with_its_node() -> None:
    store = Store()
    with store.write() as write:
        ensure_node(write, Node("n", "127.0.0.1"))
        create_session(write, Session("s", "n"))
        put_document(write, QUERY, "its", {"Session": "s"})
        put_document(write, QUERY, "other", {"Session": ""})
        put_document(write, COORDINATE, "n", {})
    with store.write() as write:
        destroy_session(write, "s")
    assert [row.name for row in documents(store.state, QUERY)] == ["other"]
    with store.write() as write:
        delete_node(write, "n")
    assert documents(store.state, COORDINATE) == []


def test_they_outlive_the_process(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    store = Store(journal.state, journal.append)
    with store.write() as write:
        put_document(write, "config/a", "one", {"Routes": [{"Weight": 1.5}]})
    journal.close()
    kept = recover(tmp_path).state
    assert [row.body for row in documents(kept, "config/a")] == [{"Routes": [{"Weight": 1.5}]}]
    assert kept.index_of(index_name("config/a")) == 1
