"""Exchanges that wait for a place at a target whose bulkhead is full: first in, first out, not for long."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .attempt import Target
    from .exchange import Exchange


class Waiting:
    """The queues of one proxy. The bulkhead counts who waits and bounds it; here they only stand in order."""

    __slots__ = ("queues",)

    def __init__(self) -> None:
        self.queues: dict[str, deque[Exchange]] = {}
        """Empty, and so falsy, in normal operation: ending a request then costs one look."""

    def join(self, target: Target, exchange: Exchange) -> None:
        self.queues.setdefault(target.name, deque()).append(exchange)

    def leave(self, target: Target, exchange: Exchange) -> None:
        """The exchange gave up."""
        queue = self.queues[target.name]
        queue.remove(exchange)
        if not queue:
            del self.queues[target.name]
        target.abandon_wait()

    def promote(self, target: Target) -> None:
        """A place came free: the first goes in, and on, as long as there is room."""
        queue = self.queues.get(target.name)
        while queue and target.promote():
            exchange = queue.popleft()
            if not queue:
                del self.queues[target.name]
            exchange.admitted()
