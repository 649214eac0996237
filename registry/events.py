"""User events: fired once, kept in a short memory, told apart by id. Pure but for the ids it is given."""

from __future__ import annotations

import re
from collections import deque
from typing import Final

from registry.model import Service, UserEvent

KEPT: Final = 256
"""Events remembered, as in Consul."""

MAX_PAYLOAD: Final = 512
"""Bytes; Consul's gossip takes no more, so no user of it sends more."""


class Events:
    """The last events that concerned this node."""

    def __init__(self) -> None:
        self._events: deque[UserEvent] = deque(maxlen=KEPT)
        # Consul's clock of events starts at 2 after its own first messages.
        self._next_ltime = 2

    def fired(self, event: UserEvent) -> UserEvent:
        """Give it its time on the event clock."""
        timed = UserEvent(
            event.id,
            event.name,
            event.payload,
            event.node_filter,
            event.service_filter,
            event.tag_filter,
            self._next_ltime,
        )
        self._next_ltime += 1
        return timed

    def keep(self, event: UserEvent) -> None:
        """Remember it."""
        self._events.append(event)

    def named(self, name: str) -> list[UserEvent]:
        """All, or all of one name, oldest first."""
        return [event for event in self._events if not name or event.name == name]


def concerns(event: UserEvent, node: str, services: list[Service]) -> bool:
    """Whether a node with these services is meant; a filter that is no regular expression means nobody."""
    try:
        if event.node_filter and not re.search(event.node_filter, node):
            return False
        if not event.service_filter:
            return True
        for service in services:
            if not re.search(event.service_filter, service.name):
                continue
            if not event.tag_filter or any(re.search(event.tag_filter, tag) for tag in service.tags):
                return True
    except re.error:
        return False
    return False


def index_of(event_id: str) -> int:
    """The index an event gives its list: both halves of the id, one over the other. It does not grow."""
    digits = event_id.replace("-", "")
    return int(digits[:16], 16) ^ int(digits[16:], 16)
