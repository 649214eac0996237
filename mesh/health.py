"""Asks every sidecar how its instance is: often while it starts, calmly once it is well."""

import asyncio
from typing import Any

import aiohttp

from mesh.answers import json_of
from mesh.changes import Changes
from mesh.instance import Instance, Phase, State
from mesh.plan import Part

# While something changes, a person waits for it; a snapshot costs the sidecar and us about a millisecond.
FAST_S = 0.1
CALM_S = 1.0
# A mesh of hundreds is asked less often: 50 snapshots a second are some 5 % of a core.
CALM_PER_INSTANCE_S = 0.02
# A sidecar that is busy answers late; one that is frozen or dead does not answer at all.
TIMEOUT = aiohttp.ClientTimeout(total=1.0)
# Together, so that a mesh of a hundred services is not asked all at once.
AT_ONCE = 8


class Poller:
    """One loop an instance; its record is told what came back."""

    def __init__(self, session: aiohttp.ClientSession, changes: Changes, instances: int) -> None:
        self._session = session
        self._changes = changes
        self._calm_s = max(CALM_S, instances * CALM_PER_INSTANCE_S)
        self._places = asyncio.Semaphore(AT_ONCE)
        self._nudges: dict[str, asyncio.Event] = {}

    def nudge(self, instance: Instance) -> None:
        """Ask this instance's sidecar now: something happened to it."""
        if instance.plan.name in self._nudges:
            self._nudges[instance.plan.name].set()

    def forget(self, instance: Instance) -> None:
        """Its `watch` ends: it is no longer part of the mesh."""
        nudge = self._nudges.pop(instance.plan.name, None)
        if nudge is not None:
            nudge.set()

    async def watch(self, instance: Instance) -> None:
        """Poll until `forget`, or until cancelled."""
        assert instance.plan.admin is not None
        address = f"{instance.plan.admin}/snapshot"
        nudge = self._nudges.setdefault(instance.plan.name, asyncio.Event())
        while self._nudges.get(instance.plan.name) is nudge:
            nudge.clear()
            if self._worth_asking(instance):
                await self._ask(instance, address)
            wait = FAST_S if instance.standing().state is State.STARTING else self._calm_s
            try:
                async with asyncio.timeout(wait):
                    await nudge.wait()
            except TimeoutError:
                pass

    @staticmethod
    def _worth_asking(instance: Instance) -> bool:
        if instance.parts[Part.SIDECAR].phase is not Phase.RUNNING:
            return False
        # an app that did not say yet that it serves cannot be well
        return Part.APP not in instance.parts or instance.parts[Part.APP].phase is not Phase.STARTING

    async def _ask(self, instance: Instance, address: str) -> None:
        before = instance.standing()
        pid = instance.parts[Part.SIDECAR].pid
        try:
            async with self._places, self._session.get(address, timeout=TIMEOUT) as answer:
                answer.raise_for_status()
                snapshot: Any = await json_of(answer)
        except (aiohttp.ClientError, TimeoutError, ValueError, RecursionError) as error:
            if instance.parts[Part.SIDECAR].pid == pid:
                instance.missed(_words(error))
        else:
            # an answer of the process before this one, or of an old start, says nothing
            if instance.parts[Part.SIDECAR].pid == pid and isinstance(snapshot, dict):
                instance.observed(snapshot)
        if instance.standing() != before:
            self._changes.notify()


def _words(error: Exception) -> str:
    return "timeout" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
