"""How much the registry holds: bounded in bytes, refused in words, and never at the cost of what is there."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from registry.checks import LEFT_OVERS, Deadlines
from registry.client import RegistryClient, RegistryError
from registry.http import connections, kv
from registry.leases import MAX_DELAYS, Leases
from registry.model import CRITICAL, PASSING, CheckDefinition, KVEntry, Service
from registry.server import Server
from registry.store import Store, state
from registry.store.kv import MAX_KEY, delete_key, delete_tree, set_key
from registry.store.size import size_of
from registry.store.state import State, StateFull
from tests.fakes.registry import running_registry

ROOM = 100_000


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry with room for 100 KB."""
    monkeypatch.setattr(state, "MAX_BYTES", ROOM)


def counted(found: State) -> int:
    """What the size must be, from the beginning."""
    rows = sum(size_of(row) for name in state.TABLES for row in found.table(name).values())
    return rows + sum(map(len, found.tombstones))


def test_the_size_is_that_of_the_rows() -> None:
    """Through any number of writes, deletions and writes that were rolled back."""
    store, rng = Store(), random.Random(3)
    for number in range(2000):
        key = f"k{rng.randrange(50)}" * rng.randrange(1, 5)
        try:
            with store.write() as write:
                match rng.randrange(4):
                    case 0:
                        delete_key(write, key)
                    case 1:
                        delete_tree(write, key[:2])
                    case _:
                        set_key(write, key, b"v" * rng.randrange(2000), 0)
                if rng.random() < 0.2:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        if number % 100 == 0:
            assert store.state.size == counted(store.state)
    assert store.state.size == counted(store.state) > 0


@pytest.mark.usefixtures("small")
def test_what_has_no_room_is_refused_and_leaves_no_trace() -> None:
    """What is there can be made smaller, removed, and replaced by what has room."""
    store = Store()
    with store.write() as write:
        set_key(write, "a", b"v" * 90_000, 0)
    for _ in range(3):
        with pytest.raises(StateFull, match="the registry is full"), store.write() as write:
            set_key(write, "b", b"v" * 10_000, 0)
        with pytest.raises(StateFull), store.write() as write:
            set_key(write, "a", b"v" * 100_000, 0)
    assert list(store.state.kvs) == ["a"]
    assert (store.state.index, store.state.size) == (1, counted(store.state))
    with store.write() as write:
        set_key(write, "a", b"v" * 1000, 0)
        set_key(write, "b", b"v" * 10_000, 0)
    with store.write() as write:
        delete_key(write, "a")
    assert list(store.state.kvs) == ["b"]


@pytest.mark.usefixtures("small")
async def test_a_full_registry_still_says_who_is_critical() -> None:
    """Checks that are known report and expire as ever; instances leave; nobody new comes."""
    async with running_registry() as server:
        agent = server.agent
        agent.register_service(
            service("a-1"), [(CheckDefinition(ttl=5, status=PASSING), "")], replace_checks=False
        )
        with server.store.write() as write:
            left = ROOM - server.store.state.size - 400
            set_key(write, "k", b"v" * left, 0)
        with pytest.raises(StateFull):
            agent.register_service(service("b-1"), [], replace_checks=False)
        agent.update_ttl("service:a-1", CRITICAL, "x" * 5000)
        assert agent.health("a-1")[0] == CRITICAL
        assert server.store.state.size > ROOM
        agent.update_ttl("service:a-1", PASSING, "well")
        agent.update_ttl("service:a-1", PASSING, "as well" * 100)
        agent.register_service(service("a-1"), [(CheckDefinition(ttl=5), "")], replace_checks=False)
        agent.deregister_service("a-1")
        assert agent.services() == []
        assert server.store.state.size == counted(server.store.state)


def service(name: str) -> Service:
    return Service("testnode", name, name.partition("-")[0], "127.0.0.1", 80)


@asynccontextmanager
async def served(**options: Any) -> AsyncIterator[tuple[Server, RegistryClient, str]]:
    async with running_registry(**options) as server, RegistryClient(server.address) as client:
        yield server, client, f"http://{server.address}/v1"


@pytest.mark.usefixtures("small")
async def test_over_http_it_is_one_line() -> None:
    """507, in words, for keys, transactions and services alike."""
    async with served() as (_, client, base), aiohttp.ClientSession() as session:
        assert await client.kv_put("a", b"v" * 90_000)
        for path, body in (
            ("kv/b", b"v" * 20_000),
            ("txn", json.dumps([{"KV": {"Verb": "set", "Key": "b", "Value": "dmFs" * 7000}}]).encode()),
            ("agent/service/register", json.dumps({"Name": "b", "Tags": ["t" * 20_000]}).encode()),
        ):
            async with session.put(f"{base}/{path}", data=body) as answer:
                assert (answer.status, "registry is full" in await answer.text()) == (507, True)
        assert await client.kv_get("b") is None


