"""The operator of a mesh of containers: the control API's other end, as the supervisor is for processes.

It looks at the engine once a second, and at once after what it did itself; what people do with `docker kill`
and the like is seen in the same way. An app whose sidecar was started again is restarted by it, so that
`docker start` of a sidecar heals the pod.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

from mesh.actions import Action
from mesh.changes import Changes
from mesh.docker.containers import Container, by_part, orphans
from mesh.docker.engine import Engine, EngineError
from mesh.docker.log_lines import LogLine, stamp
from mesh.draft import Draft
from mesh.draining import begin_draining
from mesh.errors import ActionRefused, MeshError, UsageError
from mesh.health import Poller
from mesh.instance import Instance, Phase, Standing, State
from mesh.load import Load
from mesh.plan import LOADGEN, REGISTRY, MeshPlan, Part
from mesh.policies import PolicyStore
from mesh.processes import Exit
from mesh.view import mesh_view
from mesh.words import unknown_name

log = logging.getLogger("mesh.docker")

LOOK_S = 1.0
# docker start of two containers and the first answers of what is in them, on a busy machine.
EFFECT_S = 6.0
# By then the engine has written down what a container said.
LOG_LAG_S = 0.2
# Docker's exit code of a process that a signal ended.
SIGNALLED = 128


class ContainerInstance(Instance):
    """An instance that can also be cut off from the network."""

    cut = False

    def standing(self) -> Standing:
        """As for processes; but one that is cut off is down, whatever was last heard of it."""
        standing = super().standing()
        if self.cut and standing.state not in (State.DOWN, State.PAUSED):
            return Standing(State.DOWN, "cut off from the network (mesh heal connects it)")
        return standing


class Driver:
    """Implements `mesh.control.operator.Operator` and `Observed` on an engine."""

    def __init__(
        self,
        plan: MeshPlan,
        engine: Engine,
        session: aiohttp.ClientSession,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self.plan = plan
        self.policies = PolicyStore(plan.registry_url, plan.policies, wall_clock, plan.registry_token)
        self.changes = Changes()
        self.actions: dict[tuple[str, str], int] = {}
        self._engine = engine
        self._session = session
        self._clock = clock
        self._wall_clock = wall_clock
        self._began = clock()
        self._ready_s: float | None = None
        self._everything = {each.name: ContainerInstance(each, clock) for each in plan.everything()}
        self._services = [self._everything[each.name] for each in plan.instances]
        self._extras = [each for each in self._everything.values() if each not in self._services]
        self._load = Load(plan, self._everything[LOADGEN], session)
        self._poller = Poller(session, self.changes, len(self._everything))
        self._containers: dict[tuple[str, Part], Container] = {}
        self._looking = asyncio.Lock()
        self._repairing = asyncio.Lock()
        self._policies_for = ""

    # life

    async def run(self) -> None:
        """Look, ask, repair, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for instance in (*self._services, self._everything[self.plan.ingress.name]):
                tasks.create_task(self._poller.watch(instance), name=f"poll {instance.plan.name}")
            tasks.create_task(self._load.watch(), name="poll load")
            while True:
                try:
                    await self.look()
                    await self._repair()
                    await self._policies()
                except MeshError as error:
                    log.warning("%s", error)
                if self._ready_s is None and all(one.healthy for one in self._services):
                    self._ready_s = round(self._clock() - self._began, 3)
                await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Take over what the engine says now."""
        async with self._looking:
            containers = by_part(await asyncio.to_thread(self._engine.look))
            for name, instance in self._everything.items():
                before = instance.standing()
                for part in instance.parts:
                    self._take_over(instance, part, containers.get((name, part)))
                owner = containers.get((name, next(iter(instance.parts))))
                instance.cut = owner is not None and owner.alive and not owner.networks
                if instance.standing() != before:
                    self._poller.nudge(instance)
            self._containers = containers
        self.changes.notify()

    def _take_over(self, instance: ContainerInstance, part: Part, container: Container | None) -> None:
        record = instance.parts[part]
        if container is None or not container.alive:
            if record.phase is not Phase.ENDED:
                instance.ended(part, _exit(container))
                instance.stay_down(part)  # Docker's restart policy is at work, not ours
                if container is None:
                    record.words = "has no container"
            return
        if not record.alive or record.pid != container.pid:
            instance.spawned(part, container.pid)
        instance.frozen(part, container.state == "paused", True)

    async def _repair(self) -> None:
        async with self._repairing:  # heal and the loop may both have seen the same orphan
            for app in orphans(self._containers.values()):
                log.info("%s is restarted: its sidecar was, and took the network with it", app.name)
                await asyncio.to_thread(self._engine.restart, app)
                await self.look()

    async def _policies(self) -> None:
        """Put the policies into the registry after each of its starts: it forgets."""
        registry = self._containers.get((REGISTRY, Part.APP))
        if registry is None or registry.state != "running":
            return
        if registry.started != self._policies_for:
            await self.policies.adopt_or_restore()
            self._policies_for = registry.started

    # what the control API asks

    def status(self) -> dict[str, Any]:
        """The document of `mesh status --json`, as of the last look."""
        return {
            "phase": "starting" if self._ready_s is None else "up",
            "ready_s": self._ready_s,
            "uptime_s": round(self._clock() - self._began, 3),
            "supervisor": {"pid": None, "forkserver": None},
            **mesh_view(self.plan, self._services, self._extras),
            "load": self._load.document,
        }

    async def fresh_status(self) -> dict[str, Any]:
        """`status`, as of now."""
        await self.look()
        await self._load.refresh()
        return self.status()

    def snapshots(self) -> dict[str, Mapping[str, Any]]:
        """Instance -> what its sidecar last said of itself."""
        return {name: one.snapshot for name, one in self._everything.items() if one.snapshot is not None}

    def admins(self) -> dict[str, str]:
        """Instance -> base URL of its sidecar's admin listener, of those that run."""
        return {
            name: one.plan.admin
            for name, one in self._everything.items()
            if one.plan.admin is not None and one.parts[Part.SIDECAR].alive
        }

    def draft(self) -> Draft:
        """The topology that the containers were made from."""
        return Draft(self.plan.file.read_text(encoding="utf-8"), self.plan.file.name)

    async def reshape(self, change: Callable[[Draft], Draft]) -> bool:
        """Refused: containers are Compose's to make; a change that changes nothing is done already."""
        draft = self.draft()
        if await asyncio.to_thread(change, draft) is draft:
            return False
        raise ActionRefused(
            "containers are made by Docker Compose: save the topology, change the file, then "
            "mesh export compose FILE -o compose.yaml and docker compose up -d"
        )

    async def set_load(self, rate: float | None, pattern: str | Mapping[str, Any] | None) -> dict[str, Any]:
        """Change the traffic, and start the load generator when it is down."""
        container = self._containers.get((LOADGEN, Part.APP))
        if container is not None and not container.alive:
            self._load.check(rate, pattern)
            await self._do(self._engine.start, container)
            await self._effect(lambda: self._load.running)
        return await self._load.change(rate, pattern)

    async def logs(self, name: str, part: Part | None, lines: int) -> dict[str, list[str]]:
        """Part -> the last lines that its container wrote."""
        instance = self._instance(name)
        return {
            each.value: await asyncio.to_thread(self._engine.logs, self._containers[name, each], lines)
            for each in instance.parts
            if part in (None, each) and (name, each) in self._containers
        }

    async def log_lines(
        self, name: str, part: Part | None, lines: int, after: str
    ) -> tuple[list[LogLine], str]:
        """Both parts' lines in the order of time, and the stamp to ask after the next time.

        Asked part by part, so up to a moment that is over for all of them: else a line would be missed.
        """
        instance = self._instance(name)
        upto = stamp(self._wall_clock() - LOG_LAG_S)
        found: list[LogLine] = []
        for each in instance.parts:
            container = self._containers.get((name, each))
            if part in (None, each) and container is not None:
                found += await asyncio.to_thread(self._engine.log_lines, container, lines, after)
        return sorted(line for line in found if line.at <= upto), upto

    def log_paths(self, name: str) -> dict[str, str]:
        """Part -> the command that shows its logs; there are no files."""
        instance = self._instance(name)
        return {part.value: f"docker logs {spec.name}" for part, spec in instance.plan.parts.items()}

    def stop(self) -> None:
        """End control; the project itself is ended by `docker compose down`."""
        raise UsageError("the containers are ended where they were started: docker compose down")

    async def act(self, action: Action, name: str, part: Part | None) -> dict[str, Any]:
        """Kill, pause, …; `part` None is both. Returns the instance as `status` shows it."""
        instance = self._instance(name)
        parts = instance.chosen(part)
        await self.look()
        self.actions[action.value, name] = self.actions.get((action.value, name), 0) + 1
        await self._act(action, instance, parts)
        await self.look()
        log.info("%s %s %s: %s", action, name, part or "both", instance.standing())
        document = self.status()
        everything = (*document["instances"], *document["extras"])
        return next(each for each in everything if each["name"] == name)

    # actions

    async def _act(self, action: Action, instance: ContainerInstance, parts: tuple[Part, ...]) -> None:
        containers = [self._container(instance, part) for part in parts]
        match action:
            case Action.KILL:
                for container in containers:
                    await self._do(self._engine.kill, container)
            case Action.PAUSE:
                if not any(container.alive for container in containers):
                    raise ActionRefused(f"{instance.plan.name} is down: there is nothing to pause")
                for container in containers:
                    await self._do(self._engine.pause, container)
            case Action.RESUME:
                for container in containers:
                    await self._do(self._engine.unpause, container)
            case Action.CUT:
                owner = self._container(instance, next(iter(instance.parts)))
                if not owner.alive:
                    raise ActionRefused(f"{instance.plan.name} is down: there is nothing to cut off")
                await self._do(self._engine.disconnect, owner)
            case Action.DRAIN:
                await self._drain(instance)
            case Action.HEAL:
                await self._heal(instance, parts)

    async def _drain(self, instance: ContainerInstance) -> None:
        await begin_draining(self._session, instance)
        self._poller.nudge(instance)
        await self._effect(lambda: instance.standing().state is State.DRAINING)

    async def _heal(self, instance: ContainerInstance, parts: tuple[Part, ...]) -> None:
        draining = instance.standing().state is State.DRAINING
        for part in parts:
            container = self._container(instance, part)
            await self._do(self._engine.unpause, container)
        owner = self._container(instance, next(iter(instance.parts)))
        if not owner.networks:
            name = await asyncio.to_thread(self._engine.service_of, owner)
            await self._do(lambda one: self._engine.connect(one, [name]), owner)
        if draining and Part.SIDECAR in parts:
            # a sidecar that drains closes its listeners for good
            await self._do(lambda one: self._engine.restart(one, gracefully=True), owner)
        for part in instance.parts:  # in the plan's order: the sidecar before its app
            container = self._container(instance, part)
            if part in parts and not container.alive:
                if container.joins and not owner.alive and Part.SIDECAR not in parts:
                    raise ActionRefused(f"{instance.plan.name}: its sidecar is down; heal both")
                await self._do(self._engine.start, container)
        await self.look()
        await self._repair()
        self._poller.nudge(instance)
        await self._effect(lambda: instance.standing().state not in (State.STARTING, State.DOWN))
        if instance is self._everything[LOADGEN]:
            await self._load.restore()

    async def _do(self, call: Callable[[Container], None], container: Container) -> None:
        try:
            await asyncio.to_thread(call, container)
        except EngineError:
            await self.look()  # somebody else may have done it meanwhile
            raise

    async def _effect(self, condition: Callable[[], object]) -> None:
        await self.changes.wait_for(condition, EFFECT_S)

    def _instance(self, name: str) -> ContainerInstance:
        if name not in self._everything:
            raise unknown_name("instance", name, self._everything)
        return self._everything[name]

    def _container(self, instance: Instance, part: Part) -> Container:
        container = self._containers.get((instance.plan.name, part))
        if container is None:
            raise ActionRefused(f"{instance.plan.name} has no container: docker compose up makes it")
        return container


def _exit(container: Container | None) -> Exit:
    code = 0 if container is None else container.exit_code
    return Exit(None, code - SIGNALLED) if code > SIGNALLED else Exit(code, None)
