"""A listening socket and its client connections: limits on how many, drain, counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from ..wire.events import RequestHead
from ..wire.limits import DEFAULT_LIMITS, Limits
from .deadlines import Deadlines
from .downstream import Downstream, RequestHandler

# A full head must be here this long after its first byte (and the first byte after the connect).
HEADER_TIMEOUT_S = 10.0
IDLE_TIMEOUT_S = 60.0
# Python needs some 10 KiB for an idle connection: this many are 80 MiB and below the usual hard limit of fds.
MAX_CONNECTIONS = 8192
# On one machine all callers share 127.0.0.1, so one address may hold nearly all.
MAX_CONNECTIONS_PER_ADDRESS = 8000

ExchangeFactory: TypeAlias = Callable[[Downstream, RequestHead], RequestHandler]
RefusalSink: TypeAlias = Callable[[str, int, str], None]


class Listener:
    """Accepts connections and owns them until they are closed."""

    def __init__(
        self,
        name: str,
        exchange: ExchangeFactory,
        refused: RefusalSink,
        deadlines: Deadlines,
        clock: Callable[[], float],
        *,
        limits: Limits = DEFAULT_LIMITS,
        header_timeout: float = HEADER_TIMEOUT_S,
        idle_timeout: float = IDLE_TIMEOUT_S,
        max_connections: int = MAX_CONNECTIONS,
        max_per_address: int = MAX_CONNECTIONS_PER_ADDRESS,
    ) -> None:
        self.name = name
        self.limits = limits
        self.deadlines = deadlines
        self.clock = clock
        self.header_timeout = header_timeout
        self.idle_timeout = idle_timeout
        self.draining = False
        self._exchange = exchange
        self._refused = refused
        self._max_connections = max_connections
        self._max_per_address = max_per_address
        self._connections: set[Downstream] = set()
        self._per_address: dict[str, int] = {}
        self._server: asyncio.Server | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def open(self, host: str, port: int, *, reuse_port: bool = False) -> str:
        """Listen; returns the bound address as HOST:PORT.

        Raises:
            OSError: when the address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Downstream(self), host, port, backlog=1024, reuse_port=reuse_port or None
        )
        bound = self._server.sockets[0].getsockname()
        return f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"

    def stop_accepting(self) -> None:
        """Close the listening socket; open connections go on and are told to close with their next answer."""
        self.draining = True
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.close_if_idle()

    async def drained(self, grace_s: float) -> tuple[int, int]:
        """Wait for open connections to end; returns (how many ended by themselves, how many were cut)."""
        before = len(self._connections)
        try:
            async with asyncio.timeout(grace_s):
                await self._empty.wait()
        except TimeoutError:
            pass
        cut = list(self._connections)
        for connection in cut:
            connection.cut()
        return before - len(cut), len(cut)

    # -- Host, for the connections -----------------------------------------------------------------

    def opened(self, connection: Downstream) -> bool:
        address = connection.peer
        count = self._per_address.get(address, 0)
        self._connections.add(connection)
        self._per_address[address] = count + 1
        self._empty.clear()
        return count < self._max_per_address and len(self._connections) <= self._max_connections

    def closed(self, connection: Downstream) -> None:
        self._connections.discard(connection)
        count = self._per_address.get(connection.peer, 0) - 1
        if count > 0:
            self._per_address[connection.peer] = count
        else:
            self._per_address.pop(connection.peer, None)
        if not self._connections:
            self._empty.set()

    def exchange(self, connection: Downstream, head: RequestHead) -> RequestHandler:
        return self._exchange(connection, head)

    def refused(self, connection: Downstream, status: int, reason: str) -> None:
        self._refused(connection.peer, status, reason)
