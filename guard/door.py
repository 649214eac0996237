"""How a connection comes to an aiohttp server: with a request head, within a time, and not too many at once.

aiohttp has one time for all who say nothing (`keepalive_timeout`), and no number. So whoever never sends a
head would keep a connection for as long as a client that rests between two requests, and who opens ten
thousand takes the last file descriptor of a program that has other things to do. Here a connection is
aiohttp's only when its first head is there; from then on the server's own `TIMES` hold. Bodies are the
handlers' affair (`BODY_S`): only they know which may take long.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any, Final, cast

from aiohttp import web

HEAD_S: Final = 10.0
"""For the first head, from the connect on; the sidecars' listeners have the same."""

TIMES: Final[dict[str, Any]] = {
    # Between requests, and for a further head: nginx' time, longer than most clients keep an idle connection.
    "keepalive_timeout": 75.0,
    # For what is still coming of a request that was answered before its end.
    "lingering_time": 1.0,
}
"""Arguments for aiohttp's runner or server."""

BODY_S: Final = 10.0
"""For a body that is read whole; some kilobytes, from this machine or from the next."""

MAX_CONNECTIONS: Final = 1024
"""People, scrapers and the mesh's own programs together need some dozens."""

MAX_HEAD_BYTES: Final = 64 * 1024
"""What is longer goes to aiohttp as it is, which refuses it."""

_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Door:
    """The listening side of `server`; `close` it before the server is shut down.

    Args:
        most: connections that may be open, but never more than half of what the process may have open at all.
    """

    def __init__(
        self, server: web.Server | None, most: int = MAX_CONNECTIONS, head_s: float = HEAD_S
    ) -> None:
        assert server is not None, "the runner is not set up"
        self.server: web.Server = server
        self.most = min(most, _descriptors(2 * most) // 2)
        self.head_s = head_s
        self.visitors: set[Visitor] = set()
        self._listener: asyncio.Server | None = None

    async def open(self, host: str | None = None, port: int | None = None, **how: Any) -> tuple[str, int]:
        """Listen; `how` as for the loop's `create_server`. Returns the bound host and port.

        Raises:
            OSError: when the address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: Visitor(self), host, port, **how)
        name = self._listener.sockets[0].getsockname()
        return name[0], name[1]

    def close(self) -> None:
        """Listen no more; who has not said anything yet is sent away."""
        if self._listener is not None:
            self._listener.close()
        for visitor in list(self.visitors):
            visitor.send_away()

    @property
    def crowded(self) -> bool:
        return len(self.visitors) + len(self.server.connections) > self.most


def _descriptors(wanted: int) -> int:
    """How many this process may have open; the soft limit, 256 on macOS, is raised as far as that goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    top = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= top:
        return wanted if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (top, hard))
    except (OSError, ValueError):  # a sandbox may forbid it
        return soft
    return top


class Visitor(asyncio.Protocol):
    """A connection whose first request head is not here yet."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._said = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by shape only
        self._door.visitors.add(self)
        if self._door.crowded:
            self.send_away()
        else:
            self._timer = asyncio.get_running_loop().call_later(self._door.head_s, self._late)

    def data_received(self, data: bytes) -> None:
        self._said += data
        transport = self._transport
        if transport is not None and (b"\r\n\r\n" in self._said or len(self._said) > MAX_HEAD_BYTES):
            self._leave()
            server = self._door.server()
            transport.set_protocol(server)
            server.connection_made(transport)
            server.data_received(self._said)

    def connection_lost(self, error: Exception | None) -> None:
        self._leave()

    def send_away(self) -> None:
        """Cut it, with no word."""
        transport = self._transport
        self._leave()
        if transport is not None:
            transport.abort()

    def _late(self) -> None:
        transport = self._transport
        self._leave()
        if transport is not None:
            if self._said:
                transport.write(_LATE)
            transport.close()

    def _leave(self) -> None:
        self._transport = None
        self._door.visitors.discard(self)
        if self._timer is not None:
            self._timer.cancel()
