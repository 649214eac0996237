"""Faults as people put and end them: `Fault` documents with a target that exists and a time that ends.

Sidecars stop acting on a fault by themselves when its time is over; here its document is removed then, so
that a sidecar that starts later does not begin it anew.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mesh import fault_text
from mesh.control.fault_ends import FaultEnds
from mesh.control.operator import Observed
from mesh.control.policy_desk import PolicyDesk
from mesh.control.policy_rows import Document, unknown_policy
from mesh.errors import MeshError, UsageError
from mesh.policies import PolicyStore, Stored
from mesh.words import unknown_name

log = logging.getLogger("mesh.faults")

UP_S = 0.5
AGAIN_S = 5.0
# Who ends a fault whose time is over, in the journal.
TIME = "time"


class FaultDesk:
    """One for a mesh; `wall_clock` is seconds since the epoch."""

    def __init__(
        self, desk: PolicyDesk, store: PolicyStore, observed: Observed, wall_clock: Callable[[], float]
    ) -> None:
        self._desk = desk
        self._store = store
        self._observed = observed
        self._wall_clock = wall_clock
        self._ends = FaultEnds()

    async def faults(self) -> Document:
        """The faults in force, with what is left of their time."""
        stored = [each for each in await self._store.read() if each.key.startswith("Fault/") and each.raw]
        now = self._wall_clock()
        self._ends.see(stored, now)
        understood = await self._desk.understood(stored)
        return {"faults": [self._fault_row(each, each.key in understood, now) for each in stored]}

    async def put(self, wish: Mapping[str, Any], by: str, wait_s: float) -> Document:
        """Start a fault at a `target` (service or instance), maybe with a `name`, by its spec's fields."""
        host, instance = self._target(wish.get("target"))
        spec = {
            key: value for key, value in wish.items() if key not in ("target", "name", "host", "instance")
        }
        document = fault_text.document_of(host, instance, wish.get("name"), spec)
        name = str(document["metadata"]["name"])
        before = {each.key: each.raw for each in await self._store.read()}.get(f"Fault/{name}")
        document["spec"] = fault_text.again(document["spec"], before and before.get("spec"))
        done = await self._desk.apply([document], by, dry_run=False, wait_s=wait_s)
        listed = await self.faults()
        fault = next((each for each in listed["faults"] if each["name"] == name), None)
        return {"fault": fault, "change": done["changes"][0]["change"], "sidecars": done["sidecars"]}

    async def clear(self, which: str | None, by: str, wait_s: float) -> Document:
        """End one fault by its name, all of a service or instance by its, or all; `{"cleared": [names]}`."""
        faults = (await self.faults())["faults"]
        found = [
            fault["name"]
            for fault in faults
            if which is None or fault["name"] == which or which in (fault["host"], fault["instance"])
        ]
        if which is not None and not found:
            raise unknown_policy("Fault", which, [fault["name"] for fault in faults])
        if not found:
            return {"cleared": [], "sidecars": None}
        done = await self._desk.delete([f"Fault/{name}" for name in found], by, dry_run=False, wait_s=wait_s)
        return {"cleared": found, "sidecars": done["sidecars"]}

    async def run(self) -> None:
        """Follow the policies and end faults whose time is over, until cancelled."""
        while self._observed.status().get("phase") != "up":  # noqa: ASYNC110 - both operators can only be asked
            await asyncio.sleep(UP_S)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="follow the policies")
            while True:
                ended = await self._ends.wait(self._wall_clock)
                try:
                    await self._remove_ended(ended)
                except MeshError as error:
                    log.warning("faults %s: %s", ", ".join(ended), error)
                    await asyncio.sleep(AGAIN_S)

    async def _follow(self) -> None:
        while True:
            try:
                async for stored in self._store.follow():
                    self._ends.see(stored, self._wall_clock())
            except MeshError as error:
                log.warning("%s", error)
                await asyncio.sleep(AGAIN_S)

    async def _remove_ended(self, keys: Sequence[str]) -> None:
        there = {each.key for each in await self._store.read()}
        ended = [key for key in keys if key in there]
        if ended:
            await self._desk.delete(ended, TIME, dry_run=False, wait_s=0.0)

    def _target(self, word: object) -> tuple[str, str | None]:
        if not isinstance(word, str):
            raise UsageError("target: name a service or an instance")
        status = self._observed.status()
        services = {each["service"] for each in status["instances"]}
        if word in services:
            return word, None
        for each in status["instances"]:
            if each["name"] == word:
                return each["service"], word
        if word in {each["name"] for each in status["extras"]}:
            raise UsageError(
                f"{word} has no app behind a sidecar, where faults happen: name a service or instance"
            )
        raise unknown_name(
            "service or instance", word, [*sorted(services), *(i["name"] for i in status["instances"])]
        )

    def _fault_row(self, stored: Stored, understood: bool, now: float) -> Document:
        assert stored.raw is not None
        spec = stored.raw["spec"] if understood else {}
        ends = self._ends.of(stored.key)
        return {
            "name": stored.key.partition("/")[2],
            "host": spec.get("host"),
            "instance": spec.get("instance"),
            "what": fault_text.what(spec) if understood else "nothing: it is no fault that sidecars take",
            "which": fault_text.which(spec),
            "at": stored.at,
            "ends_in_s": None if ends is None else round(max(0.0, ends - now), 1),
            "document": stored.raw,
        }
