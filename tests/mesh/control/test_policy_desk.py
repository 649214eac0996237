"""Changes to policies: checked as a whole set, written as one, taken by every sidecar or said by whom not."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mesh import policy_set
from mesh.errors import ActionRefused, DocumentsRefused, UsageError
from mesh.policies import PolicyStore
from mesh.words import UnknownName
from registry.client import RegistryClient
from tests.mesh.control.policy_world import (
    PolicyWorld,
    as_written,
    destination_rule,
    policy_world,
    virtual_service,
)

PAIR = [virtual_service(), destination_rule()]


@pytest.fixture
async def world() -> AsyncIterator[PolicyWorld]:
    async with policy_world() as one:
        yield one


async def apply(world: PolicyWorld, *documents: Any, dry_run: bool = False, wait_s: float = 2.0) -> Any:
    return await world.desks.policies.apply(list(documents), "cli", dry_run=dry_run, wait_s=wait_s)


async def delete(world: PolicyWorld, *keys: str) -> Any:
    return await world.desks.policies.delete(keys, "cli", dry_run=False, wait_s=2.0)


def words(done: Any) -> list[tuple[str, str]]:
    return [(change["kind"], change["change"]) for change in done["changes"]]


async def keys(world: PolicyWorld) -> list[str]:
    return [each.key for each in await world.store.read()]


async def test_applied_again_nothing_changes(world: PolicyWorld) -> None:
    """created, unchanged, configured, as kubectl says; every sidecar is at the version that is told."""
    first = await apply(world, *PAIR)
    assert words(first) == [("VirtualService", "created"), ("DestinationRule", "created")]
    assert first["sidecars"] == {
        "version": first["version"], "total": 3, "current": 3, "behind": [], "paused": [],
    }  # fmt: skip
    second = await apply(world, *PAIR)
    assert words(second) == [("VirtualService", "unchanged"), ("DestinationRule", "unchanged")]
    assert second["version"] == first["version"]
    third = await apply(world, virtual_service(weight=50))
    assert words(third) == [("VirtualService", "configured")]
    assert third["version"] != first["version"]
    assert [(event["by"], event["kind"], event["action"]) for event in world.events] == [
        ("cli", "policy", "created"),
        ("cli", "policy", "created"),
        ("cli", "policy", "configured"),
    ]


async def test_a_large_set_is_checked_beside_the_loop(
    world: PolicyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes long for thousands of routes: the page and the polls do not stand still meanwhile."""
    arms = [{"destination": {"host": "orders"}}]
    routes = [{"match": [{"uri": {"prefix": f"/api/{n}/"}}], "route": arms} for n in range(100)]
    many = {**virtual_service(), "spec": {"hosts": ["orders"], "http": routes}}
    threads = set()
    for name in ("read_policies", "problems_of", "warnings_of", "version"):
        inner = getattr(policy_set, name)

        def noting(*arguments: Any, inner: Any = inner, name: str = name, **options: Any) -> Any:
            threads.add((name, threading.get_ident()))
            return inner(*arguments, **options)

        monkeypatch.setattr(policy_set, name, noting)
    for sidecar in world.sidecars.values():
        sidecar.silent = True  # they would read the set as often as they are asked
    done = await apply(world, many, destination_rule(), wait_s=0)
    assert words(done) == [("VirtualService", "created"), ("DestinationRule", "created")]
    assert len(await keys(world)) == 2
    here = threading.get_ident()
    assert {name for name, _ in threads} == {"read_policies", "problems_of", "warnings_of", "version"}
    assert here not in {thread for _, thread in threads}


async def test_more_than_the_registry_takes_at_once_is_named_before_it_is_asked(world: PolicyWorld) -> None:
    large = virtual_service(redirect=None)
    large["spec"]["http"] = [{"directResponse": {"status": 200, "body": {"string": "x" * 400_000}}}]
    with pytest.raises(
        UsageError, match=r"1 changes at once, of \d+ bytes; a transaction holds 64 and 524288"
    ):
        await apply(world, large)
    assert await keys(world) == []
    large["spec"]["http"][0]["directResponse"]["body"]["string"] = "x" * 300_000
    await apply(world, large, wait_s=0)
    assert await keys(world) == ["VirtualService/orders"]


