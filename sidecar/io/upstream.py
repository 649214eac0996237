"""One connection to a backend: at most one exchange at a time, kept idle in its pool between them."""

from __future__ import annotations

import logging
from typing import Protocol

from ..wire.events import END, Header, ProtocolError, RequestHead, ResponseHead, Trailers
from ..wire.forward import disbelieve
from ..wire.framing import is_plain
from ..wire.limits import Limits
from ..wire.response_parser import ResponseParser
from .connection import Connection
from .outbox import Outbox
from .tunnel import Tunnel

log = logging.getLogger(__name__)

# Nobody's server forgets a connection's state this late; it bounds what one poisoned connection could do.
MAX_EXCHANGES = 100_000


class ResponseHandler(Protocol):
    """What an exchange is to its backend connection."""

    def response_head(self, head: ResponseHead) -> None: ...
    def response_body(self, data: bytes) -> None: ...
    def response_trailers(self, fields: list[Header]) -> None: ...
    def response_end(self) -> None: ...
    def response_flush(self) -> None:
        """The events of one read are through: send on what they gave."""

    def upstream_failed(self, connection: UpstreamConnection, error: ProtocolError | None) -> None:
        """The response will not be completed; None = the connection was lost."""

    def upstream_writable(self, writable: bool) -> None: ...
    def crashed(self) -> None:
        """An error of our own came up while an event was handled: end the exchange, whatever its state."""


class ConnectionOwner(Protocol):
    """What a pool is to its connections."""

    def lost(self, connection: UpstreamConnection) -> None: ...


class UpstreamConnection(Connection):
    """A backend connection. `begin` an exchange on it, `write`, and give it back to the pool."""

    __slots__ = (
        "_believed", "_limits", "_paused", "_pool", "_tunnel", "adopted", "born", "handler", "idle_since",
        "keep_alive", "parser", "request_done", "reset", "used",
    )  # fmt: skip

    def __init__(self, pool: ConnectionOwner, limits: Limits, outbox: Outbox, believed: bool = True) -> None:
        super().__init__(outbox)
        self._believed = believed  # it may speak in the mesh's name
        self._pool = pool
        self._limits = limits
        self.parser = ResponseParser(limits)
        self.handler: ResponseHandler | None = None
        self.adopted = False  # the pool counts it
        self.used = 0  # exchanges begun
        self.born = 0.0
        self.idle_since = 0.0
        self.request_done = True
        self.reset = False  # the other side ended it by RST, not by FIN
        self.keep_alive = True
        self._tunnel: Tunnel | None = None
        self._paused = False

    @property
    def reused(self) -> bool:
        """Whether the current exchange is not the connection's first: its loss may be the keep-alive race."""
        return self.used > 1

    @property
    def reusable(self) -> bool:
        """RFC 9112 section 9.3 and h11's rule: both messages whole, both sides willing, nothing left over.

        And none that the backend could have delimited in another way (`is_plain`).
        """
        transport = self.transport
        return (
            transport is not None
            and not transport.is_closing()
            and self.request_done
            and self.keep_alive
            and self.parser.reusable
            and self.used < MAX_EXCHANGES
        )

    def begin(self, handler: ResponseHandler, head: RequestHead) -> None:
        """Bind an exchange; its request is about to be written."""
        self.handler = handler
        self.used += 1
        self.request_done = False
        self.keep_alive = is_plain(head)
        self.parser.expect(head.method)

    def detach(self) -> None:
        """The exchange is through with this connection; no more events reach it."""
        self.handler = None
        if self._paused:  # its client was slow; the next one's need not be
            self.resume_reading()

    def abort(self) -> None:
        """Cut the connection now: a clean close could make half a request look whole."""
        self.handler = None
        self.abort_raw()

    def pause_reading(self) -> None:
        self._paused = True
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def tunnel_through(self, tunnel: Tunnel) -> bytes:
        """From here on bytes are relayed as they are; returns those that came behind the 101."""
        self._tunnel = tunnel
        self.handler = None
        unread, self.parser.unread = self.parser.unread, b""
        return unread

    # -- asyncio.Protocol --------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.data(self, data)
            return
        handler = self.handler
        if handler is None:  # unasked for, as a 408 on an idle connection: never anybody's answer
            self.abort()
            return
        try:
            for event in self.parser.feed(data):
                kind = type(event)
                if kind is ResponseHead:
                    head: ResponseHead = event  # type: ignore[assignment]  # just checked, without isinstance
                    if not (head.interim or head.keep_alive):
                        self.keep_alive = False
                    if not self._believed:
                        disbelieve(head)
                    handler.response_head(head)
                elif kind is bytes:
                    handler.response_body(event)  # type: ignore[arg-type]  # just checked
                elif event is END:
                    handler.response_end()
                elif isinstance(event, Trailers):
                    handler.response_trailers(event.fields)
                else:
                    assert isinstance(event, ProtocolError)
                    handler.upstream_failed(self, event)
                if self.handler is not handler:
                    return
            handler.response_flush()
        except Exception:
            self._crash(handler)

    def _crash(self, handler: ResponseHandler) -> None:
        """uvloop would only log it and go on; the exchange must give back what it holds."""
        log.exception("an error of our own, while a response was handled")
        self.abort()
        handler.crashed()

    def eof_received(self) -> bool:
        if self._tunnel is not None:
            self._tunnel.ended(self)
            return True
        handler = self.handler
        if handler is not None:
            try:
                event = self.parser.eof()
                if event is END:
                    handler.response_end()
                else:
                    self.handler = None  # told once; `connection_lost` follows
                    handler.upstream_failed(self, None)
            except Exception:
                self._crash(handler)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self.reset = error is not None
        handler, self.handler = self.handler, None
        if handler is not None:
            try:
                handler.upstream_failed(self, None)
            except Exception:
                self._crash(handler)
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.lost(self, error)
        self._pool.lost(self)

    def pause_writing(self) -> None:
        self._writable(False)

    def resume_writing(self) -> None:
        self._writable(True)

    def _writable(self, writable: bool) -> None:
        handler = self.handler
        if self._tunnel is not None:
            self._tunnel.writable(self, writable)
        elif handler is not None:
            try:
                handler.upstream_writable(writable)
            except Exception:
                self._crash(handler)

    def read_raw(self, on: bool) -> None:
        if on:
            self.resume_reading()
        else:
            self.pause_reading()
