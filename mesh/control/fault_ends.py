"""When each fault ends, and a way to wait for the next end."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mesh.policies import Stored


class FaultEnds:
    """Told what is stored, whenever somebody looks."""

    def __init__(self) -> None:
        self._ends: dict[str, tuple[object, float]] = {}
        self._changed = asyncio.Event()

    def see(self, stored: Sequence[Stored], now: float) -> None:
        """These are there now; one that nobody dated begins when it is seen first."""
        faults = [each for each in stored if each.raw is not None and each.key.startswith("Fault/")]
        fresh: dict[str, tuple[object, float]] = {}
        for each in faults:
            assert each.raw is not None
            old = self._ends.get(each.key)
            if each.at is None and old is not None and old[0] == each.raw:
                fresh[each.key] = old
            else:
                fresh[each.key] = (each.raw, (now if each.at is None else each.at) + _ttl(each.raw))
        if fresh != self._ends:
            self._ends = fresh
            self._changed.set()

    def of(self, key: str) -> float | None:
        """Seconds since the epoch."""
        found = self._ends.get(key)
        return None if found is None else found[1]

    async def wait(self, wall_clock: Callable[[], float]) -> list[str]:
        """The keys of those that are over, once there are any."""
        while True:
            self._changed.clear()
            now = wall_clock()
            over = [key for key, (_, end) in self._ends.items() if end <= now]
            if over:
                return over
            next_end = min((end for _, end in self._ends.values()), default=None)
            try:
                async with asyncio.timeout(None if next_end is None else next_end - now):
                    await self._changed.wait()
            except TimeoutError:
                pass


def _ttl(raw: Mapping[str, Any]) -> float:
    from sidecar.routing.fault_document import FaultSpec
    from sidecar.routing.fields import parse_duration

    spec = raw.get("spec")
    given = spec.get("ttl") if isinstance(spec, Mapping) else None
    try:
        return parse_duration(given)
    except ValueError:
        return float(FaultSpec.model_fields["ttl"].default)
