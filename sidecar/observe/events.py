"""What happened to breakers, endpoints and health: the last few, and a live stream for `/events`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

from .lengths import WORDS
from .ring import Ring

# An hour of a flapping endpoint; a listener that reads slower than this loses the oldest.
KEPT = 512
QUEUE = 256
# An event is some 300 bytes. What a listener has not read is shared with all that read no faster.
KEPT_BYTES = 512 * 1024
# The mesh's page is one, a person another; who opens more has forgotten to close them.
MAX_LISTENERS = 64


class EventLog:
    """Appended to by policy and discovery, read by `/events`; both bounded."""

    def __init__(self, source: str, wall_clock: Callable[[], float]) -> None:
        self._source = source
        self._wall_clock = wall_clock
        self._events: Ring[dict[str, Any]] = Ring(KEPT, KEPT_BYTES)
        self._listeners: set[asyncio.Queue[dict[str, Any]]] = set()
        self._sequence = 0

    def add(self, kind: str, **fields: Any) -> None:
        """Record one event; `fields` must be ready for JSON, and of texts the beginning is kept."""
        self._sequence += 1
        event = {
            "id": self._sequence,
            "time": round(self._wall_clock(), 6),
            "source": self._source,
            "kind": kind,
            **{key: value[:WORDS] if isinstance(value, str) else value for key, value in fields.items()},
        }
        self._events.append(event, len(json.dumps(event)))
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    def since(self, last_id: int) -> list[dict[str, Any]]:
        return [event for event in self._events if event["id"] > last_id]

    @property
    def full(self) -> bool:
        """Whether as many listen as may."""
        return len(self._listeners) >= MAX_LISTENERS

    async def stream(self, last_id: int = 0) -> AsyncGenerator[dict[str, Any], None]:
        """Events after `last_id`, then new ones as they come, without end; none when the log is `full`."""
        if self.full:
            return
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(QUEUE)
        backlog = self.since(last_id)
        self._listeners.add(queue)
        try:
            for event in backlog:
                yield event
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)
