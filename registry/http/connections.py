"""The listening side: which connections are cut.

Those too many, and those without a first request, do not come past `guard.door`; idle ones are cut by
aiohttp, slow bodies by `call.BODY_TIMEOUT`; here those that do not read their answer.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from aiohttp import web

log = logging.getLogger("registry")

IDLE_TIMEOUT: Final = 75.0
"""Seconds a connection may stay silent between requests, or take to send a further one's head."""

STALL_TIMEOUT: Final = 30.0
"""Seconds an answer may wait for its reader without a byte leaving."""

LARGE_ANSWER: Final = 1024 * 1024
"""Bytes from which on an answer is counted before it is sent: nobody's view of a mesh is as large."""

MAX_UNREAD: Final = 64 * 1024 * 1024
"""Bytes of answers that wait for their readers, all together; past it there are no large ones."""

MAX_CONNECTIONS: Final = 8192
"""Open at once. A thousand watchers are meant to be here; a leak of somebody's is not to take every
file descriptor."""


class Connections(web.Server):
    """aiohttp's server with a sweep."""

    def __init__(self, handler: Any, *, idle_timeout: float = IDLE_TIMEOUT, **options: Any) -> None:
        # A client that went away must not leave its blocking query behind for minutes.
        super().__init__(
            handler,
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=idle_timeout,
            lingering_time=0.0,
            **options,
        )
        self._stalled: dict[web.RequestHandler, tuple[int, float]] = {}

    def unread(self) -> int:
        """Bytes of answers that their clients have not read yet."""
        transports = [handler.transport for handler in self.connections]
        return sum(each.get_write_buffer_size() for each in transports if each is not None)

    def sweep(self, now: float) -> None:
        """Cut who does not read; call it about once a second."""
        before, self._stalled = self._stalled, {}
        for handler in self.connections:
            transport = handler.transport
            waiting = transport.get_write_buffer_size() if transport is not None else 0
            if transport is None or not waiting:
                continue
            size, since = before.get(handler, (waiting, now))
            if size != waiting:
                since = now
            if now - since >= STALL_TIMEOUT:
                log.warning("a client did not read its answer for %d s: cut", STALL_TIMEOUT)
                transport.abort()
            else:
                self._stalled[handler] = waiting, since
