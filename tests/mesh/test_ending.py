"""How an instance ends: in which order, and how long what is under way may take."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mesh.changes import Changes
from mesh.crew import Crew
from mesh.ending import Ending
from mesh.instance import Instance
from mesh.instance_plan import InstancePlan, Kind, Part
from mesh.processes import Exit, ProcessSpec


class FakeCrew:
    """Notes the signals; a part that is in `ends` ends by SIGTERM, every one by SIGKILL."""

    def __init__(self, changes: Changes, ends: set[Part]) -> None:
        self.sent: list[tuple[Part, str]] = []
        self.ends = ends
        self._changes = changes

    def signal(self, instance: Instance, part: Part, number: int) -> None:
        self.sent.append((part, signal.Signals(number).name))
        if number == signal.SIGKILL or part in self.ends:
            self.gone(instance, part)

    def gone(self, instance: Instance, part: Part) -> None:
        instance.ended(part, Exit(0, None))
        self._changes.notify()


class World:
    """An instance whose sidecar says what the test says."""

    def __init__(self, port: int) -> None:
        self.changes = Changes()
        self.crew = FakeCrew(self.changes, {Part.APP})
        parts = {part: ProcessSpec(f"a-1.{part}", Path("/dev/null"), module="x") for part in Part}
        plan = InstancePlan("a-1", Kind.SERVICE, "a", "v1", "", parts, {"admin": port, "app": 1})
        self.instance = Instance(plan, asyncio.get_running_loop().time)
        for part in Part:
            self.instance.spawned(part, 17)
            self.instance.ready(part)
        self.snapshot: Any = {"inbound_closed": False}

    async def end(self, drain_s: float) -> float:
        """Returns the seconds that it took."""
        clock = asyncio.get_running_loop().time
        began = clock()
        async with aiohttp.ClientSession() as session:
            ending = Ending(cast(Crew, self.crew), self.changes, session, drain_s, clock)
            await ending.end(self.instance)
        return clock() - began


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async def snapshot(_: web.Request) -> web.Response:
        return web.json_response(made.snapshot)

    app = web.Application()
    app.router.add_get("/snapshot", snapshot)
    async with TestServer(app, host="127.0.0.1") as server:
        assert server.port is not None
        made = World(server.port)
        yield made


async def test_the_app_goes_when_nothing_is_left_of_what_came_in(world: World) -> None:
    """And the sidecar ends by itself when the app is gone; nobody waits for the limit."""
    crew, instance = world.crew, world.instance

    async def app_closes_its_calls() -> None:
        await asyncio.sleep(0.3)
        assert crew.sent == [(Part.SIDECAR, "SIGTERM")]
        world.snapshot = {"inbound_closed": True}
        await world.changes.wait_for(lambda: not instance.parts[Part.APP].alive, 5.0)
        crew.gone(instance, Part.SIDECAR)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(app_closes_its_calls(), name="app")
        took = await world.end(60.0)
    assert crew.sent == [(Part.SIDECAR, "SIGTERM"), (Part.APP, "SIGTERM")]
    assert took < 5.0


async def test_a_sidecar_that_ends_early_is_not_asked_again(world: World) -> None:
    """One that has nothing under way is gone at once."""
    world.crew.ends.add(Part.SIDECAR)
    await world.end(60.0)
    assert world.crew.sent == [(Part.SIDECAR, "SIGTERM"), (Part.APP, "SIGTERM")]


@pytest.mark.parametrize("snapshot", [{"inbound_closed": False}, [], None])
async def test_what_takes_longer_than_the_limit_is_killed(
    world: World, snapshot: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a sidecar says, or if it says nothing that means anything."""
    monkeypatch.setattr("mesh.ending.SIDECAR_END_S", 0.1)
    world.snapshot = snapshot
    took = await world.end(0.4)
    assert took > 0.4
    signals = [(Part.SIDECAR, "SIGTERM"), (Part.APP, "SIGTERM"), (Part.SIDECAR, "SIGKILL")]
    assert world.crew.sent == signals


@pytest.mark.parametrize("frozen", list(Part))
async def test_what_is_frozen_cannot_finish(world: World, frozen: Part) -> None:
    """It is killed, and what is behind it is not waited for."""
    world.instance.frozen(frozen, stopped=True, ready=True)
    world.crew.ends.add(Part.SIDECAR)
    await world.end(60.0)
    assert (frozen, "SIGKILL") in world.crew.sent
    assert len(world.crew.sent) == 2


async def test_who_has_only_one_part_ends_too(world: World) -> None:
    """The ingress has no app."""
    del world.instance.parts[Part.APP]
    world.crew.ends.add(Part.SIDECAR)
    await world.end(60.0)
    assert world.crew.sent == [(Part.SIDECAR, "SIGTERM")]
