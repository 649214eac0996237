"""One client connection: requests in order, one exchange at a time, whatever arrives behind it waits.

The parser gives the events of one message at a time and keeps the bytes behind it, so a pipelined
request costs no more than its bytes until the one before it is answered; reading is paused meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Protocol

from ..errors import Flag
from ..wire.events import END, Header, ProtocolError, RequestEvent, RequestHead, Trailers
from ..wire.limits import Limits
from ..wire.request_parser import RequestParser
from ..wire.serialize import own_answer
from .connection import Connection
from .deadlines import Deadlines, Timer
from .flow import Hold
from .outbox import Outbox
from .pace import Pace
from .tunnel import DRAINED, Tunnel

log = logging.getLogger(__name__)

# After a refusal the client's unread bytes are still taken for this long and this much: closing with
# unread input sends RST, which can destroy the answer on its way. 16 MiB: an upload of that size, refused
# by its head, still reads its 413; it costs some 5 ms.
LINGER_S = 1.0
LINGER_BYTES = 16 * 1024 * 1024
# Drain: a connection that is in use gets another request within this time and with its answer the word
# to close; closing it at once could cross that request on its way.
DRAIN_IDLE_S = 0.25


class RequestHandler(Protocol):
    """What an exchange is to its client connection."""

    def request_body(self, data: bytes) -> None: ...
    def request_trailers(self, fields: list[Header]) -> None: ...
    def request_end(self) -> None: ...
    def start(self) -> None:
        """All events of the read that brought the head are in; act now."""

    def request_broken(self, error: ProtocolError) -> None: ...
    def request_slow(self) -> None:
        """The body comes at less than the minimum rate."""

    def client_gone(self) -> None: ...
    def drained(self) -> None:
        """The time that a drain gives is over."""

    def client_writable(self, writable: bool) -> None: ...
    def timer_fired(self) -> None: ...
    def crashed(self) -> None:
        """An error of our own came up while an event was handled: end, whatever the state."""


class Host(Protocol):
    """What a listener is to its connections."""

    limits: Limits
    deadlines: Deadlines
    outbox: Outbox
    clock: Callable[[], float]
    header_timeout: float
    idle_timeout: float
    min_upload_rate: int
    draining: bool

    def opened(self, connection: Downstream) -> bool: ...
    def closed(self, connection: Downstream) -> None: ...
    def exchange(self, connection: Downstream, head: RequestHead) -> RequestHandler: ...
    def refused(self, connection: Downstream, status: int, flag: Flag, reason: str) -> None:
        """A message was refused before an exchange began: count and log it."""


class Downstream(Connection):
    """A client connection. The exchange writes its answer with `write` and ends with `finished`."""

    __slots__ = (
        "_blocked", "_closing", "_exchange", "_go_on", "_holds", "_host", "_lingered", "_pace", "_parser",
        "_receiving", "_running", "_timer", "_tunnel", "_unsent", "exchange_timer", "peer",
    )  # fmt: skip

    def __init__(self, host: Host) -> None:
        super().__init__(host.outbox)
        self._host = host
        self._parser = RequestParser(host.limits)
        self._exchange: RequestHandler | None = None
        self._receiving = False  # the current request is not complete yet
        self._running = False  # `_run` is on the stack
        self._go_on = False  # the last exchange is over, the next may begin
        self._blocked = False  # the client does not take what we write
        self._holds = Hold.NONE
        self._closing = False
        self._lingered = 0
        self._pace: Pace | None = None  # of a body that did not come with its head
        self._unsent = 0
        self._tunnel: Tunnel | None = None
        self._timer = Timer(self._connection_timeout)
        self.exchange_timer = Timer(self._exchange_timeout)
        """Armed by the exchange; kept here so that each connection has one, not each request."""
        self.peer = ""

    # -- for the exchange --------------------------------------------------------------------------

    def arm(self, at: float) -> None:
        """Set the exchange's timer."""
        self._host.deadlines.arm(self.exchange_timer, at)

    def finished(self, keep_alive: bool) -> None:
        """The exchange is over and its answer written; go on with the next request, or close."""
        self._exchange = self._pace = None
        self.exchange_timer.deadline = math.inf
        if self.transport is None or self._closing:
            return
        if not keep_alive or self._receiving:
            self.close_gently()
            return
        host = self._host
        idle_s = DRAIN_IDLE_S if host.draining else host.idle_timeout
        host.deadlines.arm(self._timer, host.clock() + idle_s)
        if self._holds:
            self.release(Hold.SLOW_PEER)
        if not self._parser.pending and not self._blocked:
            self._parser.begin()
            return
        self._go_on = True
        if not self._running and not self._blocked:
            self._run()

    def hold(self, reason: Hold) -> None:
        """Pause reading for a reason."""
        if not self._holds and self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()
            if self._pace is not None:
                self._pace.pause()
        self._holds |= reason

    def release(self, reason: Hold) -> None:
        """Take reasons away; reading goes on when none is left."""
        if not self._holds:
            return
        self._holds &= ~reason
        if not self._holds and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()
            if self._pace is not None:
                self._pace.resume()

    def abort(self) -> None:
        """Cut the connection: the client must see that the answer is not complete."""
        self._exchange = None
        self._closing = True
        self.abort_raw()

    def tunnel_through(self, tunnel: Tunnel) -> bytes:
        """From here on bytes are relayed as they are; returns those that came behind the Upgrade."""
        self._tunnel = tunnel
        self._exchange = None
        self._timer.cancel()
        self.exchange_timer.cancel()
        unread = self._parser.take_unread()
        self.release(~Hold.NONE)
        return unread

    # -- for the listener --------------------------------------------------------------------------

    def close_if_idle(self) -> None:
        """Drain: close soon, unless a request is under way or comes first."""
        if self._exchange is None and self._tunnel is None and not self._parser.head_started:
            self._host.deadlines.arm(self._timer, self._host.clock() + DRAIN_IDLE_S)

    def cut(self) -> None:
        """End of the grace: whatever is under way is lost, says so, and gives back what it holds."""
        if self._tunnel is not None:
            self._tunnel.cut(DRAINED)
        elif self._exchange is not None:
            try:
                self._exchange.drained()
            except Exception:
                self._crash()
        else:
            self.abort()

    # -- asyncio.Protocol --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peername = transport.get_extra_info("peername")
        self.peer = peername[0] if peername else ""
        if not self._host.opened(self):
            self._refuse(ProtocolError(503, "too many connections"), Flag.UO)
            return
        self._host.deadlines.arm(self._timer, self._host.clock() + self._host.header_timeout)

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.data(self, data)
            return
        if self._closing:
            self._lingered += len(data)
            if self._lingered > LINGER_BYTES and self.transport is not None:
                self.transport.abort()
            return
        parser = self._parser
        try:
            if parser.complete:
                parser.feed(data)
                self.hold(Hold.PIPELINED)
                return
            first = not parser.open
            self._handle(parser.feed(data))
            if first and parser.in_head and parser.open and not self._closing:
                self._host.deadlines.arm(self._timer, self._host.clock() + self._host.header_timeout)
        except Exception:
            self._crash()

    def _run(self) -> None:
        """Begin with what is here of the next requests, for as long as each is answered at once."""
        self._running = True
        parser = self._parser
        try:
            while self._go_on and not self._blocked and not self._closing:
                self._go_on = False
                events = parser.next()
                if events:
                    self._handle(events)
        except Exception:
            self._crash()
        finally:
            self._running = False
        if self._holds and not parser.pending:
            self.release(Hold.PIPELINED)
        if parser.head_started and not self._closing:
            self._host.deadlines.arm(self._timer, self._host.clock() + self._host.header_timeout)

    def _handle(self, events: list[RequestEvent]) -> None:
        """Hand the events of one read to the exchange; its own action comes last."""
        exchange = self._exchange
        fresh = False
        for event in events:
            kind = type(event)
            if kind is RequestHead:
                self._timer.deadline = math.inf
                self._receiving = fresh = True
                exchange = self._exchange = self._host.exchange(self, event)  # type: ignore[arg-type]  # just checked
            elif exchange is None:
                if isinstance(event, ProtocolError):
                    self._refuse(event, Flag.DPE)
                return
            elif event is END:
                self._receiving = False
                if self._pace is not None:
                    self._pace = None
                    self._timer.deadline = math.inf
                exchange.request_end()
            elif kind is bytes:
                if self._pace is not None:
                    self._pace.add(len(event))  # type: ignore[arg-type]  # just checked
                exchange.request_body(event)  # type: ignore[arg-type]
            elif isinstance(event, Trailers):
                exchange.request_trailers(event.fields)
            else:
                assert isinstance(event, ProtocolError)
                exchange.request_broken(event)
            if self._exchange is not exchange:
                return
        if fresh and exchange is not None:
            if self._receiving:
                self._measure(events)
            exchange.start()

    def _measure(self, events: list[RequestEvent]) -> None:
        """From here on the rest of the body must come at the minimum rate."""
        host, head = self._host, events[0]
        assert isinstance(head, RequestHead)
        if host.min_upload_rate:
            waits = b"expect" in head.fields and head.http11
            pace = self._pace = Pace(host.min_upload_rate, waits, host.clock)
            if came := sum(len(event) for event in events if isinstance(event, bytes)):
                pace.add(came)
            if self._holds:
                pace.pause()
            host.deadlines.arm(self._timer, host.clock() + pace.look())

    def eof_received(self) -> bool:
        if self._tunnel is not None:
            self._tunnel.ended(self)
            return True
        # Most clients close both ways; one that only ended its sending side cannot be told from them,
        # and Envoy and nginx take it for gone as well.
        self._gone()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._gone()
        self._timer.retire()
        self.exchange_timer.retire()
        self.transport = None
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.lost(self, error)
        self._host.closed(self)

    def _gone(self) -> None:
        self._closing = True
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            try:
                exchange.client_gone()
            except Exception:
                self._exchange = exchange
                self._crash()

    def _crash(self) -> None:
        """uvloop would only log it and go on; the exchange must give back what it holds."""
        log.exception("an error of our own, while a request was handled")
        exchange, self._exchange = self._exchange, None
        self._closing = True
        self.abort_raw()
        if exchange is not None:
            exchange.crashed()

    def pause_writing(self) -> None:
        self._writable(False)

    def resume_writing(self) -> None:
        self._writable(True)

    def _writable(self, writable: bool) -> None:
        if self._tunnel is not None:
            self._tunnel.writable(self, writable)
            return
        self._blocked = not writable
        if self._exchange is not None:
            try:
                self._exchange.client_writable(writable)
            except Exception:
                self._crash()
        elif writable and self._go_on and not self._running:
            self._run()

    # -- RawPeer -----------------------------------------------------------------------------------

    def read_raw(self, on: bool) -> None:
        if on:
            self.release(Hold.SLOW_PEER)
        else:
            self.hold(Hold.SLOW_PEER)

    # -- closing -----------------------------------------------------------------------------------

    def close_gently(self) -> None:
        """Close after what was written, and after taking what the client may still be sending."""
        transport = self.transport
        self._exchange = None
        if transport is None or self._closing:
            return
        self._closing = True
        if transport.is_closing():
            return
        wait_s = LINGER_S
        if self._receiving or self._holds:
            self.end_raw()
            self.release(~Hold.NONE)
        else:
            self.close_raw()  # nothing is on its way to us
            wait_s = self._host.idle_timeout
        # Either way a client that does not take its answer must not keep the connection for ever.
        self._unsent = transport.get_write_buffer_size()
        self._host.deadlines.arm(self._timer, self._host.clock() + wait_s)

    def _refuse(self, error: ProtocolError, flag: Flag) -> None:
        """Answer what never became an exchange, and close."""
        self._host.refused(self, error.status, flag, error.reason)
        text = f"{flag.name}: {error.reason}".encode()
        self.write([own_answer(error.status, text + b"\n", [(b"x-mesh-reason", text)], close=True)])
        self._receiving = True  # whatever is still to come is not read as a message
        self.close_gently()

    def _exchange_timeout(self) -> None:
        if self._exchange is not None:
            try:
                self._exchange.timer_fired()
            except Exception:
                self._crash()

    def _connection_timeout(self) -> None:
        transport = self.transport
        if transport is None:
            return
        if self._closing:
            unsent = transport.get_write_buffer_size()
            if 0 < unsent < self._unsent:  # slow, but it does take its answer
                self._unsent = unsent
                self._host.deadlines.arm(self._timer, self._host.clock() + self._host.idle_timeout)
            else:
                transport.abort()
        elif self._pace is not None:
            again = self._pace.look()
            if again:
                self._host.deadlines.arm(self._timer, self._host.clock() + again)
            elif self._exchange is not None:
                self._pace = None
                try:
                    self._exchange.request_slow()
                except Exception:
                    self._crash()
        elif self._parser.head_started:
            self._refuse(ProtocolError(408, "the request head did not arrive in time"), Flag.DPE)
        elif self._exchange is None:
            transport.abort() if self._blocked else self.close_raw()
