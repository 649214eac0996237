"""The connections to one endpoint: idle ones last-in first-out, waiters first-in first-out.

Idle connections keep their protocol attached, so one that the peer closes leaves the pool at once
and nobody has to look for dead ones.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeAlias

from ..errors import Flag, MeshError
from ..wire.limits import DEFAULT_LIMITS, Limits
from .deadlines import Deadlines, Timer
from .upstream import UpstreamConnection

Spawn: TypeAlias = Callable[[Coroutine[Any, Any, None], str], object]
"""Starts a named task that its owner (a TaskGroup) awaits."""

# Servers close idle connections after 5 s (uvicorn) to 75 s (nginx); staying below the shortest keeps
# the keep-alive race rare.
IDLE_TIMEOUT_S = 4.0
CONNECT_TIMEOUT_S = 0.5
# One exchange a connection: this caps what one caller may ask of one endpoint at once.
MAX_CONNECTIONS = 256


class Waiter(Protocol):
    """An exchange that asked for a connection."""

    def connected(self, connection: UpstreamConnection) -> None: ...
    def connect_failed(self, error: MeshError) -> None: ...


class Pool:
    """Connections to one host and port."""

    __slots__ = (
        "_clock", "_closed", "_connecting", "_deadlines", "_idle", "_limits", "_spawn", "_timer",
        "_waiters", "active", "connect_timeout", "host", "idle_timeout", "max_connections", "port",
    )  # fmt: skip

    def __init__(
        self,
        host: str,
        port: int,
        spawn: Spawn,
        deadlines: Deadlines,
        clock: Callable[[], float],
        *,
        limits: Limits = DEFAULT_LIMITS,
        max_connections: int = MAX_CONNECTIONS,
        idle_timeout: float = IDLE_TIMEOUT_S,
        connect_timeout: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self.host = host
        self.port = port
        self.max_connections = max_connections
        self.idle_timeout = idle_timeout
        self.connect_timeout = connect_timeout
        self.active = 0
        self._spawn = spawn
        self._deadlines = deadlines
        self._clock = clock
        self._limits = limits
        self._idle: deque[UpstreamConnection] = deque()
        self._waiters: deque[Waiter] = deque()
        self._connecting = 0
        self._closed = False
        self._timer = Timer(self._expire_idle)

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def pending(self) -> int:
        return len(self._waiters)

    def __repr__(self) -> str:
        return (
            f"<Pool {self.host}:{self.port} active={self.active} idle={self.idle} "
            f"connecting={self._connecting} waiting={self.pending}>"
        )

    def acquire(self, waiter: Waiter, *, fresh: bool = False) -> UpstreamConnection | None:
        """An idle connection at once; or None, and the waiter is called when there is one.

        Args:
            fresh: do not take an idle one; its neighbour has just turned out to be dead.
        """
        if not fresh:
            idle = self._idle
            while idle:
                connection = idle.pop()
                self.active += 1
                if connection.reusable:
                    return connection
                connection.abort()  # `lost` counts it out
        self._waiters.append(waiter)
        self._start_connect()
        return None

    def cancel(self, waiter: Waiter) -> None:
        """The waiter does not want one any more."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def release(self, connection: UpstreamConnection) -> None:
        """An exchange is through; the connection serves the next waiter, or idles, or is closed."""
        connection.detach()
        if not connection.reusable or self._closed:
            if connection.request_done:
                connection.close()
            else:
                connection.abort()
            return  # `lost` counts it out
        if self._waiters:
            self._waiters.popleft().connected(connection)
            return
        self.active -= 1
        self._park(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """A connection is gone, idle or active."""
        if connection in self._idle:
            self._idle.remove(connection)
            return
        self.active -= 1
        if self._connecting < len(self._waiters):
            self._start_connect()

    def close(self) -> None:
        """Close what idles; what is in use goes on to its end."""
        self._closed = True
        self._timer.cancel()
        while self._idle:
            self.active += 1  # `lost` counts it out
            self._idle.pop().close()

    def _park(self, connection: UpstreamConnection) -> None:
        connection.idle_since = self._clock()
        self._idle.append(connection)
        if self._timer.deadline > connection.idle_since + self.idle_timeout:
            self._deadlines.arm(self._timer, connection.idle_since + self.idle_timeout)

    def _expire_idle(self) -> None:
        before = self._clock() - self.idle_timeout + 0.001
        while self._idle and self._idle[0].idle_since <= before:
            self.active += 1  # `lost` counts it out
            self._idle.popleft().close()
        if self._idle:
            self._deadlines.arm(self._timer, self._idle[0].idle_since + self.idle_timeout)

    def _start_connect(self) -> None:
        if self.active + self._connecting < self.max_connections:
            self._connecting += 1
            self._spawn(self._connect(), f"connect {self.host}:{self.port}")

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.connect_timeout):
                _, connection = await loop.create_connection(
                    lambda: UpstreamConnection(self, self._limits), self.host, self.port
                )
        except (OSError, TimeoutError) as error:
            self._connecting -= 1
            if self._waiters:
                failure = MeshError(Flag.UF, f"{self.host}:{self.port}: {str(error) or 'timed out'}")
                failure.__cause__ = error
                self._waiters.popleft().connect_failed(failure)
            return
        self._connecting -= 1
        self.active += 1
        if self._waiters:
            self._waiters.popleft().connected(connection)
        elif self._closed:
            connection.close()
        else:
            self.active -= 1
            self._park(connection)
