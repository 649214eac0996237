"""The order in which the processes of a mesh come up and go down.

Up: registry; then of every instance the sidecar and its app, several instances at once, the ingress among
them; when all are healthy, the load. Down: the other way round, so that nobody sees an error.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence

from mesh.changes import Changes
from mesh.crew import Crew
from mesh.ending import Ending, end_all
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
# A graceful end: the load first, then what it ran through, which finishes what it has, then the registry.
LOAD_END_S = 0.5
REGISTRY_END_S = 0.4


class Stages:
    """One stage after the other; which there are, and what happens between them, is the supervisor's."""

    def __init__(
        self,
        crew: Crew,
        ending: Ending,
        processes: Processes,
        changes: Changes,
        clock: Callable[[], float],
    ) -> None:
        self._crew = crew
        self._ending = ending
        self._clock = clock
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
        async with asyncio.TaskGroup() as tasks:
            steps = self._end_gracefully(load, ingress, services, registry)
            graceful = tasks.create_task(steps, name="end")
            second_stop = tasks.create_task(at_once.wait(), name="second stop")
            await asyncio.wait((graceful, second_stop), return_when=asyncio.FIRST_COMPLETED)
            graceful.cancel()
            second_stop.cancel()
        for process in self._processes.running():
            self._processes.signal(process, signal.SIGKILL)

    async def _end_gracefully(
        self,
        load: Instance,
        ingress: Instance,
        services: Sequence[Instance],
        registry: Sequence[Instance],
    ) -> None:
        until = self._clock() + self._ending.drain_s
        self._crew.terminate([load])
        await self._crew.ended([load], LOAD_END_S)
        await self._ending.end(ingress, until)  # while there is still somebody behind it
        await end_all(self._ending, services, until)
        self._crew.terminate(registry)
        await self._crew.ended(registry, REGISTRY_END_S)
