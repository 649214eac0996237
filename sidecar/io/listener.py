"""A listening socket and its client connections: limits on how many, drain, counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ..errors import Flag
from ..wire.events import RequestHead
from ..wire.limits import DEFAULT_LIMITS, Limits
from .acceptor import Acceptor
from .deadlines import Deadlines
from .downstream import Downstream, RequestHandler
from .outbox import AT_ONCE, Outbox

# A full head must be here this long after its first byte (and the first byte after the connect).
HEADER_TIMEOUT_S = 10.0
IDLE_TIMEOUT_S = 60.0
# Bytes/s of a request body. The slowest mobile networks have ten times as much; to look at pauses alone, as
# nginx does, does not find a byte a second.
MIN_UPLOAD_RATE = 1024
# Python needs some 10 KiB for an idle connection: this many are 80 MiB and below the usual hard limit of fds.
MAX_CONNECTIONS = 8192
# On one machine all callers share 127.0.0.1, so one address may hold nearly all.
MAX_CONNECTIONS_PER_ADDRESS = 8000

ExchangeFactory: TypeAlias = Callable[[Downstream, RequestHead], RequestHandler]
RefusalSink: TypeAlias = Callable[[str, int, Flag, str], None]


class Listener(Acceptor[Downstream]):
    """Accepts HTTP connections: limits on how many, of one address and in all."""

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
        min_upload_rate: int = MIN_UPLOAD_RATE,
        max_connections: int = MAX_CONNECTIONS,
        max_per_address: int = MAX_CONNECTIONS_PER_ADDRESS,
        outbox: Outbox = AT_ONCE,
    ) -> None:
        super().__init__(name)
        self.limits = limits
        self.deadlines = deadlines
        self.clock = clock
        self.header_timeout = header_timeout
        self.idle_timeout = idle_timeout
        self.min_upload_rate = min_upload_rate
        self.outbox = outbox
        self.draining = False
        self._exchange = exchange
        self._refused = refused
        self._max_connections = max_connections
        self._max_per_address = max_per_address
        self._per_address: dict[str, int] = {}

    def _protocol(self) -> Downstream:
        return Downstream(self)

    def stop_accepting(self) -> None:
        """Close the listening socket; open connections are told to close with their next answer."""
        self.draining = True
        super().stop_accepting()
        for connection in list(self._connections):
            connection.close_if_idle()

    # -- Host, for the connections -----------------------------------------------------------------

    def opened(self, connection: Downstream) -> bool:
        address = connection.peer
        count = self._per_address.get(address, 0)
        self._add(connection)
        self._per_address[address] = count + 1
        return count < self._max_per_address and len(self._connections) <= self._max_connections

    def closed(self, connection: Downstream) -> None:
        self._remove(connection)
        count = self._per_address.get(connection.peer, 0) - 1
        if count > 0:
            self._per_address[connection.peer] = count
        else:
            self._per_address.pop(connection.peer, None)

    def exchange(self, connection: Downstream, head: RequestHead) -> RequestHandler:
        return self._exchange(connection, head)

    def refused(self, connection: Downstream, status: int, flag: Flag, reason: str) -> None:
        self._refused(connection.peer, status, flag, reason)
