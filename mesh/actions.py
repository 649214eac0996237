"""What a person can do to an instance: kill, pause, resume, drain, heal; each may be said twice."""

import signal
from collections.abc import Callable, Sequence
from enum import StrEnum

import aiohttp

from mesh.changes import Changes
from mesh.crew import Crew
from mesh.draining import begin_draining
from mesh.errors import ActionRefused
from mesh.instance import Instance, Phase, State
from mesh.plan import SIDECAR_END_S, Part

# A signal has had its effect after milliseconds; a process in a disk wait may need longer.
EFFECT_S = 3.0


class Action(StrEnum):
    """The words of the command and of the API."""

    KILL = "kill"
    PAUSE = "pause"
    RESUME = "resume"
    DRAIN = "drain"
    HEAL = "heal"
    CUT = "cut"


class Actions:
    """Carries actions out and returns when they have had their effect."""

    def __init__(
        self,
        crew: Crew,
        changes: Changes,
        nudge: Callable[[Instance], None],
        session: aiohttp.ClientSession,
        drain_s: float,
    ) -> None:
        self._crew = crew
        self._drain_s = drain_s
        self._changes = changes
        self._nudge = nudge  # asks the sidecar at once how it is now
        self._session = session

    async def act(self, action: Action, instance: Instance, parts: Sequence[Part]) -> None:
        """Do it to these parts of the instance; raises ActionRefused."""
        match action:
            case Action.KILL:
                await self._kill(instance, parts)
            case Action.PAUSE:
                await self._pause(instance, parts)
            case Action.RESUME:
                await self._resume(instance, parts)
            case Action.DRAIN:
                await self._drain(instance)
            case Action.HEAL:
                await self._heal(instance, parts)
            case Action.CUT:
                raise ActionRefused(
                    f"{instance.plan.name} is a process in this machine's own network: "
                    "only a container can be cut off (docker compose up)"
                )

    async def _kill(self, instance: Instance, parts: Sequence[Part]) -> None:
        for part in parts:
            instance.stay_down(part)
            self._crew.signal(instance, part, signal.SIGKILL)
        await self._effect(lambda: not any(instance.parts[part].alive for part in parts))

    async def _pause(self, instance: Instance, parts: Sequence[Part]) -> None:
        alive = [part for part in parts if instance.parts[part].alive]
        if not alive:
            raise ActionRefused(f"{instance.plan.name} is down: there is nothing to pause")
        for part in alive:
            self._crew.signal(instance, part, signal.SIGSTOP)
        await self._effect(lambda: all(instance.parts[part].phase is Phase.FROZEN for part in alive))

    async def _resume(self, instance: Instance, parts: Sequence[Part]) -> None:
        for part in parts:
            self._crew.signal(instance, part, signal.SIGCONT)
        await self._effect(lambda: not any(instance.parts[part].phase is Phase.FROZEN for part in parts))

    async def _drain(self, instance: Instance) -> None:
        await begin_draining(self._session, instance)
        self._nudge(instance)
        await self._effect(lambda: instance.standing().state is State.DRAINING)

    async def _heal(self, instance: Instance, parts: Sequence[Part]) -> None:
        await self._resume(instance, parts)
        if Part.SIDECAR in parts and instance.standing().state is State.DRAINING:
            await self._end_draining(instance)
        # in the plan's order: the sidecar before its app
        for part in instance.parts:
            if part in parts:
                await self._crew.start(instance, part)
        await self._effect(lambda: instance.standing().state is not State.STARTING)

    async def _end_draining(self, instance: Instance) -> None:
        """A sidecar that drains closes its listeners for good: a new one takes its place.

        It ends when nothing is under way, or when the limit is over, which runs since the drain began.
        """

        def gone() -> bool:
            return not instance.parts[Part.SIDECAR].alive

        self._crew.signal(instance, Part.SIDECAR, signal.SIGTERM)
        if not await self._changes.wait_for(gone, self._drain_s + SIDECAR_END_S):
            await self._kill(instance, [Part.SIDECAR])

    async def _effect(self, condition: Callable[[], object]) -> None:
        await self._changes.wait_for(condition, EFFECT_S)
