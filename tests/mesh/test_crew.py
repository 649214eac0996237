"""The crew with real processes of a small program: starts, restarts, actions, and no start after the end."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from mesh.actions import Action, Actions
from mesh.changes import Changes
from mesh.crew import Crew
from mesh.errors import ActionRefused
from mesh.instance import Instance, Phase
from mesh.launch import launch
from mesh.plan import InstancePlan, Kind, Part
from mesh.ports import Ports
from mesh.processes import Processes, ProcessSpec
from mesh.state import StateDirectory

FAKE = "tests.mesh.fake_program"
WAIT_S = 10.0


@dataclass
class Stage:
    """A crew and what it needs."""

    crew: Crew
    actions: Actions
    changes: Changes
    directory: Path

    def instance(self, *argv: str, kind: Kind = Kind.LOADGEN) -> Instance:
        """One with an app only, which runs the fake program with these arguments."""
        spec = ProcessSpec("a-1.app", self.directory / "a-1.app.log", module=FAKE, argv=argv)
        loop = asyncio.get_running_loop()
        return Instance(InstancePlan("a-1", kind, "a", "v1", "", {Part.APP: spec}, {"app": 1}), loop.time)

    async def until(self, instance: Instance, phase: Phase) -> None:
        assert await self.changes.wait_for(lambda: instance.parts[Part.APP].phase is phase, WAIT_S), instance


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    state = StateDirectory(tmp_path)
    state.create()
    launched = launch([FAKE], state.log_path("forkserver", "process"), state.journal_path)
    processes = await Processes.connect(launched.channel)
    changes = Changes()
    with contextlib.suppress(asyncio.CancelledError):
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            crew = Crew(processes, Ports(), changes, tasks, lambda instance, part: None)
            yield Stage(crew, Actions(crew, changes, lambda _: None, session, 1.0), changes, tmp_path)
            crew.dismiss()
    processes.close()
    await asyncio.to_thread(launched.end)


async def test_a_part_is_running_when_it_says_so(stage: Stage) -> None:
    """Its ready line; a second start of it does nothing."""
    instance = stage.instance()
    await stage.crew.start(instance, Part.APP)
    await stage.until(instance, Phase.RUNNING)
    pid = instance.parts[Part.APP].pid
    await stage.crew.start(instance, Part.APP)
    assert instance.parts[Part.APP].pid == pid
    assert instance.healthy


async def test_a_crash_is_started_again(stage: Stage) -> None:
    """By itself, after its delay."""
    instance = stage.instance()
    await stage.crew.start(instance, Part.APP)
    await stage.until(instance, Phase.RUNNING)
    first = instance.parts[Part.APP].pid
    stage.crew.signal(instance, Part.APP, signal.SIGABRT)
    await stage.until(instance, Phase.ENDED)
    await stage.until(instance, Phase.RUNNING)
    assert instance.parts[Part.APP].pid != first
    assert instance.parts[Part.APP].restarts == 1


async def test_the_reason_of_a_failed_start_is_its_last_line(stage: Stage) -> None:
    """The one that a person would look for in the log."""
    instance = stage.instance("--no-such-flag")
    await stage.crew.start(instance, Part.APP)
    await stage.until(instance, Phase.ENDED)
    words = "app exited with 2 (fake_program: error: unrecognized arguments: --no-such-flag)"
    assert instance.standing().reason.startswith(f"{words}, starts again in ")
    await stage.actions.act(Action.KILL, instance, [Part.APP])
    assert instance.standing().reason == words


async def test_killed_stays_down_until_healed(stage: Stage) -> None:
    """Both may be said twice."""
    instance = stage.instance()
    for _ in range(2):
        await stage.actions.act(Action.HEAL, instance, [Part.APP])
        assert instance.healthy
    for _ in range(2):
        await stage.actions.act(Action.KILL, instance, [Part.APP])
        assert instance.standing().reason == "app killed by SIGKILL"
    await stage.actions.act(Action.HEAL, instance, [Part.APP])
    assert instance.healthy


async def test_paused_is_seen_and_resumed_or_healed(stage: Stage) -> None:
    """What is down cannot be paused."""
    instance = stage.instance()
    with pytest.raises(ActionRefused, match=r"^a-1 is down: there is nothing to pause$"):
        await stage.actions.act(Action.PAUSE, instance, [Part.APP])
    await stage.actions.act(Action.HEAL, instance, [Part.APP])
    for back in (Action.RESUME, Action.HEAL):
        await stage.actions.act(Action.PAUSE, instance, [Part.APP])
        assert instance.standing().reason == "app paused"
        await stage.actions.act(back, instance, [Part.APP])
        assert instance.healthy
    with pytest.raises(ActionRefused, match=r"^a-1 has no sidecar that could drain it$"):
        await stage.actions.act(Action.DRAIN, instance, [Part.APP])


async def test_a_frozen_part_ends_too(stage: Stage) -> None:
    """At the end of the mesh nobody waits for one who cannot hear."""
    instance = stage.instance()
    await stage.actions.act(Action.HEAL, instance, [Part.APP])
    await stage.actions.act(Action.PAUSE, instance, [Part.APP])
    stage.crew.dismiss()
    stage.crew.terminate([instance])
    assert await stage.crew.ended([instance], WAIT_S)
    await stage.crew.start(instance, Part.APP)
    assert instance.parts[Part.APP].phase is Phase.ENDED


async def test_who_does_not_end_is_waited_for_only_so_long(stage: Stage) -> None:
    """SIGTERM may be ignored."""
    instance = stage.instance("--ignore-term")
    await stage.actions.act(Action.HEAL, instance, [Part.APP])
    stage.crew.terminate([instance])
    assert not await stage.crew.ended([instance], 0.1)
