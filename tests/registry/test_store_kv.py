"""Keys: check-and-set, locks, tombstones and the index of a prefix."""

import random

from registry.model import KVEntry
from registry.store import Write, kv
from registry.store.kv import list_entries
from tests.registry.stores import Recorded, stored


def _set(key: str, value: bytes = b"v", flags: int = 0):  # type: ignore[no-untyped-def]
    return lambda write: kv.set_key(write, key, value, flags)


def test_the_same_value_again_keeps_its_index() -> None:
    store = stored()
    store.do(_set("a", b"1"))
    before = store.state.kvs["a"]
    assert store.do(_set("a", b"1")) is None
    assert store.state.kvs["a"] == before
    assert store.do(_set("a", b"1", 7)) is not None
    assert store.state.kvs["a"].create_index == before.create_index


def test_check_and_set_takes_only_the_index_it_saw() -> None:
    store = stored()
    with store.write() as write:
        assert kv.set_if_index(write, "a", b"1", 0, 5) is None
        assert kv.set_if_index(write, "a", b"1", 0, 0) is not None
    index = store.state.kvs["a"].modify_index
    with store.write() as write:
        assert kv.set_if_index(write, "a", b"2", 0, 0) is None
        assert kv.set_if_index(write, "a", b"2", 0, index) is not None
    assert store.state.kvs["a"].value == b"2"


def test_delete_check_and_set() -> None:
    store = stored()
    store.do(_set("a"))
    index = store.state.kvs["a"].modify_index
    with store.write() as write:
        assert not kv.delete_if_index(write, "a", 0)
        assert not kv.delete_if_index(write, "a", index + 1)
        assert kv.delete_if_index(write, "absent", 3)
        assert kv.delete_if_index(write, "a", index)
    assert "a" not in store.state.kvs


def test_a_prefix_index_grows_when_its_newest_key_goes() -> None:
    store = stored()
    store.do(_set("p/a"))
    store.do(_set("p/b"))
    before, _ = list_entries(store.state, "p/")
    store.do(lambda write: kv.delete_key(write, "p/b"))
    after, entries = list_entries(store.state, "p/")
    assert after > before
    assert [entry.key for entry in entries] == ["p/a"]


def test_a_change_elsewhere_moves_no_prefix() -> None:
    store = stored()
    store.do(_set("p/a"))
    before, _ = list_entries(store.state, "p/")
    store.do(_set("q/a"))
    store.do(lambda write: kv.delete_key(write, "q/a"))
    assert list_entries(store.state, "p/")[0] == before


def test_a_prefix_without_keys_answers_with_the_tables_index() -> None:
    """0 would mean to a client that it must not block."""
    store = stored()
    store.do(_set("p/a"))
    assert list_entries(store.state, "q/") == (store.state.index_of("kvs"), [])


def test_the_index_of_all_keys_does_not_fall_when_tombstones_are_forgotten() -> None:
    store = stored()
    store.do(_set("a"))
    store.do(_set("b"))
    store.do(lambda write: kv.delete_key(write, "b"))
    before, _ = list_entries(store.state, "")
    store.do(lambda write: kv.reap(write, ["b"]))
    assert list_entries(store.state, "")[0] == before


def test_delete_tree_takes_the_prefix_and_nothing_else() -> None:
    store = stored()
    store.do(_set("p/a"), _set("p/b/c"), _set("pq"), _set("o"))
    commit = store.do(lambda write: kv.delete_tree(write, "p/"))
    assert commit is not None
    assert commit.keys == {"p/a", "p/b/c"}
    assert sorted(store.state.kvs) == ["o", "pq"]


def test_reaped_tombstones_are_forgotten() -> None:
    store = stored()
    store.do(_set("a"))
    store.do(lambda write: kv.delete_key(write, "a"))
    assert "a" in store.state.tombstones
    store.do(lambda write: kv.reap(write, ["a", "never"]))
    assert store.state.tombstones == {}


def test_random_writes_keep_keys_sorted_and_prefixes_exact() -> None:
    """Against the obvious: a dictionary, scanned."""
    seed = 5
    rng, store = random.Random(seed), Recorded()
    plain: dict[str, bytes] = {}
    for _ in range(3000):
        key = "/".join(rng.choices("abc", k=rng.randint(1, 3)))
        if rng.random() < 0.6:
            value = bytes([rng.randrange(256)])
            store.do(_set(key, value))
            plain[key] = value
        elif rng.random() < 0.5:
            store.do(lambda write, key=key: kv.delete_key(write, key))
            plain.pop(key, None)
        else:
            with_rollback(store, key)
        prefix = rng.choice(["", "a", "a/", "b/c"])
        wanted = [(one, plain[one]) for one in sorted(plain) if one.startswith(prefix)]
        found = [(entry.key, entry.value) for entry in list_entries(store.state, prefix)[1]]
        assert found == wanted, f"seed {seed}"


def with_rollback(store: Recorded, prefix: str) -> None:
    """A transaction that does much and then fails."""
    write = Write(store.state)
    kv.delete_tree(write, prefix)
    kv.set_key(write, prefix + "/new", b"x", 1)
    kv.put_entry(write, KVEntry(prefix, b"y"))
    write.rollback()
