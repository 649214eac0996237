"""Watches and heartbeats over real sockets, against a registry that dies and comes back empty."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest

from registry.client import (
    CheckDefinition,
    HealthView,
    Heartbeat,
    KVEntry,
    NotFound,
    RegistryClient,
    RegistryUnavailable,
    ServiceRegistration,
)
from registry.client.cursor import Backoff
from registry.server import Server
from tests.fakes.registry import running_registry

SOON = 5.0
HOLD = 0.8


def _registration(number: int) -> ServiceRegistration:
    return ServiceRegistration(
        f"w{number}",
        "web",
        "127.0.0.1",
        8000 + number,
        ("v1",),
        {"zone": "a"},
        (CheckDefinition(ttl=5, deregister_critical_after=600),),
        (3, 1),
    )


class Lost:
    """A registry on one port that can be taken away and brought back empty."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._stack = AsyncExitStack()
        self.server: Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def up(self) -> Server:
        self.server = await self._stack.enter_async_context(running_registry(port=self.port))
        return self.server

    async def down(self) -> None:
        await self._stack.aclose()
        self._stack = AsyncExitStack()


@asynccontextmanager
async def _registry() -> AsyncIterator[Lost]:
    lost = Lost()
    await lost.up()
    try:
        yield lost
    finally:
        await lost.down()


async def _eventually(true: Callable[[], bool], within: float = SOON) -> None:
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110 - the condition is a set of facts, not one event
            await asyncio.sleep(0.01)


async def _follow(views: AsyncIterator[HealthView], into: list[HealthView]) -> None:
    async for view in views:
        into.append(view)  # noqa: PERF401 - it never ends


async def _follow_kv(trees: AsyncIterator[tuple[KVEntry, ...]], into: list[tuple[KVEntry, ...]]) -> None:
    async for tree in trees:
        into.append(tree)  # noqa: PERF401 - it never ends


async def test_a_view_for_each_change_and_none_without() -> None:
    async with _registry() as lost, RegistryClient(lost.address, empty_hold=0.1) as client:
        views: list[HealthView] = []
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_follow(client.watch_health("web"), views))
            await client.register(_registration(1))
            await client.update_check("service:w1", "passing", "ok")
            await _eventually(lambda: bool(views) and views[-1].instances[0].status == "passing")
            (one,) = views[-1].instances
            assert (one.id, one.service, one.address, one.port) == ("w1", "web", "127.0.0.1", 8001)
            assert (one.tags, one.meta, one.weight, one.node) == (("v1",), {"zone": "a"}, 3, "testnode")
            assert client.staleness("health/web") == 0.0
            count = len(views)
            await client.register(replace(_registration(1), id="other", name="other"))
            await client.update_check("service:w1", "passing", "ok")
            await client.update_check("service:w1", "warning", "slow")
            await _eventually(lambda: len(views) == count + 1)
            assert views[-1].instances[0].weight == 1
            await client.deregister("w1")
            await _eventually(lambda: views[-1].instances == ())
            assert len(views) == count + 2
            watch.cancel()


async def test_a_change_reaches_a_watch_in_no_time() -> None:
    async with _registry() as lost, RegistryClient(lost.address) as client:
        views: list[HealthView] = []
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_follow(client.watch_health("web"), views))
            await client.register(_registration(1))
            await _eventually(lambda: len(views) == 1)
            await asyncio.sleep(0.3)
            began = time.perf_counter()  # noqa: TID251 - it measures
            await client.update_check("service:w1", "passing")
            await _eventually(lambda: len(views) == 2)
            assert time.perf_counter() - began < 0.2  # noqa: TID251
            watch.cancel()


