"""Follows the `/events` of every sidecar, so that the journal knows what each of them noticed, and when."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

from mesh.answers import strict_json
from mesh.control.operator import Observed

log = logging.getLogger("mesh.control.listeners")

# A sidecar that ended or restarts is asked again this often; on this machine a refusal costs nothing.
AGAIN_S = 0.5
# Looks for sidecars that came or went.
LOOK_S = 0.5
CONNECT = aiohttp.ClientTimeout(total=None, sock_connect=2.0)
# A line of the stream is some hundred bytes; a larger one is not of ours.
MAX_LINE = 64 * 1024

# What comes of an event that is none; its sender is asked again, like one that fell silent.
NONSENSE = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError)

Tell = Callable[[str, Mapping[str, Any]], None]


class Listeners:
    """One connection a sidecar; `tell(instance, event)` is called in the order in which they come."""

    def __init__(self, observed: Observed, session: aiohttp.ClientSession, tell: Tell) -> None:
        self._observed = observed
        self._session = session
        self._tell = tell
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                for name in self._observed.admins():
                    if name not in self._tasks or self._tasks[name].done():
                        self._tasks[name] = tasks.create_task(self._follow(name), name=f"events of {name}")
                await asyncio.sleep(LOOK_S)

    async def _follow(self, name: str) -> None:
        last = 0
        seen = 0.0
        while (address := self._observed.admins().get(name)) is not None:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, *NONSENSE):
                headers = {"Last-Event-ID": str(last)}
                async with self._session.get(f"{address}/events", headers=headers, timeout=CONNECT) as answer:
                    async for line in answer.content:
                        if not line.startswith(b"data: ") or len(line) > MAX_LINE:
                            continue
                        event = _event(line[6:])
                        if event is None or event["time"] <= seen:
                            continue
                        last, seen = event["id"], event["time"]
                        self._told(name, event)
            # a sidecar that was started anew counts from 1 again: its first events must not be skipped
            last = 0
            await asyncio.sleep(AGAIN_S)

    def _told(self, name: str, event: Mapping[str, Any]) -> None:
        try:
            self._tell(name, event)
        except (TypeError, ValueError, AttributeError, KeyError) as error:  # one odd event is not the end
            log.warning("%s: an event that cannot be understood: %s", name, error)


def _event(text: bytes) -> dict[str, Any] | None:
    """With an id, a time and a kind; anything else is none."""
    try:
        event = strict_json(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("kind"), str):
        return None
    number, at = event.get("id"), event.get("time")
    return event if isinstance(number, int) and isinstance(at, int | float) else None