async def test_one_wrong_document_of_two_changes_nothing(world: PolicyWorld) -> None:
    """Every problem is told, each with document and field."""
    wrong = destination_rule(outlierDetection={"consecutive5xxErors": 5, "maxEjectionPercent": 101})
    with pytest.raises(DocumentsRefused) as refused:
        await apply(world, virtual_service(), wrong)
    path = "DestinationRule/orders: spec.trafficPolicy.outlierDetection"
    assert [problem.split(": is")[0].split(": must")[0] for problem in refused.value.problems] == [
        f"{path}.consecutive5xxErors",
        f"{path}.maxEjectionPercent",
    ]
    assert await keys(world) == []
    assert world.events == []


async def test_the_set_is_judged_with_what_is_there(world: PolicyWorld) -> None:
    """A route to a subset that nobody defines yet is a warning, in whichever order they come and go."""
    (v1, v2) = (await apply(world, virtual_service()))["warnings"]
    assert v1.startswith(
        "VirtualService/orders: spec.http[0].route[0].destination.subset: no DestinationRule"
    )
    assert "'v2'" in v2
    assert (await apply(world, destination_rule()))["warnings"] == []
    assert len((await delete(world, "DestinationRule/orders"))["warnings"]) == 2
    await apply(world, destination_rule())
    assert words(await delete(world, "DestinationRule/orders", "VirtualService/orders")) == [
        ("DestinationRule", "deleted"),
        ("VirtualService", "deleted"),
    ]
    assert await keys(world) == []


async def test_what_only_the_called_service_compiles_is_checked_too(world: PolicyWorld) -> None:
    """A delay beyond the limit is nothing to the ingress; the sidecars of orders would refuse the set."""
    delay = {"delay": {"fixedDelay": "300s", "percentage": {"value": 10}}}
    with pytest.raises(DocumentsRefused, match=r"VirtualService/orders: .*fault"):
        await apply(world, virtual_service(fault=delay), destination_rule())


async def test_a_dry_run_writes_nothing_and_warns(world: PolicyWorld) -> None:
    """A cap that ejects nobody at two replicas, and a subset that no route names."""
    rule = destination_rule(outlierDetection={"maxEjectionPercent": 10})
    done = await apply(world, rule, dry_run=True)
    assert words(done) == [("DestinationRule", "created")]
    assert done["sidecars"] is None
    assert any("maxEjectionPercent: 10 % of 2 endpoints" in warning for warning in done["warnings"])
    assert any("no route names the subset 'v2'" in warning for warning in done["warnings"])
    assert await keys(world) == []
    assert world.events == []


async def test_subsets_are_said_to_be_unused_only_where_no_route_is_left(world: PolicyWorld) -> None:
    """Not when the pair is applied, in either order or again; when its routes go, of what stays behind."""
    assert (await apply(world, *reversed(PAIR)))["warnings"] == []
    assert (await apply(world, *PAIR))["warnings"] == []
    left = (await delete(world, "VirtualService/orders"))["warnings"]
    assert [warning.partition("no route")[2] for warning in left] == [
        " names the subset 'v1': it does nothing",
        " names the subset 'v2': it does nothing",
    ]
    assert (await apply(world, PAIR[0]))["warnings"] == []
    assert (await delete(world, "VirtualService/orders", "DestinationRule/orders"))["warnings"] == []


async def test_who_is_behind_is_named_with_its_reason(world: PolicyWorld) -> None:
    """A frozen sidecar that is known to be paused is not waited for."""
    world.sidecars["payments-1"].stuck = {"version": "0" * 12, "problem": "no space left"}
    done = await apply(world, *PAIR, wait_s=0.2)
    assert done["sidecars"]["behind"] == [
        {"instance": "payments-1", "version": "0" * 12, "problem": "no space left"}
    ]
    assert (done["sidecars"]["current"], done["sidecars"]["total"]) == (2, 3)
    world.sidecars["payments-1"].silent = True
    world.instances[2]["state"] = "paused"
    listed = await world.desks.policies.documents()
    assert listed["sidecars"] == {
        "version": done["version"], "total": 2, "current": 2, "behind": [], "paused": ["payments-1"],
    }  # fmt: skip
    world.instances[2]["state"] = "healthy"
    listed = await world.desks.policies.documents()
    assert [each["problem"] for each in listed["sidecars"]["behind"]] == ["does not answer"]


