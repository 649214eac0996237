"""Makes a running mesh be another topology: new replicas start, changed ones read again, removed ones drain.

A change is checked as a whole before anything happens. Then the working copy of the topology is replaced, so
that whatever starts from then on starts as the new one, also after a crash. New replicas are started and
waited for; running ones are told by a signal to read the copy again; what goes is taken out of the registry,
finishes what it has, and ends.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from mesh.changes import Changes
from mesh.crew import Crew
from mesh.difference import Difference, difference
from mesh.draft import Draft
from mesh.ending import Ending, end_all
from mesh.errors import MeshError, UsageError
from mesh.fleet import Fleet
from mesh.health import Poller
from mesh.instance import Instance, Phase
from mesh.plan import InstancePlan, Part
from mesh.ports import allow_descriptors
from mesh.replicas import ReplicaPlanner
from mesh.state import StateDirectory
from services.script import Topology

log = logging.getLogger("mesh.reshape")

# Read the topology again; a program that does not know it ends by it, and is started anew.
READ_AGAIN = signal.SIGUSR1
# A new replica that is not healthy by then goes on by itself, as at the start of the mesh.
HEALTHY_S = 12.0
# Callers have read their new script and finished what they were at, before whom they called goes.
LET_GO_S = 0.5

Background = Callable[[Coroutine[Any, Any, None], str], None]


class Reshaper:
    """Carries changes out one after the other; `told` are called with each new topology."""

    def __init__(
        self,
        draft: Draft,
        fleet: Fleet,
        crew: Crew,
        ending: Ending,
        poller: Poller,
        changes: Changes,
        replicas: ReplicaPlanner,
        state: StateDirectory,
        registry_url: str,
        registry_token: str | None,
        background: Background,
        clock: Callable[[], float],
        told: list[Callable[[Topology], None]],
    ) -> None:
        self.draft = draft
        self._told = told
        self._fleet = fleet
        self._crew = crew
        self._ending = ending
        self._poller = poller
        self._changes = changes
        self._replicas = replicas
        self._state = state
        self._registry_url = registry_url
        self._registry_token = registry_token
        self._background = background
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._changed_at = float("-inf")

    async def reshape(self, change: Callable[[Draft], Draft]) -> bool:
        """Apply a change; False when everything is so already. Raises UsageError before anything happened."""
        async with self._one_at_a_time:
            # a second for a large topology, in which the page and the sidecars' polls do not stand still
            new = await asyncio.to_thread(change, self.draft)
            step = difference(self.draft.topology, new.topology)
            if new is self.draft:
                return False
            self._refuse_unknown_removal(step)
            allow_descriptors(len(self._fleet.services) + len(step.added))
            plans = self._plan(step)
            try:
                self._state.write_topology(new.text)
            except OSError as error:
                for plan in plans:
                    self._replicas.release(plan)
                words = f"cannot write {self._state.topology_path}: {error.strerror}"
                raise MeshError(f"nothing was changed: {words}") from error
            self.draft = new
            self._changed_at = self._clock()
            log.info("added %s, removed %s, changed %s", step.added, step.removed, sorted(step.changed))
            added = [self._enlist(plan) for plan in plans]
            if not step.removed:
                self._tell()  # what comes is seen while it starts
            await self._start(added)
            self._tell_changed(step)
            if step.removed:
                await asyncio.sleep(LET_GO_S if step.changed else 0)
                leaving = [self._fleet.everything[name] for name in step.removed]
                await self._remove(leaving)
                self._tell()
            return True

    def ready(self, instance: Instance) -> None:
        """An app that was forked before the last change may have read the copy before it, too."""
        record = instance.parts.get(Part.APP)
        if record is not None and record.started_at <= self._changed_at:
            self._read_again(instance)

    def _refuse_unknown_removal(self, step: Difference) -> None:
        for name in step.removed:
            if name not in self._fleet.everything:
                raise UsageError(f"{name} is not part of the mesh")

    def _tell(self) -> None:
        for listener in self._told:
            listener(self.draft.topology)
        self._changes.notify()

    # coming

    def _plan(self, step: Difference) -> list[InstancePlan]:
        """Every port of the new replicas, or none of them."""
        plans: list[InstancePlan] = []
        try:
            for replica in step.added:
                plans.append(self._replicas.plan(replica))  # noqa: PERF401  # those made are given back
        except OSError as error:
            for plan in plans:
                self._replicas.release(plan)
            raise MeshError(f"no ports for {len(step.added)} more replicas: {error.strerror}") from error
        return plans

    def _enlist(self, plan: InstancePlan) -> Instance:
        found = self._fleet.enlist(plan)
        self._background(self._poller.watch(found), f"poll {plan.name}")
        return found

    async def _start(self, added: list[Instance]) -> None:
        for instance in added:
            for part in instance.parts:
                await self._crew.start(instance, part)
        await self._changes.wait_for(lambda: all(one.healthy for one in added), HEALTHY_S)

    def _tell_changed(self, step: Difference) -> None:
        for instance in self._fleet.services:
            if instance.plan.service in step.changed:
                self._read_again(instance)

    def _read_again(self, instance: Instance) -> None:
        scripted = instance.plan.parts[Part.APP].command is None
        # one that is still starting is told when it is ready: before, the signal would end it
        if scripted and instance.parts[Part.APP].phase in (Phase.RUNNING, Phase.FROZEN):
            self._crew.signal(instance, Part.APP, READ_AGAIN)

    # going

    async def _remove(self, leaving: list[Instance]) -> None:
        self._fleet.leaving.update(instance.plan.name for instance in leaving)
        await end_all(self._ending, leaving)
        await self._forget(leaving)
        for instance in leaving:
            self._poller.forget(instance)
            self._fleet.strike(instance)
            self._replicas.release(instance.plan)

    async def _forget(self, leaving: list[Instance]) -> None:
        """One that was killed could not leave the registry by itself; the others have."""
        from registry.client import RegistryClient, RegistryError

        async with RegistryClient(self._registry_url, token=self._registry_token) as client:
            for instance in leaving:
                try:
                    await client.deregister(instance.plan.name)
                except RegistryError as error:
                    # a registry that is down has forgotten it when it comes back, or does by its own check
                    log.warning("%s may still be in the registry: %s", instance.plan.name, error)
