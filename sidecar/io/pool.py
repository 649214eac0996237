"""The connections to one endpoint: idle ones last-in first-out, waiters first-in first-out.

Idle connections keep their protocol attached, so one that the peer closes leaves the pool at once
and nobody has to look for dead ones. Who waits is bounded in number and in time.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeAlias

from ..errors import Flag, MeshError
from ..wire.limits import DEFAULT_LIMITS, Limits
from .deadlines import Deadlines, Timer
from .keepalive import KeepAlive, keep_alive
from .outbox import AT_ONCE, Outbox
from .tls import Tls
from .upstream import UpstreamConnection

log = logging.getLogger(__name__)

Spawn: TypeAlias = Callable[[Coroutine[Any, Any, None], str], object]
"""Starts a named task that its owner (a TaskGroup) awaits."""

# Servers close idle connections after 5 s (uvicorn) to 75 s (nginx); staying below the shortest keeps
# the keep-alive race rare.
IDLE_TIMEOUT_S = 4.0
# Endpoints move (a load balancer behind a name, a new kernel of the peer): an hour is Envoy's usual advice.
MAX_AGE_S = 3600.0
CONNECT_TIMEOUT_S = 0.5
# How much may be asked at once is the bulkhead's word: it knows the rule. A pool that had a smaller limit of
# its own would win without a word, so these are as many as one address has ports.
MAX_CONNECTIONS = 65_535
MAX_WAITING = 65_535
# A queue bounded only by length hides overload as latency, so by time too. It is at least twice as long as a
# connect may take, so that a slow connect is told as what it is.
MAX_WAIT_S = 1.0
# More at once do not fit into the accept queue of most servers (asyncio's has 100 places): their SYN is
# dropped and sent anew after a second, which looks as if the endpoint were dead.
MAX_CONNECTING = 64
# Said by our own system: it says nothing about the endpoint.
_OUR_OWN = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL))


class Waiter(Protocol):
    """An exchange that asked for a connection; one of these three is called once, unless it cancels."""

    def connected(self, connection: UpstreamConnection) -> None: ...
    def connect_failed(self, error: MeshError) -> None: ...
    def crashed(self) -> None: ...


class Pool:
    """Connections to one host and port.

    `active` are lent out (or on their way to be closed), `idle` are here, `tunnels` will never come back.
    """

    __slots__ = (
        "_believed", "_clock", "_closed", "_connecting", "_deadlines", "_idle", "_limits", "_outbox",
        "_spawn", "_timer", "_tls", "_wait_timer", "_waiters", "active", "connect_timeout", "host",
        "idle_timeout", "keep_alive", "max_connections", "max_requests", "max_wait", "max_waiting",
        "port", "tunnels",
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
        max_waiting: int = MAX_WAITING,
        max_wait: float = MAX_WAIT_S,
        idle_timeout: float = IDLE_TIMEOUT_S,
        connect_timeout: float = CONNECT_TIMEOUT_S,
        max_requests: int = 0,
        keep_alive: KeepAlive | None = None,
        outbox: Outbox = AT_ONCE,
        believed: bool = True,
        tls: Tls | None = None,
    ) -> None:
        self._tls = tls  # None = plain
        self._believed = believed  # what is there may speak in the mesh's name
        self.host = host
        self.port = port
        self.max_connections = max_connections
        self.max_waiting = max_waiting
        self.max_wait = max_wait
        self.idle_timeout = idle_timeout
        self.connect_timeout = connect_timeout
        self.max_requests = max_requests  # of one connection; 0 = the protocol's own cap
        self.keep_alive = keep_alive
        self.active = 0
        self.tunnels = 0
        self._spawn = spawn
        self._deadlines = deadlines
        self._clock = clock
        self._limits = limits
        self._outbox = outbox
        self._idle: deque[UpstreamConnection] = deque()
        self._waiters: deque[tuple[Waiter, float]] = deque()  # with the time when its wait is over
        self._connecting = 0
        self._closed = False
        self._timer = Timer(self._expire_idle)
        self._wait_timer = Timer(self._expire_waiting)

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def pending(self) -> int:
        return len(self._waiters)

    @property
    def connecting(self) -> int:
        return self._connecting

    @property
    def _patience(self) -> float:
        return max(self.max_wait, 2 * self.connect_timeout)

    def __repr__(self) -> str:
        return (
            f"<Pool {self.host}:{self.port} active={self.active} idle={self.idle} "
            f"connecting={self._connecting} waiting={self.pending} tunnels={self.tunnels}>"
        )

    def acquire(self, waiter: Waiter, *, fresh: bool = False) -> UpstreamConnection | None:
        """An idle connection at once; or None, and the waiter is called when there is one.

        Args:
            fresh: do not take an idle one; its neighbour has just turned out to be dead.

        Raises:
            MeshError: UO, when too many wait already.
        """
        if not fresh:
            idle = self._idle
            while idle:
                connection = idle.pop()
                self.active += 1
                if connection.reusable:
                    return connection
                connection.abort()  # `lost` counts it out
        if len(self._waiters) >= self.max_waiting:
            raise MeshError(Flag.UO, f"{self.max_waiting} requests wait for a connection")
        until = self._clock() + self._patience
        self._waiters.append((waiter, until))
        if self._wait_timer.deadline > until:
            self._deadlines.arm(self._wait_timer, until)
        self._fill()
        return None

    def cancel(self, waiter: Waiter) -> None:
        """The waiter does not want one any more."""
        for entry in self._waiters:
            if entry[0] is waiter:
                self._waiters.remove(entry)
                return

    def release(self, connection: UpstreamConnection) -> None:
        """An exchange is through; the connection serves the next waiter, or idles, or is closed."""
        connection.detach()
        spent = 0 < self.max_requests <= connection.used
        if spent or not connection.reusable or self._closed:
            if connection.request_done:
                connection.close_raw()
            else:
                connection.abort()
            return  # `lost` counts it out
        self._place(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """A connection is gone, idle or active."""
        if not connection.adopted:
            return  # still being made: `_connect` sees it
        connection.adopted = False
        if connection in self._idle:
            self._idle.remove(connection)
            return
        self.active -= 1
        self._fill()

    def keep_out(self, connection: UpstreamConnection) -> None:
        """The connection became a tunnel; it counts as one until its `tunnel_over`."""
        connection.adopted = False
        self.active -= 1
        self.tunnels += 1
        self._fill()

    def tunnel_over(self) -> None:
        self.tunnels -= 1

    def limit(
        self,
        *,
        connect_timeout: float,
        idle_timeout: float,
        max_requests: int,
        keep_alive: KeepAlive | None = None,
    ) -> None:
        """Other limits from now on; connections that are there stay."""
        self.connect_timeout = connect_timeout
        self.idle_timeout = idle_timeout
        self.max_requests = max_requests
        self.keep_alive = keep_alive

    def close(self) -> None:
        """Close what idles; what is in use goes on to its end."""
        self._closed = True
        self._timer.cancel()
        while self._idle:
            self.active += 1  # `lost` counts it out
            self._idle.pop().close_raw()

    # -- inside ------------------------------------------------------------------------------------

    def _place(self, connection: UpstreamConnection) -> None:
        """Give a free connection to who waits longest, or keep it."""
        if self._waiters:
            waiter, _ = self._waiters.popleft()
            try:
                waiter.connected(connection)
            except Exception:
                log.exception("an error of our own, while a request was sent")
                connection.abort()
                waiter.crashed()
            return
        now = self._clock()
        if now - connection.born > MAX_AGE_S:
            connection.close_raw()
            return
        self.active -= 1
        connection.idle_since = now
        self._idle.append(connection)
        if self._timer.deadline > now + self.idle_timeout:
            self._deadlines.arm(self._timer, now + self.idle_timeout)

    def _expire_idle(self) -> None:
        before = self._clock() - self.idle_timeout + 0.001
        while self._idle and self._idle[0].idle_since <= before:
            self.active += 1  # `lost` counts it out
            self._idle.popleft().close_raw()
        if self._idle:
            self._deadlines.arm(self._timer, self._idle[0].idle_since + self.idle_timeout)

    def _expire_waiting(self) -> None:
        now = self._clock() + 0.001
        while self._waiters and self._waiters[0][1] <= now:
            waiter, _ = self._waiters.popleft()
            self._tell(waiter, MeshError(Flag.UO, f"no connection became free within {self._patience:g} s"))
        if self._waiters:
            self._deadlines.arm(self._wait_timer, self._waiters[0][1])

    def _fill(self) -> None:
        """Make as many connections as there are who wait, up to the caps."""
        most = min(len(self._waiters), MAX_CONNECTING)
        while self._connecting < most and self.active + self._connecting < self.max_connections:
            self._connecting += 1
            self._spawn(self._connect(), f"connect {self.host}:{self.port}")

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        connection: UpstreamConnection | None = None
        flag, reason = Flag.UF, "closed as soon as it was open"
        try:
            async with asyncio.timeout(self.connect_timeout):
                options: dict[str, Any] = {}
                if self._tls is not None:
                    options["ssl"] = await self._tls.context()
                    options["server_hostname"] = self._tls.server_name
                transport, made = await loop.create_connection(
                    lambda: UpstreamConnection(self, self._limits, self._outbox, self._believed),
                    self.host,
                    self.port,
                    **options,
                )
            if self._tls is not None:
                self._check(self._tls, transport, made)
            connection = made
        except TimeoutError:
            reason = f"not connected within {self.connect_timeout:g} s"
        except (OSError, ValueError) as error:  # ValueError: a name that no resolver takes
            reason = str(error)
            if isinstance(error, OSError) and error.errno in _OUR_OWN:
                flag = Flag.UO
        finally:
            self._connecting -= 1
        if connection is not None and connection.transport is not None:
            self.active += 1
            connection.adopted = True
            connection.born = self._clock()
            if self.keep_alive is not None:
                keep_alive(connection.transport, self.keep_alive)
            if self._closed and not self._waiters:
                connection.close_raw()
            else:
                self._place(connection)
        elif self._waiters:
            waiter, _ = self._waiters.popleft()
            self._tell(waiter, MeshError(flag, f"{self.host}:{self.port}: {reason}"))
        self._fill()

    @staticmethod
    def _check(tls: Tls, transport: asyncio.BaseTransport, made: UpstreamConnection) -> None:
        try:
            tls.check(transport)
        except OSError:
            made.abort()  # not a byte of a request went there
            raise

    @staticmethod
    def _tell(waiter: Waiter, error: MeshError) -> None:
        """There is no connection for it; what it makes of that must not cost the others theirs."""
        try:
            waiter.connect_failed(error)
        except Exception:
            log.exception("an error of our own, when there was no connection")
            waiter.crashed()