async def test_a_registry_that_comes_back_empty_costs_no_instance_and_refills_by_itself() -> None:
    """The whole promise at once: six heartbeats, a watch, and a registry that dies and forgets."""
    async with _registry() as lost, AsyncExitStack() as stack:
        watcher = await stack.enter_async_context(RegistryClient(lost.address, hold=HOLD, empty_hold=0.2))
        views: list[HealthView] = []
        trees: list[tuple[KVEntry, ...]] = []
        names: list[frozenset[str]] = []

        async def follow_names() -> None:
            async for known in watcher.watch_services():
                names.append(known)  # noqa: PERF401 - it never ends

        async with asyncio.TaskGroup() as group:
            heartbeats = []
            for number in range(6):
                client = await stack.enter_async_context(RegistryClient(lost.address))
                backoff = Backoff(random.Random(number), most=0.3)
                beat = Heartbeat(client, _registration(number), lambda: ("passing", ""), 0.2, backoff=backoff)
                heartbeats.append(beat)
                group.create_task(beat.run())
            watches = [
                group.create_task(_follow(watcher.watch_health("web"), views)),
                group.create_task(_follow_kv(watcher.watch_kv("policy/"), trees)),
                group.create_task(follow_names()),
            ]
            await watcher.kv_put("policy/x", b"1")
            await _eventually(lambda: bool(views) and len(views[-1].instances) == 6)
            await _eventually(lambda: bool(trees) and len(trees[-1]) == 1)
            good = len(views)

            await lost.down()
            await _eventually(lambda: watcher.staleness("health/web") > 0.3)
            with pytest.raises(RegistryUnavailable):
                await watcher.health("web")
            assert len(views) == good

            server = await lost.up()
            await _eventually(lambda: len(server.store.state.by_name.get("web", ())) == 6, within=2)
            await _eventually(lambda: watcher.staleness("health/web") == 0.0)
            assert all(len(view.instances) == 6 for view in views[good:]), "nobody was lost meanwhile"
            assert all(one.status == "passing" for view in views[good:] for one in view.instances)
            assert len(trees[-1]) == 1, "the policies stand"
            known = next(at for at, seen in enumerate(names) if "web" in seen)
            assert all("web" in seen for seen in names[known:]), "the service was never unknown"

            await heartbeats[0].stop()
            await asyncio.sleep(HOLD + 0.3)
            await _eventually(lambda: len(views[-1].instances) == 5)
            await _eventually(lambda: trees[-1] == ())
            for beat in heartbeats[1:]:
                await beat.stop()
            await _eventually(lambda: views[-1].instances == ())
            for watch in watches:
                watch.cancel()


async def test_an_instance_that_died_while_the_registry_was_away_goes_after_the_hold() -> None:
    async with _registry() as lost, RegistryClient(lost.address, hold=HOLD, empty_hold=0.1) as client:
        views: list[HealthView] = []
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_follow(client.watch_health("web"), views))
            await client.register(_registration(1))
            await client.register(_registration(2))
            await _eventually(lambda: bool(views) and len(views[-1].instances) == 2)
            await lost.down()
            await lost.up()
            await _eventually(lambda: client.staleness("health/web") == 0.0)
            await client.register(_registration(2))
            await asyncio.sleep(HOLD / 2)
            assert len(views[-1].instances) == 2
            await _eventually(lambda: [one.id for one in views[-1].instances] == ["w2"], within=HOLD + 1)
            watch.cancel()


async def test_a_watch_of_a_registry_that_is_not_there_yet_begins_when_it_comes() -> None:
    lost = Lost()
    async with RegistryClient(lost.address) as client:
        views: list[HealthView] = []
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_follow(client.watch_health("web"), views))
            beat = Heartbeat(client, _registration(1), lambda: ("passing", ""), 0.2)
            group.create_task(beat.run())
            await _eventually(lambda: beat.last_error is not None)
            assert client.staleness("health/web") > 0
            await lost.up()
            await _eventually(lambda: bool(views) and views[-1].instances[0].status == "passing")
            await beat.stop()
            watch.cancel()
        await lost.down()


async def test_a_storm_of_changes_is_followed_at_a_bounded_pace() -> None:
    async with _registry() as lost, RegistryClient(lost.address) as client:
        views: list[HealthView] = []
        server = lost.server
        assert server is not None
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_follow(client.watch_health("web"), views))
            await client.register(_registration(1))
            await _eventually(lambda: len(views) == 1)
            for number in range(200):
                status = "passing" if number % 2 else "warning"
                server.agent.update_ttl("service:w1", status, str(number))
                await asyncio.sleep(0.005)
            server.agent.update_ttl("service:w1", "critical", "last")
            await _eventually(lambda: views[-1].instances[0].status == "critical")
            watch.cancel()
        assert len(views) < 30, "ten a second, not two hundred"


async def test_staleness_of_what_nobody_watches_is_an_error() -> None:
    async with RegistryClient("127.0.0.1:1") as client:
        with pytest.raises(NotFound, match="no watch named"):
            client.staleness("health/web")


async def test_a_cancelled_watch_leaves_no_connection_waiting() -> None:
    async with _registry() as lost, RegistryClient(lost.address) as client:
        server = lost.server
        assert server is not None
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_follow_kv(client.watch_kv("p/"), []))
            await client.kv_put("p/x", b"1")
            await _eventually(lambda: len(server.watchers) == 1)
            watch.cancel()
            await _eventually(lambda: len(server.watchers) == 0)


async def test_an_answer_that_is_no_registrys_counts_as_a_loss() -> None:
    """Something else on the port, as after a restart that lost its port to another program."""

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n<html")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, RegistryClient(f"127.0.0.1:{port}") as client:
        views: list[HealthView] = []
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_follow(client.watch_health("web"), views))
            await _eventually(lambda: client.staleness("health/web") > 0.3)
            watch.cancel()
        assert views == []