async def test_a_key_has_a_length() -> None:
    """It stands in topics and tombstones too, which only count."""
    async with served() as (server, client, base), aiohttp.ClientSession() as session:
        assert await client.kv_put("k" * MAX_KEY, b"v")
        ops = [{"KV": {"Verb": "set", "Key": "k" * (MAX_KEY + 1), "Value": "dmFs"}}]
        async with session.put(f"{base}/txn", json=ops) as answer:
            assert answer.status == 409
            assert "at most 4096 characters" in await answer.text()
        assert len(server.store.state.kvs) == 1


async def test_a_tree_too_large_for_an_answer_can_be_had_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """By prefix and by transaction, and of a refused transaction nothing is kept."""
    monkeypatch.setattr(kv, "MAX_TREE", 50_000)
    async with served() as (server, client, base), aiohttp.ClientSession() as session:
        for name in ("a/1", "a/2", "b/1"):
            await client.kv_put(name, b"v" * 20_000)
        assert len(await client.kv_list("a/")) == 2
        with pytest.raises(RegistryError, match="larger than 50000 bytes together"):
            await client.kv_list("")
        tree = {"KV": {"Verb": "get-tree", "Key": "a/"}}
        ops = [tree, {"KV": {"Verb": "set", "Key": "c", "Value": "dmFs"}}, tree]
        async with session.put(f"{base}/txn", json=ops) as answer:
            assert answer.status == 413
        assert "c" not in server.store.state.kvs
        async with session.put(f"{base}/txn", json=ops[:2]) as answer:
            assert answer.status == 200


async def test_a_large_answer_is_read_whole() -> None:
    """It comes in many pieces; the client once took the first of them for all there may be."""
    async with served() as (_, client, _):
        for number in range(20):
            await client.kv_put(f"a/{number}", b"v" * 500_000)
        assert sum(len(entry.value) for entry in await client.kv_list("a/")) == 10_000_000


async def test_an_answer_of_more_than_any_registry_s_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is whole."""
    monkeypatch.setattr("registry.client.transport.MAX_ANSWER", 1_000_000)
    async with served() as (_, client, _):
        for number in range(4):
            await client.kv_put(f"a/{number}", b"v" * 500_000)
        with pytest.raises(RegistryError, match="more than 1000000 bytes"):
            await client.kv_list("a/")
        assert await client.kv_get("a/1") is not None


async def test_large_answers_that_nobody_reads_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound only small ones are given, until somebody reads or goes."""
    monkeypatch.setattr(connections, "MAX_UNREAD", 8_000_000)
    monkeypatch.setattr("registry.server.MAX_UNREAD", 8_000_000)
    async with served() as (server, client, base), aiohttp.ClientSession() as session:
        for number in range(10):
            await client.kv_put(f"a/{number}", b"v" * 500_000)
        host, port = server.address.split(":")
        writers = []
        for _ in range(6):
            reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
            writer.write(f"GET /v1/kv/a/?recurse HTTP/1.1\r\nHost: {server.address}\r\n\r\n".encode())
            await reader.read(1)
            writers.append(writer)
        async with session.get(f"{base}/kv/a/?recurse") as answer:
            assert (answer.status, await answer.text()) == (
                503,
                "too many large answers wait for their readers: ask again",
            )
        assert await client.kv_get("a/1") is not None
        for writer in writers:
            writer.transport.abort()
        async with asyncio.timeout(5):
            while await _status(session, base) != 200:
                pass  # each question gives the server a turn


async def _status(session: aiohttp.ClientSession, base: str) -> int:
    async with session.get(f"{base}/kv/a/?recurse") as answer:
        await answer.read()
        return answer.status


def test_deadlines_that_were_dropped_do_not_pile_up() -> None:
    """Sessions of a day that end after a second, a thousand a second."""
    deadlines = Deadlines()
    for number in range(50):
        deadlines.set(f"kept-{number}", 100.0 + number)
    for number in range(20_000):
        deadlines.set(f"s-{number}", 86_400.0 + number)
        deadlines.drop(f"s-{number}")
    assert len(deadlines._heap) <= 2 * (LEFT_OVERS + 100)
    assert len(deadlines._queued) <= 2 * (LEFT_OVERS + 100)
    assert deadlines.expired(120.5) == [f"kept-{number}" for number in range(21)]
    assert len(deadlines.expired(1e6)) == 29


def test_lock_delays_are_bounded() -> None:
    """The oldest goes."""
    leases = Leases()
    for number in range(MAX_DELAYS + 10):
        leases.delay(f"k{number}", 15.0, 0.0)
    assert not leases.delayed("k0", 1.0)
    assert leases.delayed("k10", 1.0)
    assert len(leases._locked_until) == MAX_DELAYS


def test_an_entry_counts_its_key_and_value() -> None:
    """More than these, never less."""
    assert size_of(KVEntry("k" * 100, b"v" * 1000)) > 1100
    assert size_of(Service("n", "i" * 1000, "s", tags=("t" * 1000,), meta={"m": "v" * 1000})) > 3000
