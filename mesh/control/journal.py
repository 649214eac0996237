"""What happened in the mesh, in order: what people did, how instances fared, what sidecars noticed.

Pure and bounded. An event is `{"id", "time", "source", "kind", …}`; ids count up from 1.
"""

import json
from collections.abc import Callable
from typing import Any

from mesh.ring import Ring

# Some minutes of a busy game day; who needs more has the supervisor's log.
KEPT = 1000
# An event is some 300 bytes; a sidecar's may be of up to 64 KiB. What is kept takes about this, as JSON.
KEPT_BYTES = 2 * 1024 * 1024

Event = dict[str, Any]


class Journal:
    """Appends events and tells who listens."""

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._events: Ring[Event] = Ring(KEPT, KEPT_BYTES)
        self._wall_clock = wall_clock
        self._last = 0
        self.listeners: list[Callable[[Event], None]] = []

    def add(self, source: str, kind: str, fields: dict[str, Any], at: float | None = None) -> Event:
        """Keep an event; `at` (seconds since the epoch) is now when the source did not say."""
        self._last += 1
        time = self._wall_clock() if at is None else at
        event = {**fields, "id": self._last, "time": round(time, 6), "source": source, "kind": kind}
        self._events.append(event, len(json.dumps(event)))
        for listener in self.listeners:
            listener(event)
        return event

    def since(self, last: int = 0, kind: str | None = None) -> list[Event]:
        """Those after the id `last`, oldest first; of one kind, or of all."""
        return [each for each in self._events if each["id"] > last and kind in (None, each["kind"])]
