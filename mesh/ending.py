"""The end of an instance: what is under way may finish, for as long as the mesh's one limit says.

The sidecar first: it leaves the registry, takes nothing new, and lets what came in finish while its app still
answers and calls others. When nothing is left of that, the app is told to end, and with it goes what it holds
open through its sidecar, however long that would have stayed (a WebSocket to another service). Then the
sidecar ends by itself.
"""

import asyncio
import signal
from collections.abc import Callable, Iterable

import aiohttp

from mesh.changes import Changes
from mesh.crew import Crew
from mesh.instance import Instance, Phase
from mesh.plan import SIDECAR_END_S, Part

# An app that was left by its sidecar has nothing of the mesh under way.
APP_END_S = 2.0
KILLED_S = 2.0
# How often a sidecar is asked whether its app may go.
ASK_S = 0.1
ASK_TIMEOUT = aiohttp.ClientTimeout(total=1.0)


class Ending:
    """Ends instances; `drain_s` is how long requests under way may take."""

    def __init__(
        self,
        crew: Crew,
        changes: Changes,
        session: aiohttp.ClientSession,
        drain_s: float,
        clock: Callable[[], float],
    ) -> None:
        self.drain_s = drain_s
        self._crew = crew
        self._changes = changes
        self._session = session
        self._clock = clock

    async def end(self, instance: Instance, until: float | None = None) -> None:
        """Returns when its processes are gone; `until` is the time when the limit is over."""
        until = self._clock() + self.drain_s if until is None else until
        for part in instance.parts:
            instance.stay_down(part)
        if any(record.phase is Phase.FROZEN for record in instance.parts.values()):
            until = self._clock()  # nothing under way can finish
        if Part.SIDECAR in instance.parts:
            self._ask_to_end(instance, Part.SIDECAR)
            await self._drained(instance, until)
        if Part.APP in instance.parts:
            self._ask_to_end(instance, Part.APP)
            await self._gone(instance, Part.APP, APP_END_S)
        if Part.SIDECAR in instance.parts:
            left = max(0.0, until - self._clock())
            await self._gone(instance, Part.SIDECAR, left + SIDECAR_END_S)

    def _ask_to_end(self, instance: Instance, part: Part) -> None:
        frozen = instance.parts[part].phase is Phase.FROZEN
        self._crew.signal(instance, part, signal.SIGKILL if frozen else signal.SIGTERM)

    async def _drained(self, instance: Instance, until: float) -> None:
        """Until nothing that came in is left, or the time is over."""
        while instance.parts[Part.SIDECAR].alive and self._clock() < until:
            if Part.APP in instance.parts and await self._inbound_closed(instance):
                return
            await self._changes.wait_for(lambda: not instance.parts[Part.SIDECAR].alive, ASK_S)

    async def _inbound_closed(self, instance: Instance) -> bool:
        try:
            async with self._session.get(f"{instance.plan.admin}/snapshot", timeout=ASK_TIMEOUT) as answer:
                snapshot = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return False  # it is just ending, or does not answer: the limit is there for that
        return isinstance(snapshot, dict) and snapshot.get("inbound_closed") is True

    async def _gone(self, instance: Instance, part: Part, seconds: float) -> None:
        def gone() -> bool:
            return not instance.parts[part].alive

        if not await self._changes.wait_for(gone, seconds):
            self._crew.signal(instance, part, signal.SIGKILL)
            await self._changes.wait_for(gone, KILLED_S)


async def end_all(ending: Ending, instances: Iterable[Instance], until: float | None = None) -> None:
    """All at once."""
    async with asyncio.TaskGroup() as tasks:
        for instance in instances:
            tasks.create_task(ending.end(instance, until), name=f"end {instance.plan.name}")
