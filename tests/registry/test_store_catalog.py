"""The catalog's writes: what moves which index, and what does not."""

import pytest

from registry.model import CRITICAL, PASSING, WARNING
from registry.store.catalog import (
    CatalogError,
    checks_of,
    delete_check,
    delete_node,
    delete_service,
    instances,
    service_answer_index,
)
from tests.registry.stores import put_check, put_node, put_service, stored


def test_an_identical_registration_takes_no_index_and_wakes_nobody() -> None:
    store = stored()
    assert store.do(put_service("w1"), put_check("c", PASSING, "w1")) is not None
    index = store.state.index
    assert store.do(put_node(), put_service("w1"), put_check("c", PASSING, "w1")) is None
    assert store.state.index == index


def test_a_change_elsewhere_moves_no_index_of_a_service() -> None:
    store = stored()
    store.do(put_service("w1"))
    before = service_answer_index(store.state, "web", checks=True)
    commit = store.do(put_service("d1", "db"), put_check("dc", PASSING, "d1"))
    assert service_answer_index(store.state, "web", checks=True) == before
    assert commit is not None
    assert "service/web" not in commit.topics
    assert {"service/db", "services", "checks"} <= commit.topics


def test_a_check_moves_its_service_and_a_node_check_moves_all_on_the_node() -> None:
    store = stored()
    store.do(put_service("w1"), put_service("d1", "db"))
    own = store.do(put_check("c", WARNING, "w1"))
    assert own is not None
    assert "service/web" in own.topics
    assert "service/db" not in own.topics
    node = store.do(put_check("node", WARNING))
    assert node is not None
    assert {"service/web", "service/db"} <= node.topics


def test_a_nodes_new_address_moves_every_service_on_it() -> None:
    store = stored()
    store.do(put_service("w1"), put_service("d1", "db"))
    moved = store.do(put_node(address="10.0.0.2"))
    assert moved is not None
    assert {"nodes", "service/web", "service/db"} <= moved.topics
    assert service_answer_index(store.state, "web", checks=True) == moved.index


def test_one_of_two_instances_going_moves_the_service_and_is_not_its_end() -> None:
    store = stored()
    store.do(put_service("w1"), put_service("w2"))
    gone = store.do(lambda write: delete_service(write, "n1", "w1"))
    assert gone is not None
    assert store.state.indexes["service/web"] == gone.index
    assert "extinction" not in store.state.indexes
    assert [row.id for row in instances(store.state, "web")] == ["w2"]


def test_a_transaction_that_changes_no_row_moves_no_index() -> None:
    """A touch alone would wake watchers for nothing, and its index would be given out twice."""
    store = stored()
    before = dict(store.state.indexes)
    assert store.do(lambda write: write.touch("kvs", "nodes")) is None
    assert store.state.indexes == before


def test_the_end_of_a_service_answers_with_the_extinction_and_then_stands_still() -> None:
    store = stored()
    store.do(put_service("w1"), put_check("c", PASSING, "w1"))
    before = service_answer_index(store.state, "web", checks=True)
    store.do(lambda write: delete_service(write, "n1", "w1"))
    gone = service_answer_index(store.state, "web", checks=True)
    assert gone > before
    assert instances(store.state, "web") == []
    store.do(put_service("d1", "db"))
    assert service_answer_index(store.state, "web", checks=True) == gone


def test_a_service_that_never_was_answers_with_the_tables_index() -> None:
    store = stored()
    store.do(put_service("d1", "db"))
    assert service_answer_index(store.state, "web", checks=True) == store.state.index


def test_deleting_a_service_takes_its_checks_but_not_the_nodes() -> None:
    store = stored()
    store.do(put_service("w1"), put_check("c", PASSING, "w1"), put_check("node", PASSING))
    store.do(lambda write: delete_service(write, "n1", "w1"))
    assert set(store.state.checks) == {("n1", "node")}


def test_deleting_a_node_takes_everything_on_it() -> None:
    store = stored()
    store.do(put_service("w1"), put_check("c", PASSING, "w1"), put_check("node", PASSING))
    store.do(lambda write: delete_node(write, "n1"))
    state = store.state
    assert (state.nodes, state.services, state.checks) == ({}, {}, {})
    assert (state.by_name, state.services_on, state.checks_on, state.checks_of) == ({}, {}, {}, {})


def test_a_renamed_instance_leaves_its_old_service() -> None:
    store = stored()
    store.do(put_service("w1"), put_check("c", PASSING, "w1"))
    commit = store.do(put_service("w1", "www"))
    assert commit is not None
    assert {"service/web", "service/www", "extinction"} <= commit.topics
    assert instances(store.state, "web") == []
    assert store.state.checks["n1", "c"].service_name == "www"


def test_a_checks_row_follows_its_services_tags() -> None:
    store = stored()
    store.do(put_service("w1", tags=("v1",)), put_check("c", PASSING, "w1"))
    store.do(put_service("w1", tags=("v2",)))
    assert store.state.checks["n1", "c"].service_tags == ("v2",)


def test_a_check_needs_its_node_and_its_service() -> None:
    store = stored()
    with pytest.raises(CatalogError, match="Missing node registration"):
        store.do(put_check("c", PASSING, node="nowhere"))
    with pytest.raises(CatalogError, match="Missing service registration"):
        store.do(put_check("c", PASSING, "nothing"))
    with pytest.raises(CatalogError, match="Missing node registration"):
        store.do(put_service("w1", node="nowhere"))


def test_a_failed_transaction_leaves_no_trace() -> None:
    store = stored()
    store.do(put_service("w1"))
    before = (
        store.state.index,
        dict(store.state.indexes),
        dict(store.state.services),
        dict(store.state.by_name),
    )
    with pytest.raises(CatalogError):
        store.do(put_service("w2"), put_service("w1", "www"), put_check("c", CRITICAL, "nothing"))
    assert before == (
        store.state.index,
        store.state.indexes,
        store.state.services,
        store.state.by_name,
    )


def test_the_nodes_checks_decide_about_its_services_too() -> None:
    store = stored()
    store.do(put_service("w1"), put_check("own", PASSING, "w1"), put_check("node", CRITICAL))
    (instance,) = instances(store.state, "web")
    assert [check.check_id for check in checks_of(store.state, instance)] == ["node", "own"]


def test_deleting_what_is_not_there_changes_nothing() -> None:
    store = stored()
    for gone in (
        lambda write: delete_service(write, "n1", "x"),
        lambda write: delete_check(write, "n1", "x"),
        lambda write: delete_node(write, "x"),
    ):
        assert store.do(gone) is None
