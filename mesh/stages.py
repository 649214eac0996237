"""The order in which the processes of a mesh come up and go down.

Up: registry; then of every instance the sidecar and its app, several instances at once, the ingress among
them; when all are healthy, the load. Down: the other way round, so that nobody sees an error.
"""

import asyncio
import os
import signal
from collections.abc import Iterable, Sequence

from mesh.changes import Changes
from mesh.crew import Crew
from mesh.errors import MeshError
from mesh.instance import Instance, Phase
from mesh.logs import last_line
from mesh.plan import Part
from mesh.processes import Processes

REGISTRY_READY_S = 10.0
# What is not healthy by then is said, and the load starts without it.
ALL_HEALTHY_S = 30.0
# Starting many more at once than there are cores only makes each of them later.
STARTS_AT_ONCE = 2 * (os.cpu_count() or 2)
STARTED_S = 5.0  # after which an instance gives its place to the next, ready or not
# A graceful end: the load first, then what it ran through, then the registry. After these, SIGKILL.
LOAD_END_S = 0.5
INGRESS_END_S = 0.5
INSTANCES_END_S = 1.2
REGISTRY_END_S = 0.4


class Stages:
    """One stage after the other; which there are, and what happens between them, is the supervisor's."""

    def __init__(self, crew: Crew, processes: Processes, changes: Changes) -> None:
        self._crew = crew
        self._processes = processes
        self._changes = changes

    async def start_registry(self, registry: Instance) -> None:
        """Raises MeshError with the last line of its log when it does not become ready."""
        record = registry.parts[Part.APP]
        await self._crew.start(registry, Part.APP)
        await self._changes.wait_for(
            lambda: registry.healthy or record.phase is Phase.ENDED, REGISTRY_READY_S
        )
        if not registry.healthy:
            path = registry.plan.parts[Part.APP].log
            words = record.words or f"is not ready after {REGISTRY_READY_S:g} s"
            raise MeshError(f"the registry {words}: {last_line(path) or 'no output'} (its log: {path})")

    async def start_instances(self, ingress: Instance, services: Sequence[Instance]) -> bool:
        """Whether all of them became healthy in time."""
        places = asyncio.Semaphore(STARTS_AT_ONCE)
        everyone = (ingress, *services)
        async with asyncio.TaskGroup() as starts:
            for instance in everyone:
                starts.create_task(self._start_instance(instance, places), name=f"start {instance.plan.name}")
        return await self._changes.wait_for(lambda: all(each.healthy for each in everyone), ALL_HEALTHY_S)

    async def _start_instance(self, instance: Instance, places: asyncio.Semaphore) -> None:
        async with places:
            for part in instance.parts:  # the sidecar first
                await self._crew.start(instance, part)
            records = instance.parts.values()
            await self._changes.wait_for(
                lambda: not any(record.phase in (Phase.IDLE, Phase.STARTING) for record in records), STARTED_S
            )

    async def start_load(self, loadgen: Instance) -> None:
        """Waits until it serves, or has ended."""
        record = loadgen.parts[Part.APP]
        await self._crew.start(loadgen, Part.APP)
        await self._changes.wait_for(lambda: loadgen.healthy or record.phase is Phase.ENDED, STARTED_S)

    async def end(
        self,
        load: Instance,
        ingress: Instance,
        services: Sequence[Instance],
        registry: Sequence[Instance],
        at_once: asyncio.Event,
    ) -> None:
        """Gracefully, or when that takes too long or `at_once` is set, by SIGKILL."""
        self._crew.dismiss()
        groups = (
            ([load], LOAD_END_S),
            ([ingress], INGRESS_END_S),
            (services, INSTANCES_END_S),
            (registry, REGISTRY_END_S),
        )
        async with asyncio.TaskGroup() as tasks:
            graceful = tasks.create_task(self._end_gracefully(groups), name="end")
            second_stop = tasks.create_task(at_once.wait(), name="second stop")
            await asyncio.wait((graceful, second_stop), return_when=asyncio.FIRST_COMPLETED)
            graceful.cancel()
            second_stop.cancel()
        for process in self._processes.running():
            self._processes.signal(process, signal.SIGKILL)

    async def _end_gracefully(self, groups: Iterable[tuple[Sequence[Instance], float]]) -> None:
        for group, seconds in groups:
            self._crew.terminate(group)
            await self._crew.ended(group, seconds)
