"""Faults with a target that exists and an end that comes; a second one takes the place of the first."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mesh.control.fault_ends import FaultEnds
from mesh.errors import DocumentsRefused, UsageError
from mesh.policies import Stored
from mesh.words import UnknownName
from tests.fakes.clock import FakeClock
from tests.mesh.control.policy_world import PolicyWorld, policy_world


@pytest.fixture
async def world() -> AsyncIterator[PolicyWorld]:
    async with policy_world() as one:
        yield one


async def put(world: PolicyWorld, **wish: Any) -> Any:
    return await world.desks.faults.put(wish, "page", 2.0)


async def names(world: PolicyWorld) -> list[str]:
    return [fault["name"] for fault in (await world.desks.faults.faults())["faults"]]


async def test_a_fault_of_a_service_and_of_a_replica(world: PolicyWorld) -> None:
    """Named as what it breaks; without a time it gets one."""
    done = await put(world, target="orders", delay={"duration": "200ms"})
    assert done["fault"] | {"document": None} == {
        "name": "orders", "host": "orders", "instance": None, "what": "delay 200ms", "which": "all",
        "at": world.clock(), "ends_in_s": 300.0, "document": None,
    }  # fmt: skip
    assert done["change"] == "created"
    assert done["sidecars"]["current"] == 3
    await put(world, target="orders-2", action="abort", status=500, percentage=20, ttl="30s")
    listed = (await world.desks.faults.faults())["faults"]
    assert [(fault["name"], fault["host"], fault["instance"], fault["what"]) for fault in listed] == [
        ("orders", "orders", None, "delay 200ms"),
        ("orders-2", "orders", "orders-2", "abort 500 for 20 %"),
    ]
    assert [(event["by"], event["kind"], event["action"], event["target"]) for event in world.events] == [
        ("page", "fault", "began", "orders"),
        ("page", "fault", "began", "orders-2"),
    ]


async def test_the_same_again_begins_its_time_anew(world: PolicyWorld) -> None:
    """Its generation tells the sidecars so."""
    await put(world, target="orders", action="hang", ttl="30s")
    world.clock.advance(20.0)
    done = await put(world, target="orders", action="hang", ttl="30s")
    assert (done["change"], done["fault"]["ends_in_s"]) == ("configured", 30.0)
    assert done["fault"]["document"]["spec"]["generation"] == 1
    done = await put(world, target="orders", action="reset")
    assert done["fault"]["document"]["spec"]["generation"] == 2
    assert await names(world) == ["orders"]


async def test_other_requests_have_a_fault_of_their_own(world: PolicyWorld) -> None:
    """Two matches do not take each other's place."""
    get = [{"method": {"exact": "GET"}, "uri": {"prefix": "/a"}, "sourceLabels": {"app": "gateway"}}]
    first = await put(world, target="orders", action="hang", match=get)
    await put(world, target="orders", action="hang", labels={"version": "v2"})
    await put(world, target="orders", action="hang", name="mine")
    assert len(await names(world)) == 3
    assert first["fault"]["which"] == "GET /a* from gateway"


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"target": "order"}, 'did you mean "orders"'),
        ({"target": "ingress"}, "has no app behind a sidecar"),
        ({}, "target: name a service"),
        ({"target": "orders", "action": "explode"}, "spec.action"),
        ({"target": "orders", "delay": {"duration": "5m"}, "ttl": "10m"}, "delay"),
        ({"target": "orders", "action": "hang", "ttl": "2d"}, "spec.ttl"),
        ({"target": "orders", "colour": "red"}, "spec.colour"),
        ({"target": "orders", "action": "hang", "name": "Not A Name"}, "metadata.name"),
    ],
)
async def test_a_wrong_wish_changes_nothing(world: PolicyWorld, wish: dict[str, Any], words: str) -> None:
    """Refused with the field or the name that was meant."""
    with pytest.raises(UsageError, match=words):
        await put(world, **wish)
    assert await names(world) == []


async def test_faults_are_cleared_by_name_by_target_or_all(world: PolicyWorld) -> None:
    """To clear all when there is none is done already."""
    for target in ("orders", "orders-1", "payments"):
        await put(world, target=target, action="hang")

    async def clear(which: str | None) -> Any:
        return (await world.desks.faults.clear(which, "cli", 2.0))["cleared"]

    assert await clear("orders-1") == ["orders-1"]
    assert await clear("orders") == ["orders"]
    with pytest.raises(UnknownName, match="payments"):
        await clear("orders")
    await put(world, target="orders", action="hang", name="mine")
    assert await clear("orders") == ["mine"]
    assert await clear(None) == ["payments"]
    assert await clear(None) == []


async def test_what_is_over_is_removed(world: PolicyWorld) -> None:
    """So that a sidecar that starts later does not begin it anew; the journal says that its time was over."""
    await put(world, target="orders", action="hang", ttl="30s")
    await put(world, target="payments", action="hang", ttl="60s")
    world.clock.advance(31.0)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(world.desks.faults.run())
        while "orders" in await names(world):  # noqa: ASYNC110 - facts of another process
            await asyncio.sleep(0.005)
        running.cancel()
    assert await names(world) == ["payments"]
    assert (world.events[-1]["by"], world.events[-1]["action"]) == ("time", "ended")


async def test_ends_are_waited_for_without_a_look_in_between() -> None:
    """One that nobody dated begins when it is seen first, and does not begin anew by being seen again."""
    ends, clock = FaultEnds(), FakeClock(100.0)
    raw = {"spec": {"ttl": "2s"}}
    ends.see([Stored("Fault/a", raw, None, 1), Stored("Fault/b", {"spec": {}}, 50.0, 2)], clock())
    clock.advance(1.0)
    ends.see([Stored("Fault/a", raw, None, 1), Stored("Fault/b", {"spec": {}}, 50.0, 2)], clock())
    assert (ends.of("Fault/a"), ends.of("Fault/b"), ends.of("Fault/c")) == (102.0, 350.0, None)
    clock.advance(1.0)
    assert await ends.wait(clock) == ["Fault/a"]


async def test_an_earlier_end_that_comes_meanwhile_is_not_slept_over() -> None:
    """The wait begins anew with each change."""
    ends, clock = FaultEnds(), FakeClock(100.0)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(ends.wait(clock))
        await asyncio.sleep(0)
        ends.see([Stored("Fault/a", {"spec": {"ttl": "1s"}}, 90.0, 1)], clock())
    assert waiting.result() == ["Fault/a"]


async def test_a_fault_by_document_is_a_fault(world: PolicyWorld) -> None:
    """What apply puts, the list shows; a wrong one is refused there with its path."""
    document = {
        "apiVersion": "mesh/v1",
        "kind": "Fault",
        "metadata": {"name": "by-hand"},
        "spec": {"host": "orders", "action": "abort"},
    }
    await world.desks.policies.apply([document], "cli", dry_run=False, wait_s=2.0)
    assert await names(world) == ["by-hand"]
    document["spec"] = {"action": "abort"}
    with pytest.raises(DocumentsRefused, match=r"Fault/by-hand: spec\.host: is missing"):
        await world.desks.policies.apply([document], "cli", dry_run=False, wait_s=2.0)
