"""The traffic: what the load generator last said, and the rate and pattern that it is to have."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import aiohttp

from loadgen.client import LoadClient, LoadError, LoadRefused
from mesh.errors import MeshError, UsageError
from mesh.instance import Instance, Phase
from mesh.plan import MeshPlan, Part, url

POLL_S = 1.0

# Long, and for the page rather than for a person: it reads them from the generator itself.
LEFT_OUT = frozenset({"exemplars", "latency"})


class Load:
    """Reads and steers the load generator, and remembers what it was told for when it is started again."""

    def __init__(self, plan: MeshPlan, instance: Instance, session: aiohttp.ClientSession) -> None:
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
        try:
            if pattern is not None:
                await self._client.set_pattern(pattern)
                self._pattern = pattern
            if rate is not None:
                await self._client.set_rate(rate)
                self._rate = rate
        except LoadRefused as error:
            raise UsageError(str(error)) from error
        except LoadError as error:
            raise MeshError(str(error)) from error
        await self.refresh()
        return self.document

    async def restore(self) -> None:
        """It was started again with the arguments of the first start: tell it what was said since."""
        with contextlib.suppress(MeshError):
            await self.change(self._rate, self._pattern)
