"""The client: sends requests over pooled keep-alive connections and tells each one's end, exactly once."""

import asyncio
import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from loadgen.connection import REFUSED, RESET, TIMEOUT, Connection
from loadgen.tally import Tally
from loadgen.target import Target

IDLE_SECONDS = 4.0
"""An idle connection is closed after this, below the 5 s at which the most impatient common servers (Node)
close theirs: a request must not fail because it met a connection that was just being closed."""

_REASONS = {
    errno.ECONNREFUSED: REFUSED,
    errno.ECONNRESET: RESET,
    errno.ECONNABORTED: RESET,
    errno.EPIPE: RESET,
    errno.ETIMEDOUT: TIMEOUT,
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EMFILE: "no_descriptors",
    errno.ENFILE: "no_descriptors",
    errno.EADDRNOTAVAIL: "no_ports",
}


@dataclass(eq=False, slots=True)
class Exchange:
    """One request from its intended start to its end; times are seconds of the runner's clock."""

    intended: float
    sent: float
    tally: Tally
    trace_id: str
    sampled: bool
    connection: Connection | None = None
    connecting: "asyncio.Task[None] | None" = field(default=None, repr=False)


Done = Callable[[Exchange, int | None, str | None], None]
"""Told once per exchange: its status or None, and a reason when there is no whole answer."""


class Pool:
    """Gives each request an idle connection, the most recently used first, or opens one; never queues.

    So a new connection costs its request the time to connect, as it would cost a user. There are as many
    connections as requests in flight, which the caller limits. Requests are never repeated: a generator that
    retries hides what it should measure. A request that has no answer `timeout` seconds after its send ends
    as such when `sweep` runs.
    """

    def __init__(
        self,
        target: Target,
        done: Done,
        tasks: asyncio.TaskGroup,
        *,
        timeout: float,
        clock: Callable[[], float],
    ) -> None:
        self._target = target
        self._done = done
        self._tasks = tasks
        self._timeout = timeout
        self._clock = clock
        self._idle: list[Connection] = []
        self._by_connection: dict[Connection, Exchange] = {}
        # insertion order is the order of sends, so the oldest stand first and a sweep stops early
        self._in_flight: dict[Exchange, None] = {}

    @property
    def in_flight(self) -> int:
        """Requests that were sent and have not ended."""
        return len(self._in_flight)

    @property
    def idle(self) -> int:
        """Connections that wait for a request; some may have been closed by the server since."""
        return len(self._idle)

    def request(self, exchange: Exchange, payload: bytes) -> None:
        """Send now, or as soon as a new connection stands."""
        self._in_flight[exchange] = None
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                self._carry(connection, exchange, payload)
                return
        exchange.connecting = self._tasks.create_task(self._connect(exchange, payload), name="connect")

    def sweep(self) -> None:
        """End what has waited too long, and close what has idled too long."""
        now = self._clock()
        late = []
        for exchange in self._in_flight:
            if now - exchange.sent < self._timeout:
                break
            late.append(exchange)
        for exchange in late:
            self._abandon(exchange)
            self._end(exchange, None, TIMEOUT)
        keep = 0
        while keep < len(self._idle) and now - self._idle[keep].idle_since >= IDLE_SECONDS:
            self._idle[keep].abort()
            keep += 1
        del self._idle[:keep]  # the list is a stack: the longest idle ones lie at its bottom

    def close(self) -> int:
        """Close every connection; answer how many requests were cut off, which are told to nobody."""
        for connection in self._idle:
            connection.abort()
        self._idle.clear()
        cut = list(self._in_flight)
        for exchange in cut:
            self._abandon(exchange)
        self._in_flight.clear()
        return len(cut)

    def answered(self, connection: Connection, status: int, reusable: bool) -> None:
        """The connection's request has its answer."""
        if reusable:
            connection.idle_since = self._clock()
            self._idle.append(connection)
        self._end(self._by_connection.pop(connection), status, None)

    def broke(self, connection: Connection, reason: str) -> None:
        """The connection's request will have no answer."""
        self._end(self._by_connection.pop(connection), None, reason)

    async def _connect(self, exchange: Exchange, payload: bytes) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(self), self._target.host, self._target.port
            )
        except OSError as error:
            exchange.connecting = None
            self._end(exchange, None, connect_reason(error))
            return
        exchange.connecting = None
        if connection.closed:
            self._end(exchange, None, RESET)
        else:
            self._carry(connection, exchange, payload)

    def _carry(self, connection: Connection, exchange: Exchange, payload: bytes) -> None:
        exchange.connection = connection
        self._by_connection[connection] = exchange
        connection.send(payload)

    def _abandon(self, exchange: Exchange) -> None:
        if exchange.connecting is not None:
            exchange.connecting.cancel()
            exchange.connecting = None
        if exchange.connection is not None:
            self._by_connection.pop(exchange.connection, None)
            exchange.connection.abort()

    def _end(self, exchange: Exchange, status: int | None, reason: str | None) -> None:
        if exchange in self._in_flight:
            del self._in_flight[exchange]
            exchange.connection = None
            self._done(exchange, status, reason)


def connect_reason(error: OSError) -> str:
    """The word under which a failed connect is counted; one of a fixed set."""
    if isinstance(error, socket.gaierror):
        return "name_not_found"
    if error.errno is None and isinstance(error, ConnectionError):
        return REFUSED if isinstance(error, ConnectionRefusedError) else RESET
    return _REASONS.get(error.errno or 0, "connect_failed")
