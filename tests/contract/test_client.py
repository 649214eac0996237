"""Our client, the same against both: what the mesh does with a registry."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from registry.client import (
    BadRequest,
    CheckDefinition,
    HealthView,
    Heartbeat,
    KVOperation,
    NotFound,
    RegistryClient,
    RegistryError,
    ServiceRegistration,
    transport,
)
from tests.contract.servers import Running

TTL = CheckDefinition(ttl=30, deregister_critical_after=600, notes="the sidecar's heartbeat")


@pytest.fixture
async def client(registry: Running) -> AsyncIterator[RegistryClient]:
    async with RegistryClient(registry.url, empty_hold=0.2) as one:
        yield one


def _registration(name: str, number: int = 1) -> ServiceRegistration:
    return ServiceRegistration(
        f"{name}-{number}",
        name,
        "127.0.0.1",
        8000 + number,
        ("v1",),
        {"version": "v1", "admin": "127.0.0.1:1"},
        (TTL,),
        (5, 1),
    )


async def _eventually(true: Callable[[], object], within: float = 10.0) -> None:
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110 - facts of another process
            await asyncio.sleep(0.01)


async def _until_statuses(client: RegistryClient, name: str, *statuses: str) -> None:
    """Until the instances have these statuses, in order: Consul's agent tells its catalog a moment later."""
    async with asyncio.timeout(10):
        while [one.status for one in (await client.health(name)).instances] != list(statuses):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_register_report_and_see(client: RegistryClient, name: str) -> None:
    await client.register(_registration(name))
    await client.update_check(f"service:{name}-1", "passing", "fine")
    await _until_statuses(client, name, "passing")
    answer = await client.health(name, passing=True)
    (one,) = answer.instances
    assert (one.id, one.service, one.address, one.port) == (f"{name}-1", name, "127.0.0.1", 8001)
    assert (one.tags, one.status) == (("v1",), "passing")
    assert one.meta == {"version": "v1", "admin": "127.0.0.1:1"}
    assert (one.weight_passing, one.weight_warning, one.weight) == (5, 1, 5)
    assert answer.index > 0
    assert "v1" in (await client.services())[name]
    assert (await client.health(name, tag="v2")).instances == ()
    assert (await client.health(name, tag=["v1"])).instances
    assert (await client.health(name, filter='Service.Meta.version == "v2"')).instances == ()
    assert (await client.health(name, filter='Service.Meta.version == "v1"')).instances
    await client.deregister(f"{name}-1")


async def test_every_kind_of_check_is_taken(client: RegistryClient, name: str) -> None:
    checks = (
        TTL,
        CheckDefinition(
            name="http",
            http="http://127.0.0.1:1/",
            method="POST",
            body="x",
            header={"X-A": ("1",)},
            interval=10,
            timeout=1,
            tls_skip_verify=True,
            status="passing",
        ),
        CheckDefinition(tcp="127.0.0.1:1", interval=10, success_before_passing=2, failures_before_critical=2),
    )
    registration = replace(_registration(name), checks=checks)
    await client.register(registration)
    await client.update_check(registration.check_ids()[0], "passing")
    await client.register(replace(registration, checks=(TTL,)))
    with pytest.raises(NotFound):
        await client.update_check(registration.check_ids()[1], "passing")
    await client.update_check(f"service:{name}-1", "passing")


async def test_errors_have_their_types(client: RegistryClient, name: str) -> None:
    with pytest.raises(NotFound):
        await client.update_check(f"{name}-nothing", "passing")
    with pytest.raises(BadRequest):
        await client.update_check(f"{name}-nothing", "fine")
    with pytest.raises(BadRequest):
        await client.register(ServiceRegistration(name, name, weights=(-1, 1)))
    with pytest.raises(RegistryError) as bad:
        await client.health(name, filter="Bogus == 1")
    assert bad.value.status == 500
    with pytest.raises(NotFound):
        await client.maintenance(f"{name}-nothing", True)


async def test_maintenance_takes_an_instance_out(client: RegistryClient, name: str) -> None:
    await client.register(_registration(name))
    await client.update_check(f"service:{name}-1", "passing")
    await client.maintenance(f"{name}-1", True, "drain & restart")
    await _until_statuses(client, name, "critical")
    await client.maintenance(f"{name}-1", False)
    await _until_statuses(client, name, "passing")


async def test_keys(client: RegistryClient, name: str) -> None:
    key = f"{name}/policy/VirtualService/orders v1/ü"
    assert await client.kv_get(key) is None
    assert await client.kv_list(f"{name}/") == []
    assert await client.kv_put(key, b"one")
    entry = await client.kv_get(key)
    assert entry is not None
    assert (entry.key, entry.value) == (key, b"one")
    assert not await client.kv_put(key, b"two", cas=0)
    assert await client.kv_put(key, b"two", cas=entry.modify_index)
    assert await client.kv_put(f"{name}/policy/empty", b"")
    assert [one.value for one in await client.kv_list(f"{name}/")] == [b"two", b""]
    assert await client.kv_delete(key)
    assert await client.kv_delete(key)
    assert await client.kv_delete(f"{name}/", recurse=True)
    assert await client.kv_list(f"{name}/") == []


