"""What the registry holds of a mesh's policies, over its restarts and over the end of an earlier mesh."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mesh.errors import MeshError
from mesh.policies import PolicyStore
from registry.client import RegistryClient
from registry.server import Server
from tests.fakes.clock import FakeClock
from tests.fakes.registry import running_registry

CLOCK = FakeClock(1_700_000_000.5)


def policy(name: str, host: str = "orders") -> dict[str, Any]:
    return {"kind": "DestinationRule", "metadata": {"name": name}, "spec": {"host": host}}


@pytest.fixture
async def registry() -> AsyncIterator[Server]:
    async with running_registry() as server:
        yield server


def store(registry: Server, *seed: dict[str, Any]) -> PolicyStore:
    return PolicyStore(f"http://{registry.address}", seed, CLOCK)


async def by_hand(registry: Server, name: str, value: bytes) -> None:
    async with RegistryClient(registry.address) as client:
        await client.kv_put(f"mesh/policy/DestinationRule/{name}", value)


async def keys(mine: PolicyStore) -> list[str]:
    return [each.key for each in await mine.read()]


async def test_what_is_written_is_read_with_its_time(registry: Server) -> None:
    """As it was written; what another hand wrote has no time, and what is no JSON object no document."""
    mine = store(registry)
    assert await mine.write([policy("a")], [], [])
    await by_hand(registry, "b", json.dumps(policy("b")).encode())
    await by_hand(registry, "c", b"[1]")
    found = await mine.read()
    assert [(each.key, each.raw, each.at) for each in found] == [
        ("DestinationRule/a", policy("a"), 1_700_000_000.5),
        ("DestinationRule/b", policy("b"), None),
        ("DestinationRule/c", None, None),
    ]
    assert await mine.write([policy("a", "users")], ["DestinationRule/b", "DestinationRule/c"], found)
    assert not await mine.write([policy("a")], [], found)
    assert await keys(mine) == ["DestinationRule/a"]


async def test_a_registry_that_forgot_is_filled_again(registry: Server) -> None:
    """With what was last there: the topology's, what was applied since, not what was deleted; times too."""
    mine = store(registry, policy("a"), policy("b"))
    await mine.restore()
    assert await keys(mine) == ["DestinationRule/a", "DestinationRule/b"]
    assert await mine.write([policy("c")], ["DestinationRule/a"], await mine.read())
    before = [(each.key, each.raw, each.at) for each in await mine.read()]
    async with RegistryClient(registry.address) as client:
        await client.kv_delete("", recurse=True)
    assert await keys(mine) == []  # to look at the emptiness is not to believe it
    await mine.restore()
    assert [(each.key, each.raw, each.at) for each in await mine.read()] == before


async def test_what_another_hand_writes_is_known_by_following(registry: Server) -> None:
    """And so comes back too."""
    mine = store(registry)
    following = mine.follow()
    assert await anext(following) == []
    await by_hand(registry, "b", b"{}")
    assert [each.key for each in await anext(following)] == ["DestinationRule/b"]
    await following.aclose()  # type: ignore[attr-defined]  # an async generator
    async with RegistryClient(registry.address) as client:
        await client.kv_delete("mesh/policy/", recurse=True)
    await mine.restore()
    assert await keys(mine) == ["DestinationRule/b"]


async def test_policies_of_an_earlier_mesh_do_not_leak(registry: Server) -> None:
    """In a registry of somebody else's: exactly the topology's are there afterwards, told which ones went."""
    earlier = store(registry)
    many = [policy(f"old{number:02}") for number in range(60)]
    await earlier.write(many, [], [])
    mine = store(registry, policy("a"), *(policy(f"b{number:02}") for number in range(20)))
    assert sorted(await mine.begin()) == [f"DestinationRule/old{number:02}" for number in range(60)]
    assert await keys(mine) == [
        "DestinationRule/a",
        *(f"DestinationRule/b{number:02}" for number in range(20)),
    ]


async def test_who_is_started_again_beside_a_registry_takes_what_it_holds(registry: Server) -> None:
    """The control container: what people applied or deleted meanwhile stands; an empty registry is filled."""
    await store(registry).write([policy("b")], [], [])
    mine = store(registry, policy("a"))
    await mine.adopt_or_restore()
    assert await keys(mine) == ["DestinationRule/b"]
    async with RegistryClient(registry.address) as client:
        await client.kv_delete("mesh/policy/", recurse=True)
    await mine.adopt_or_restore()
    assert await keys(mine) == ["DestinationRule/b"]


async def test_without_a_registry_there_is_one_line(registry: Server) -> None:
    """Of the operator's own error type."""
    with pytest.raises(MeshError, match="the registry does not take or tell policies: "):
        await PolicyStore("http://127.0.0.1:1", (), CLOCK).read()
