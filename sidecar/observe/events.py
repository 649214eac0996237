"""What happened to breakers, endpoints and health: the last few, and a live stream for `/events`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

# An hour of a flapping endpoint; a listener that reads slower than this loses the oldest.
KEPT = 512
QUEUE = 256


class EventLog:
    """Appended to by policy and discovery, read by `/events`; both bounded."""

    def __init__(self, source: str, wall_clock: Callable[[], float]) -> None:
        self._source = source
        self._wall_clock = wall_clock
        self._events: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._listeners: set[asyncio.Queue[dict[str, Any]]] = set()
        self._sequence = 0

    def add(self, kind: str, **fields: Any) -> None:
        """Record one event; `fields` must be ready for JSON."""
        self._sequence += 1
        event = {
            "id": self._sequence,
            "time": round(self._wall_clock(), 6),
            "source": self._source,
            "kind": kind,
            **fields,
        }
        self._events.append(event)
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    def since(self, last_id: int) -> list[dict[str, Any]]:
        return [event for event in self._events if event["id"] > last_id]

    async def stream(self, last_id: int = 0) -> AsyncIterator[dict[str, Any]]:
        """Events after `last_id`, then new ones as they come, without end."""
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