async def test_a_large_answer_comes_in_pieces_and_is_read_whole(
    client: RegistryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken for too large when its first piece was not all of it."""
    values = [bytes([number]) * 400_000 for number in range(4)]
    for number, value in enumerate(values):
        assert await client.kv_put(f"{name}/{number}", value)
    assert [entry.value for entry in await client.kv_list(f"{name}/")] == values
    monkeypatch.setattr(transport, "MAX_ANSWER", 1_000_000)
    with pytest.raises(RegistryError, match="an answer of more than 1000000 bytes"):
        await client.kv_list(f"{name}/")


async def test_a_watch_sees_what_happens(client: RegistryClient, name: str) -> None:
    views: list[HealthView] = []

    async def follow() -> None:
        async for view in client.watch_health(name):
            views.append(view)  # noqa: PERF401 - it never ends

    async with asyncio.TaskGroup() as group:
        watch = group.create_task(follow())
        await client.register(_registration(name, 1))
        await client.register(_registration(name, 2))
        await client.update_check(f"service:{name}-1", "passing")
        await client.update_check(f"service:{name}-2", "warning")
        await _eventually(
            lambda: views and [one.status for one in views[-1].instances] == ["passing", "warning"]
        )
        await client.deregister(f"{name}-1")
        await _eventually(lambda: [one.id for one in views[-1].instances] == [f"{name}-2"])
        await client.deregister(f"{name}-2")
        await _eventually(lambda: views[-1].instances == ())
        assert client.staleness(f"health/{name}") == 0.0
        watch.cancel()


async def test_a_watch_of_keys_sees_what_happens(client: RegistryClient, name: str) -> None:
    trees: list[dict[str, bytes]] = []

    async def follow() -> None:
        async for tree in client.watch_kv(f"{name}/"):
            trees.append({entry.key.removeprefix(f"{name}/"): entry.value for entry in tree})  # noqa: PERF401

    async with asyncio.TaskGroup() as group:
        watch = group.create_task(follow())
        await _eventually(lambda: trees == [{}])
        await client.kv_put(f"{name}/a", b"1")
        await _eventually(lambda: trees[-1] == {"a": b"1"})
        await client.kv_put(f"{name}/b", b"2")
        await client.kv_delete(f"{name}/a")
        await _eventually(lambda: trees[-1] == {"b": b"2"})
        await client.kv_delete(f"{name}/", recurse=True)
        await _eventually(lambda: trees[-1] == {})
        watch.cancel()


async def test_a_heartbeat_keeps_and_restores_an_instance(client: RegistryClient, name: str) -> None:
    says = ["passing", "all well"]
    registration = replace(_registration(name), checks=(replace(TTL, ttl=2),))
    beat = Heartbeat(client, registration, lambda: (says[0], says[1]), 0.2)

    async with asyncio.TaskGroup() as group:
        group.create_task(beat.run())
        await _until_statuses(client, name, "passing")
        says[:] = ["critical", "the app is dead"]
        beat.nudge()
        await _until_statuses(client, name, "critical")
        says[:] = ["passing", ""]
        await _until_statuses(client, name, "passing")
        await client.deregister(f"{name}-1")
        await _eventually(lambda: beat.registrations == 2)
        await _until_statuses(client, name, "passing")
        await beat.stop()
    await _until_statuses(client, name)


async def test_it_knows_whom_it_speaks_to(client: RegistryClient) -> None:
    assert (await client.self())["Config"]["Version"].count(".") == 2


async def test_a_transaction_on_keys_is_done_whole_or_not_at_all(client: RegistryClient, name: str) -> None:
    """With an index that is no longer that one nothing of it happens."""
    first, second, third = f"{name}/a", f"{name}/b", f"{name}/c"
    await client.kv_put(third, b"old")
    assert await client.kv_transaction(
        [KVOperation(first, b"\x00one", 7, 0), KVOperation(second, b"", 8), KVOperation(third, None)]
    )
    found = await client.kv_list(f"{name}/")
    assert [(each.key, each.value, each.flags) for each in found] == [
        (first, b"\x00one", 7),
        (second, b"", 8),
    ]
    assert not await client.kv_transaction(
        [KVOperation(second, b"two"), KVOperation(first, b"new", 0, found[0].modify_index - 1)]
    )
    assert not await client.kv_transaction([KVOperation(second, None), KVOperation(first, b"new", 0, 0)])
    assert await client.kv_list(f"{name}/") == found
    assert await client.kv_transaction([KVOperation(first, None, 0, found[0].modify_index)])
    assert await client.kv_get(first) is None


async def test_a_transaction_of_too_many_steps_is_an_error(client: RegistryClient, name: str) -> None:
    """The registry's limit, not a lost race."""
    with pytest.raises(RegistryError):
        await client.kv_transaction([KVOperation(f"{name}/{number}", b"") for number in range(65)])
