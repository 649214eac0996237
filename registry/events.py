"""User events: fired once, kept in a short memory, told apart by id. Pure but for the ids it is given."""

from __future__ import annotations

from collections import deque
from typing import Final

from registry import regexp
from registry.errors import RegistryError
from registry.model import Service, UserEvent

KEPT: Final = 256
"""Events remembered, as in Consul."""

MAX_PAYLOAD: Final = 512
"""Bytes; Consul's gossip takes no more, so no user of it sends more."""


class EventError(RegistryError):
    """An event that cannot be fired, in Consul's words."""


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
    """Whether a node with these services is meant; raises EventError for a filter that is no regular
    expression.
    """
    by_node = _filter("node", event.node_filter)
    by_service = _filter("service", event.service_filter)
    by_tag = _filter("tag", event.tag_filter)
    if not _fits(by_node, node):
        return False
    if by_service is None:
        return True
    return any(
        _fits(by_service, service.name)
        and (by_tag is None or any(_fits(by_tag, tag) for tag in service.tags))
        for service in services
    )


def _filter(kind: str, text: str) -> regexp.Regexp | None:
    try:
        return regexp.compile(text, search=True) if text else None
    except regexp.RegexpError as bad:
        raise EventError(f"Invalid {kind} filter: error parsing regexp: {bad}") from bad


def _fits(pattern: regexp.Regexp | None, text: str) -> bool:
    return pattern is None or pattern.search(text.encode("utf-8", "replace")) is not None


def index_of(event_id: str) -> int:
    """The index an event gives its list: both halves of the id, one over the other. It does not grow."""
    digits = event_id.replace("-", "")
    return int(digits[:16], 16) ^ int(digits[16:], 16)
