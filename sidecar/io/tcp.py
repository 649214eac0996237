"""TCP as it is: a listener, its client connections, and connections to backends. Bytes go by a `Tunnel`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol, TypeAlias

from .acceptor import Acceptor
from .connection import Connection
from .outbox import AT_ONCE, Outbox
from .tunnel import DRAINED, Tunnel

log = logging.getLogger(__name__)

# A database client keeps its connection for hours; Redis allows 10,000 of them, PostgreSQL 100.
MAX_TCP_CONNECTIONS = 4096


class Session(Protocol):
    """What decides where a client's connection goes."""

    def start(self) -> None: ...
    def client_gone(self) -> None:
        """The client left before it had a backend."""

    def drained(self) -> None:
        """The time of a drain was over before it had one."""


class TcpSide(Connection):
    """One side of a relay; what is read before it has its `tunnel` is kept, one read at most."""

    __slots__ = ("_early", "_early_end", "_lost", "_peek", "tunnel")

    def __init__(self, lost: Callable[[TcpSide], None], outbox: Outbox) -> None:
        super().__init__(outbox)
        self._lost = lost
        self._early = b""
        self._early_end = False
        self._peek: Callable[[bytes, bool], bool] | None = None
        self.tunnel: Tunnel | None = None

    def peek(self, look: Callable[[bytes, bool], bool]) -> None:
        """Show it what comes, and whether that is all there will be, until it has seen enough (True); it
        stays unread.
        """
        self._peek = look

    def begin(self, tunnel: Tunnel) -> None:
        """From here on bytes are relayed."""
        self.tunnel = tunnel
        self.read_raw(True)
        if self._early:
            early, self._early = self._early, b""
            tunnel.data(self, early)
        if self._early_end:
            tunnel.ended(self)

    # -- asyncio.Protocol --------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self.tunnel is not None:
            self.tunnel.data(self, data)
        else:
            self._early += data
            self._look()
            if self._peek is None and self.tunnel is None:
                self.read_raw(False)  # uvloop forgets a pause that comes before its first read

    def eof_received(self) -> bool:
        if self.tunnel is not None:
            self.tunnel.ended(self)
        else:
            self._early_end = True
            self._look()
        return True

    def _look(self) -> None:
        look = self._peek
        if look is not None and look(self._early, self._early_end):
            self._peek = None

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        tunnel, self.tunnel = self.tunnel, None
        if tunnel is not None:
            tunnel.lost(self, error)
        self._lost(self)

    def pause_writing(self) -> None:
        if self.tunnel is not None:
            self.tunnel.writable(self, False)

    def resume_writing(self) -> None:
        if self.tunnel is not None:
            self.tunnel.writable(self, True)

    # -- RawPeer -----------------------------------------------------------------------------------

    def read_raw(self, on: bool) -> None:
        transport = self.transport
        if transport is not None and not transport.is_closing():
            if on:
                transport.resume_reading()
            else:
                transport.pause_reading()


SessionFactory: TypeAlias = Callable[["TcpClient"], Session]


class TcpClient(TcpSide):
    """A client connection of a `TcpListener`."""

    __slots__ = ("_listener", "_session", "peer")

    def __init__(self, listener: TcpListener) -> None:
        super().__init__(self._gone, listener.outbox)
        self._listener = listener
        self._session: Session | None = None
        self.peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peername = transport.get_extra_info("peername")
        self.peer = peername[0] if peername else ""
        if not self._listener.opened(self):
            self.abort_raw()
            return
        self._session = self._listener.session(self)
        try:
            self._session.start()
        except Exception:
            log.exception("an error of our own, while a connection was placed")
            self.abort_raw()

    def cut(self) -> None:
        """End of the grace."""
        if self.tunnel is not None:
            self.tunnel.cut(DRAINED)
            return
        session, self._session = self._session, None
        if session is not None:
            session.drained()
        self.abort_raw()

    def _gone(self, side: TcpSide) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.client_gone()
        self._listener.closed(self)


class TcpListener(Acceptor[TcpClient]):
    """Accepts TCP connections; to drain it only waits: TCP has no word for 'please leave'."""

    def __init__(
        self,
        name: str,
        session: SessionFactory,
        refused: Callable[[str, str], None],
        max_connections: int = MAX_TCP_CONNECTIONS,
        outbox: Outbox = AT_ONCE,
    ) -> None:
        super().__init__(name)
        self.outbox = outbox
        self.session = session
        self._refused = refused
        self._max_connections = max_connections

    def _protocol(self) -> TcpClient:
        return TcpClient(self)

    # -- for the connections -----------------------------------------------------------------------

    def opened(self, connection: TcpClient) -> bool:
        self._add(connection)
        if len(self._connections) > self._max_connections:
            self._refused(connection.peer, "too many connections")
            return False
        return True

    def closed(self, connection: TcpClient) -> None:
        self._remove(connection)
