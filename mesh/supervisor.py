"""Runs a planned mesh: starts it, keeps it, does what is asked of it, and ends it."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import aiohttp

from mesh.actions import Action, Actions
from mesh.changes import Changes
from mesh.crew import Crew
from mesh.draft import Draft
from mesh.ending import Ending
from mesh.errors import ActionRefused, ForkServerLost, MeshError, StateRefused
from mesh.fleet import Fleet
from mesh.health import Poller
from mesh.instance import Instance, Phase
from mesh.load import Load
from mesh.logs import tail
from mesh.plan import LOADGEN, MeshPlan, Part
from mesh.policies import PolicyStore
from mesh.ports import Ports
from mesh.processes import Processes
from mesh.reshape import Reshaper
from mesh.stages import Stages
from mesh.state import StateDirectory, describe
from mesh.view import mesh_view
from mesh.words import unknown_name
from services.script import Topology

log = logging.getLogger("mesh.supervisor")


class MeshPhase(StrEnum):
    """Where the mesh as a whole is."""

    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"


class Supervisor:
    """One mesh, from its start to its end.

    `began` is when the person gave the command, by `clock`. `run` returns after the end, however it came;
    what must be over then whatever happens (processes, ports, files) is the caller's to make sure of.
    """

    def __init__(
        self,
        plan: MeshPlan,
        processes: Processes,
        ports: Ports,
        state: StateDirectory,
        session: aiohttp.ClientSession,
        began: float,
        fork_server_pid: int,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.plan = plan
        self.policies = PolicyStore(plan.registry_url, plan.policies, wall_clock, plan.registry_token)
        self.changes = Changes()
        self.phase = MeshPhase.STARTING
        self.ready_s: float | None = None
        self._processes = processes
        self._ports = ports
        self._state = state
        self._session = session
        self._began = began
        self._fork_server_pid = fork_server_pid
        self._clock = clock
        self._stop = asyncio.Event()
        self._stop_at_once = asyncio.Event()
        self._fleet = Fleet(plan, clock)
        self._everything, self._services = self._fleet.everything, self._fleet.services
        self._extras = self._fleet.extras
        self._ingress = self._everything[plan.ingress.name]
        self._loadgen = self._everything[LOADGEN]
        self._first_draft = Draft(state.topology_path.read_text(encoding="utf-8"), plan.file.name)
        self._load = Load(plan, self._loadgen, session)
        self._poller = Poller(session, self.changes, len(self._services))
        self._stages: Stages | None = None
        self._actions: Actions | None = None
        self._reshaper: Reshaper | None = None
        self.reshaped: list[Callable[[Topology], None]] = []  # called with each topology after the first
        self._tasks: asyncio.TaskGroup | None = None
        self._background_tasks: set[asyncio.Task[None]] = set()

    # life

    async def run(self) -> None:
        """Start, stay until `stop`, end. Raises MeshError when the registry or the fork server fails."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                crew = Crew(self._processes, self._ports, self.changes, tasks, self._changed)
                drain_s = self.plan.drain_s
                ending = Ending(crew, self.changes, self._session, drain_s, self._clock)
                self._stages = Stages(crew, ending, self._processes, self.changes, self._clock)
                self._actions = Actions(crew, self.changes, self._poller.nudge, self._session, drain_s)
                self._reshaper = self._make_reshaper(crew, ending)
                for instance in (*self._services, self._ingress):
                    self._background(self._poller.watch(instance), f"poll {instance.plan.name}")
                self._background(self._load.watch(), "poll load")
                self._background(self._watch_fork_server(), "watch fork server")
                self._background(self._start(self._stages), "start")
                await self._stop.wait()
                self.phase = MeshPhase.STOPPING
                self.changes.notify()
                for task in list(self._background_tasks):
                    task.cancel()
                registry = [each for each in self._extras if each.plan is self.plan.registry]
                await self._stages.end(
                    self._loadgen, self._ingress, self._services, registry, self._stop_at_once
                )
        except* MeshError as group:
            raise _first_leaf(group) from None

    def stop(self) -> None:
        """End gracefully; said a second time, at once."""
        if self._stop.is_set():
            self._stop_at_once.set()
        self._stop.set()

    def write_state(self) -> None:
        """mesh.json, as of now."""
        self._state.write_mesh(
            {
                "topology": self.plan.topology,
                "control": self.plan.control_url,
                "drain_s": self.plan.drain_s,
                "supervisor": describe(os.getpid()),
                "forkserver": describe(self._fork_server_pid),
                "processes": [
                    {"name": process.spec.name, "pid": process.pid, "start": process.start}
                    for process in self._processes.running()
                ],
            }
        )

    # what the control API asks

    def status(self) -> dict[str, Any]:
        """The document of `mesh status --json`."""
        return {
            "phase": self.phase.value,
            "ready_s": self.ready_s,
            "uptime_s": round(self._clock() - self._began, 3),
            "supervisor": {"pid": os.getpid(), "forkserver": self._fork_server_pid},
            "drain_s": self.plan.drain_s,
            **mesh_view(self.plan, self._services, self._extras),
            "load": self._load.document,
        }

    def progress(self) -> dict[str, Any]:
        """How far the start is."""
        waiting = [each.plan.name for each in (*self._services, self._ingress) if not each.healthy]
        total = len(self._services)
        healthy = sum(instance.healthy for instance in self._services)
        return {"topology": self.plan.topology, "healthy": healthy, "total": total, "waiting": waiting}

    async def fresh_status(self) -> dict[str, Any]:
        """`status` with the load generator's numbers of this moment."""
        await self._load.refresh()
        return self.status()

    def instance(self, name: str) -> Instance:
        """By name; raises UnknownName with the one that was perhaps meant."""
        if name not in self._everything:
            raise unknown_name("instance", name, self._everything)
        return self._everything[name]

    def snapshots(self) -> dict[str, Mapping[str, Any]]:
        """Instance -> what its sidecar last said of itself; without those that have not said anything."""
        return {
            name: instance.snapshot
            for name, instance in self._everything.items()
            if instance.snapshot is not None
        }

    def admins(self) -> dict[str, str]:
        """Instance -> base URL of its sidecar's admin listener, of those that run."""
        return {
            name: instance.plan.admin
            for name, instance in self._everything.items()
            if instance.plan.admin is not None and instance.parts[Part.SIDECAR].alive
        }

    async def act(self, action: Action, name: str, part: Part | None) -> dict[str, Any]:
        """Kill, pause, …; `part` None is both. Returns the instance as `status` shows it."""
        instance = self.instance(name)
        if self._actions is None or self.phase is MeshPhase.STOPPING:
            raise MeshError("the mesh is stopping")
        if name in self._fleet.leaving:
            raise ActionRefused(f"{name} is being removed")
        await self._actions.act(action, instance, instance.chosen(part))
        log.info("%s %s %s: %s", action, name, part or "both", instance.standing())
        everything = (*self.status()["instances"], *self.status()["extras"])
        return next(document for document in everything if document["name"] == name)

    def draft(self) -> Draft:
        """The topology as it runs now."""
        return self._reshaper.draft if self._reshaper is not None else self._first_draft

    async def reshape(self, change: Callable[[Draft], Draft]) -> bool:
        """Make the mesh what the changed topology says; False when it is so already. Raises MeshError."""
        if self._reshaper is None or self.phase is not MeshPhase.UP:
            raise MeshError(f"the mesh is {self.phase}: services can be changed while it is up")
        return await self._reshaper.reshape(change)

    async def set_load(self, rate: float | None, pattern: str | Mapping[str, Any] | None) -> dict[str, Any]:
        """Change the traffic, and start the load generator when it was not; raises MeshError."""
        if self._stages is not None and self._loadgen.parts[Part.APP].phase in (Phase.IDLE, Phase.ENDED):
            self._load.check(rate, pattern)
            await self._stages.start_load(self._loadgen)
        return await self._load.change(rate, pattern)

    async def logs(self, name: str, part: Part | None, lines: int) -> dict[str, list[str]]:
        """Part -> the last lines that it wrote."""
        paths = self.log_paths(name)
        wanted = paths if part is None else {part.value: paths[part]} if part in paths else {}
        return {each: tail(Path(path), lines) for each, path in wanted.items()}

    def log_paths(self, name: str) -> dict[str, str]:
        """Where the parts of an instance write."""
        instance = self.instance(name)
        return {part.value: str(spec.log) for part, spec in instance.plan.parts.items()}

    def _make_reshaper(self, crew: Crew, ending: Ending) -> Reshaper | None:
        if self.plan.replicas is None:
            return None
        return Reshaper(
            self._first_draft,
            self._fleet,
            crew,
            ending,
            self._poller,
            self.changes,
            self.plan.replicas,
            self._state,
            self.plan.registry_url,
            self.plan.registry_token,
            self._background,
            self._clock,
            self.reshaped,
        )

    # start

    async def _start(self, stages: Stages) -> None:
        self.write_state()
        if self.plan.registry is None:
            await self._begin_policies()
        else:
            await stages.start_registry(self._everything[self.plan.registry.name])
        if await stages.start_instances(self._ingress, self._services):
            self.ready_s = round(self._clock() - self._began, 3)
        if self.plan.load:
            await stages.start_load(self._loadgen)
        self.phase = MeshPhase.UP
        self.write_state()
        self.changes.notify()

    async def _begin_policies(self) -> None:
        """Those of an earlier mesh in somebody else's registry are not ours."""
        try:
            if gone := await self.policies.begin():
                log.warning("removed the policies of an earlier mesh: %s", ", ".join(gone))
        except MeshError as error:
            log.error("%s", error)

    async def _restore_policies(self) -> None:
        try:
            await self.policies.restore()
        except MeshError as error:
            log.error("%s", error)

    # while it runs

    def _changed(self, instance: Instance, part: Part) -> None:
        self._poller.nudge(instance)
        ready = instance.parts[part].phase is Phase.RUNNING
        if instance.plan is self.plan.registry and ready:
            # a registry that came back has forgotten everything
            self._background(self._restore_policies(), "policies")
        if instance is self._loadgen and ready:
            self._background(self._load.restore(), "restore load")
        if part is Part.APP and ready and self._reshaper is not None:
            self._reshaper.ready(instance)
        if self.phase is MeshPhase.UP:
            try:
                self.write_state()
            except (OSError, StateRefused) as error:
                # somebody changed the folder under the mesh; the next change tries again
                log.error("the state is not kept: %s", error)

    def _background(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run something that ends with the mesh at the latest."""
        assert self._tasks is not None
        task = self._tasks.create_task(work, name=name)
        self._background_tasks.add(task)
        task.add_done_callback(self._background_tasks.discard)

    async def _watch_fork_server(self) -> None:
        await self._processes.lost.wait()
        if not self._stop.is_set():
            raise ForkServerLost("the fork server died, and the mesh with it")


def _first_leaf(group: BaseExceptionGroup[MeshError]) -> BaseException:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