async def test_sidecars_that_come_late_are_waited_for(world: PolicyWorld) -> None:
    """Until they show the version, not until the time is over."""
    slow = world.sidecars["orders-1"]
    slow.stuck = {"version": "0" * 12, "problem": ""}

    async def later() -> None:
        while not await keys(world):  # noqa: ASYNC110 - facts of another process
            await asyncio.sleep(0.005)
        slow.stuck = None

    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(later())
        done = await apply(world, *PAIR, wait_s=30.0)
    assert done["sidecars"]["current"] == 3


async def test_a_kind_a_name_and_an_unknown_name(world: PolicyWorld) -> None:
    """With the name that was perhaps meant."""
    await apply(world, *PAIR)
    listed = await world.desks.policies.documents("VirtualService")
    assert [(row["kind"], row["name"], row["hosts"], row["at"]) for row in listed["documents"]] == [
        ("VirtualService", "orders", ["orders"], world.clock())
    ]
    one = await world.desks.policies.documents("DestinationRule", "orders")
    assert as_written(one["documents"][0]) == destination_rule()
    with pytest.raises(UnknownName, match='did you mean "orders"'):
        await world.desks.policies.documents("DestinationRule", "order")
    with pytest.raises(UnknownName, match="no Fault is named"):
        await delete(world, "Fault/orders")


async def test_somebody_elses_broken_key_is_told_and_can_be_removed(world: PolicyWorld) -> None:
    """Every sidecar refuses the set with it; no other change is made before it is gone."""
    await apply(world, *PAIR)
    async with RegistryClient(world.store._url) as client:
        await client.kv_put("mesh/policy/VirtualService/hand", b"{nonsense")
    listed = await world.desks.policies.documents()
    assert listed["problems"] == [
        "VirtualService/hand: is no JSON object (remove it with: mesh delete VirtualService/hand)"
    ]
    with pytest.raises(DocumentsRefused, match="VirtualService/hand"):
        await apply(world, virtual_service(weight=10))
    await delete(world, "VirtualService/hand")
    assert (await world.desks.policies.documents())["problems"] == []


async def test_two_changes_at_the_same_time_do_not_break_each_other(world: PolicyWorld) -> None:
    """They write other keys, and each is right after the other."""
    await apply(world, destination_rule())
    outcomes = await asyncio.gather(delete(world, "DestinationRule/orders"), apply(world, virtual_service()))
    assert [[change["change"] for change in outcome["changes"]] for outcome in outcomes] == [
        ["deleted"],
        ["created"],
    ]
    assert (await world.desks.policies.documents())["problems"] == []


class Interrupted(PolicyStore):
    """Somebody else writes the same key between look and transaction, so many times."""

    times = 0

    async def write(self, *args: Any) -> bool:
        if self.times:
            self.times -= 1
            async with RegistryClient(self._url) as client:
                document = virtual_service(weight=20 + self.times)
                await client.kv_put("mesh/policy/VirtualService/orders", json.dumps(document).encode())
        return await super().write(*args)


async def test_another_writer_in_between_is_noticed() -> None:
    """The set is read and judged anew; not for ever."""
    async with policy_world(store=Interrupted) as world:
        assert isinstance(world.store, Interrupted)
        await apply(world, *PAIR)
        world.store.times = 1
        done = await apply(world, virtual_service(weight=10))
        assert [change["before"] for change in done["changes"]] == [virtual_service(weight=20)]
        world.store.times = 9
        with pytest.raises(ActionRefused, match="try again"):
            await apply(world, virtual_service(weight=30))


async def test_more_than_a_transaction_holds_is_refused(world: PolicyWorld) -> None:
    """All or none cannot be kept then."""
    with pytest.raises(UsageError, match="65 changes at once"):
        await apply(world, *(destination_rule(f"s{number}") for number in range(65)))
    assert await keys(world) == []
