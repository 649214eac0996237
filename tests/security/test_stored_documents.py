"""What others wrote under `mesh/policy/` breaks no question of the control API, and can be removed by it."""

import asyncio

import pytest

from mesh.errors import DocumentsRefused
from registry.client import KVOperation, RegistryClient
from tests.mesh.control.policy_world import PolicyWorld, policy_world, virtual_service
from tests.security.test_expressions import BAD

FAULTS = [
    b'{"kind": "Fault", "spec": [1]}',
    b'{"kind": "Fault", "metadata": {"name": "f"}, "spec": {"delay": {"percentage": "x"}, "match": {}}}',
    b'{"spec": {"action": "slow-body", "bytesPerSecond": "x", "ttl": "11111111111111s", "generation": []}}',
    b'{"spec": 5}',
    b'{"spec": {"labels": [1], "match": [{"uri": 5}, 7], "percentage": {}}}',
    *BAD,
]
AT_THE_END_OF_TIME = 2**64 - 1


async def stored(world: PolicyWorld) -> list[str]:
    keys = []
    async with RegistryClient(world.store._url) as client:
        for number, value in enumerate(FAULTS):
            keys.append(f"Fault/bad-{number}")
            step = KVOperation(f"mesh/policy/{keys[-1]}", value, AT_THE_END_OF_TIME)
            assert await client.kv_transaction([step])
    return keys


async def test_every_question_is_answered_and_everything_can_be_removed() -> None:
    async with policy_world() as world:
        keys = await stored(world)
        listed = await world.desks.policies.documents()
        assert [f"{row['kind']}/{row['name']}" for row in listed["documents"]] == sorted(keys)
        assert all(row["problem"].isprintable() for row in listed["documents"])
        faults = (await world.desks.faults.faults())["faults"]
        assert {fault["what"] for fault in faults} == {"nothing: it is no fault that sidecars take"}
        with pytest.raises(DocumentsRefused):
            await world.desks.policies.apply([virtual_service()], "cli", dry_run=False, wait_s=0)
        wish = {"target": "orders-1", "name": "bad-2", "action": "hang"}
        with pytest.raises(DocumentsRefused):  # of the others; by itself it would take the place of this one
            await world.desks.faults.put(wish, "cli", 0)
        cleared = await world.desks.faults.clear(None, "cli", 0)
        left = [key for key in keys if key not in {f"Fault/{name}" for name in cleared["cleared"]}]
        await world.desks.policies.delete(left, "cli", dry_run=False, wait_s=0)
        assert (await world.desks.policies.documents())["documents"] == []
        await world.desks.faults.put({"target": "orders-1", "action": "hang"}, "cli", 0)


async def test_who_ends_faults_goes_on() -> None:
    """Also with a date at the end of time, which no timer is set for."""
    async with policy_world() as world:
        runs = asyncio.ensure_future(world.desks.faults.run())
        keys = await stored(world)
        assert (await world.desks.faults.faults())["faults"]
        await asyncio.sleep(0.1)
        assert not runs.done()
        await world.desks.policies.delete(keys, "cli", dry_run=False, wait_s=0)
        runs.cancel()
        with pytest.raises(asyncio.CancelledError):
            await runs
