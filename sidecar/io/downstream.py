"""One client connection: requests in order, one exchange at a time, whatever arrives behind it waits.

Reads become events (`RequestParser`) in a queue; the pump hands them to the exchange. A pipelined
request stays in the queue, with reading paused, until the one before it is answered, so the queue
never holds more than one read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

from ..errors import Flag
from ..wire.events import END, ProtocolError, RequestEvent, RequestHead
from ..wire.limits import Limits
from ..wire.request_parser import RequestParser
from ..wire.serialize import own_answer
from .deadlines import Deadlines, Timer
from .flow import HIGH_WATER, LOW_WATER, Hold, RawPeer, write_all

# After a refusal the client's unread bytes are still taken for this long and this much: closing with
# unread input sends RST, which can destroy the answer on its way.
LINGER_S = 1.0
LINGER_BYTES = 64 * 1024


class RequestHandler(Protocol):
    """What an exchange is to its client connection."""

    def request_body(self, data: bytes) -> None: ...
    def request_end(self) -> None: ...
    def start(self) -> None:
        """All events of the read that brought the head are in; act now."""

    def request_broken(self, error: ProtocolError) -> None: ...
    def client_gone(self) -> None: ...
    def client_writable(self, writable: bool) -> None: ...
    def timer_fired(self) -> None: ...


class Host(Protocol):
    """What a listener is to its connections."""

    limits: Limits
    deadlines: Deadlines
    clock: Callable[[], float]
    header_timeout: float
    idle_timeout: float
    draining: bool

    def opened(self, connection: Downstream) -> bool: ...
    def closed(self, connection: Downstream) -> None: ...
    def exchange(self, connection: Downstream, head: RequestHead) -> RequestHandler: ...
    def refused(self, connection: Downstream, status: int, reason: str) -> None:
        """A message was refused before an exchange began: count and log it."""


class Downstream(asyncio.Protocol):
    """A client connection. The exchange writes its answer with `write` and ends with `finished`."""

    __slots__ = (
        "_closing", "_exchange", "_holds", "_host", "_lingered", "_parser", "_pumping", "_queue",
        "_receiving", "_timer", "_tunnel", "exchange_timer", "peer", "transport",
    )  # fmt: skip

    def __init__(self, host: Host) -> None:
        self._host = host
        self._parser = RequestParser(host.limits)
        self._queue: deque[RequestEvent] = deque()
        self._exchange: RequestHandler | None = None
        self._receiving = False  # the current request is not complete yet
        self._pumping = False
        self._holds = Hold.NONE
        self._closing = False
        self._lingered = 0
        self._tunnel: RawPeer | None = None
        self._timer = Timer(self._connection_timeout)
        self.exchange_timer = Timer(self._exchange_timeout)
        """Armed by the exchange; kept here so that each connection has one, not each request."""
        self.transport: asyncio.Transport | None = None
        self.peer = ""

    # -- for the exchange --------------------------------------------------------------------------

    def write(self, pieces: list[bytes]) -> None:
        write_all(self.transport, pieces)

    def arm(self, at: float) -> None:
        """Set the exchange's timer."""
        self._host.deadlines.arm(self.exchange_timer, at)

    def finished(self, keep_alive: bool) -> None:
        """The exchange is over and its answer written; go on with the next request, or close."""
        self._exchange = None
        self.exchange_timer.deadline = float("inf")
        transport = self.transport
        if transport is None or self._closing:
            return
        if not keep_alive or self._receiving or self._host.draining:
            self.close_gently()
            return
        if self._parser.unread:
            self._queue.extend(self._parser.resume_http())
        self._host.deadlines.arm(self._timer, self._host.clock() + self._host.idle_timeout)
        if self._holds:
            self.release(Hold.SLOW_PEER if self._queue else Hold.SLOW_PEER | Hold.PIPELINED)
        if self._queue:
            self._pump()

    def hold(self, reason: Hold) -> None:
        """Pause reading for a reason."""
        if not self._holds and self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()
        self._holds |= reason

    def release(self, reason: Hold) -> None:
        """Take reasons away; reading goes on when none is left."""
        if not self._holds:
            return
        self._holds &= ~reason
        if not self._holds and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def abort(self) -> None:
        """Cut the connection: the client must see that the answer is not complete."""
        self._exchange = None
        self._closing = True
        if self.transport is not None:
            self.transport.abort()

    def close_if_idle(self) -> None:
        """Drain: nothing is under way here, so nothing is lost."""
        if self._exchange is None and not self._parser.head_started and self._tunnel is None:
            self.close_gently()

    def close_gently(self) -> None:
        """Close after what was written, and after taking what the client may still be sending."""
        transport = self.transport
        self._exchange = None
        if transport is None or self._closing:
            return
        self._closing = True
        self._queue.clear()
        if transport.is_closing():
            return
        if not self._receiving and not self._holds:
            transport.close()  # nothing is on its way to us
            return
        transport.write_eof()
        self._holds |= Hold.CLOSING
        self.release(~Hold.NONE)
        self._host.deadlines.arm(self._timer, self._host.clock() + LINGER_S)

    def tunnel_to(self, peer: RawPeer) -> bytes:
        """From here on bytes are relayed as they are; returns those that came behind the Upgrade."""
        self._tunnel = peer
        self._exchange = None
        self._timer.cancel()
        self.exchange_timer.cancel()
        unread, self._parser.unread = self._parser.unread, b""
        return unread

    # -- asyncio.Protocol --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast(asyncio.Transport, transport)  # uvloop's is one by shape only
        peername = transport.get_extra_info("peername")
        self.peer = peername[0] if peername else ""
        transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
        if not self._host.opened(self):
            self._answer(503, Flag.UO, "too many connections")
            return
        self._host.deadlines.arm(self._timer, self._host.clock() + self._host.header_timeout)

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.write_raw(data)
            return
        if self._closing:
            self._lingered += len(data)
            if self._lingered > LINGER_BYTES and self.transport is not None:
                self.transport.abort()
            return
        parser = self._parser
        idle = self._exchange is None and not parser.head_started
        self._queue.extend(parser.feed(data))
        self._pump()
        if idle and parser.head_started and self._exchange is None:
            self._host.deadlines.arm(self._timer, self._host.clock() + self._host.header_timeout)

    def _pump(self) -> None:
        """Hand events to the exchange until the queue is empty or the next one is for a later request."""
        if self._pumping:
            return  # called from within, by an exchange that ended at once: the loop below goes on
        self._pumping = True
        queue = self._queue
        fresh: RequestHandler | None = None
        try:
            while queue:
                event = queue[0]
                if self._exchange is not None and not self._receiving:
                    if fresh is not None:
                        starting, fresh = fresh, None
                        starting.start()
                        continue
                    self.hold(Hold.PIPELINED)
                    return
                queue.popleft()
                if type(event) is RequestHead:
                    self._timer.deadline = float("inf")
                    self._receiving = True
                    fresh = self._exchange = self._host.exchange(self, event)
                elif self._exchange is None:
                    if isinstance(event, ProtocolError):
                        self._refuse(event)
                elif event is END:
                    self._receiving = False
                    self._exchange.request_end()
                elif type(event) is bytes:
                    self._exchange.request_body(event)
                elif isinstance(event, ProtocolError):
                    fresh = None
                    self._exchange.request_broken(event)
            if fresh is not None:
                fresh.start()
        finally:
            self._pumping = False
        if not queue:
            self.release(Hold.PIPELINED)
        elif self._exchange is None:
            self._pump()

    def eof_received(self) -> bool:
        if self._tunnel is not None:
            self._tunnel.end_raw()
            return True
        # Most clients close both ways; one that only ended its sending side cannot be told from them,
        # and Envoy, nginx and HAProxy take it for gone as well.
        self._gone()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._gone()
        self._timer.cancel()
        self.exchange_timer.cancel()
        self.transport = None
        if self._tunnel is not None:
            self._tunnel.close_raw()
            self._tunnel = None
        self._host.closed(self)

    def _gone(self) -> None:
        self._closing = True
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_gone()

    def pause_writing(self) -> None:
        if self._tunnel is not None:
            self._tunnel.read_raw(False)
        elif self._exchange is not None:
            self._exchange.client_writable(False)

    def resume_writing(self) -> None:
        if self._tunnel is not None:
            self._tunnel.read_raw(True)
        elif self._exchange is not None:
            self._exchange.client_writable(True)

    # -- RawPeer -----------------------------------------------------------------------------------

    def write_raw(self, data: bytes) -> None:
        write_all(self.transport, [data])

    def end_raw(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write_eof()

    def close_raw(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def read_raw(self, on: bool) -> None:
        if on:
            self.release(Hold.SLOW_PEER)
        else:
            self.hold(Hold.SLOW_PEER)

    # -- timeouts and refusals ---------------------------------------------------------------------

    def _exchange_timeout(self) -> None:
        if self._exchange is not None:
            self._exchange.timer_fired()

    def _connection_timeout(self) -> None:
        if self.transport is None:
            return
        if self._closing:
            self.transport.abort()
        elif self._parser.head_started:
            self._refuse(ProtocolError(408, "the request head did not arrive in time"))
        elif self._exchange is None:
            self.transport.close()

    def _refuse(self, error: ProtocolError) -> None:
        self._answer(error.status, Flag.DPE, error.reason)

    def _answer(self, status: int, flag: Flag, reason: str) -> None:
        self._host.refused(self, status, reason)
        text = f"{flag.name}: {reason}".encode()
        self.write([own_answer(status, text + b"\n", [(b"x-mesh-reason", text)], close=True)])
        self._receiving = True  # whatever is still to come is not read as a message
        self.close_gently()
