"""The traffic: what the load generator last said, and the rate and pattern that it is to have."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import aiohttp

from loadgen.client import LoadClient, LoadError, LoadRefused, check
from mesh.errors import MeshError, UsageError
from mesh.instance import Instance, Phase
from mesh.plan import MeshPlan, Part, url

POLL_S = 1.0

# Long, and for the page rather than for a person: it reads them from the generator itself.
LEFT_OUT = frozenset({"exemplars", "latency"})


class Load:
    """Reads and steers the load generator, and remembers what it was told for when it is started again."""

    def __init__(self, plan: MeshPlan, instance: Instance, session: aiohttp.ClientSession) -> None:
        self._plan = plan
        self._instance = instance
        self._url = url(plan.loadgen.ports["app"], plan.loadgen.host)
        self._client = LoadClient(self._url, session)
        self._rate: float | None = None
        self._pattern: str | Mapping[str, Any] | None = None
        self._last: dict[str, Any] = {}

    @property
    def running(self) -> bool:
        """Whether it takes commands."""
        return self._instance.parts[Part.APP].phase is Phase.RUNNING

    @property
    def document(self) -> dict[str, Any]:
        """Its last status, and whether it runs; the counts of one that has ended stay."""
        return {"running": self.running, "url": self._url, **self._last}

    async def watch(self) -> None:
        """Refresh until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(POLL_S)

    async def refresh(self) -> None:
        """Ask now; keeps the last answer when there is none."""
        if self.running:
            with contextlib.suppress(LoadError):
                status = await self._client.status()
                self._last = {key: value for key, value in status.items() if key not in LEFT_OUT}

    async def change(self, rate: float | None, pattern: str | Mapping[str, Any] | None) -> dict[str, Any]:
        """Set rate, pattern or both; returns `document`. Raises UsageError for what it refuses."""
        given = {"rate": rate, "pattern": pattern}
        change = {key: value for key, value in given.items() if value is not None}
        try:
            if change:
                await self._client.steer(change)
        except LoadRefused as error:
            raise UsageError(str(error)) from error
        except LoadError as error:
            raise MeshError(str(error)) from error
        if rate is not None:
            self._rate = rate
        if pattern is not None:
            self._pattern = pattern
        await self.refresh()
        return self.document

    def check(self, rate: float | None, pattern: str | Mapping[str, Any] | None) -> None:
        """Raises UsageError for what a generator would refuse that is to be started for it."""
        begun = self._plan.traffic
        rates, patterns = (rate, self._rate, begun.rate), (pattern, self._pattern, begun.pattern)
        try:
            check(_first(*rates), _first(*patterns))
        except LoadRefused as error:
            raise UsageError(str(error)) from error

    async def restore(self) -> None:
        """It was started again with the arguments of the first start: tell it what was said since."""
        with contextlib.suppress(MeshError):
            await self.change(self._rate, self._pattern)


def _first(*known: Any) -> Any:
    return next(each for each in known if each is not None)
