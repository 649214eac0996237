"""One keep-alive HTTP/1.1 connection that carries one request at a time and keeps nothing of the answer.

Our own, because the generator shares the machine with what it measures: send and read cost 64 us of CPU per
request at 300/s against 224 us through aiohttp.ClientSession, and 40 against 135 at 1500/s (same run,
uvloop 0.23, aiohttp 3.14, Python 3.11, 2 cores, bare server on the other one).
"""

import asyncio
from typing import Protocol, cast

import httptools

REFUSED = "refused"
RESET = "reset"
CLOSED = "closed"
TRUNCATED = "truncated"
TIMEOUT = "timeout"
MALFORMED = "malformed_answer"
OVERSIZED = "oversized_head"

MAX_HEAD_BYTES = 64 * 1024
"""Bytes before the head of an answer is whole: twice what any common server sends."""


class Owner(Protocol):
    """Who gave the request and wants to know its end; each call comes once per exchange."""

    def answered(self, connection: "Connection", status: int, reusable: bool) -> None:
        """A whole answer arrived; the connection may carry another request when `reusable`."""

    def broke(self, connection: "Connection", reason: str) -> None:
        """The connection ended or made no sense, before the answer was whole."""


class Connection(asyncio.Protocol):
    """States: idle, or busy with one request; `closed` is final."""

    __slots__ = (
        "_body_until_close",
        "_busy",
        "_head_bytes",
        "_head_done",
        "_owner",
        "_parser",
        "_transport",
        "closed",
        "idle_since",
    )

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._busy = False
        self._head_done = False
        self._head_bytes = 0
        self._body_until_close = True
        self.closed = False
        self.idle_since = 0.0

    def send(self, payload: bytes) -> None:
        """Send one request; only on a connection that is idle and not closed."""
        assert self._transport is not None
        assert not self._busy
        self._busy = True
        self._begin_answer()
        self._transport.write(payload)

    def abort(self) -> None:
        """Close at once without telling the owner."""
        self.closed = True
        self._busy = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the connection stands."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class, which is no subclass

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes of an answer; on an idle connection there can be none, so it is given up."""
        if not self._busy:
            self.abort()
            return
        if not self._head_done:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # an upgrade is one that nobody asked for; either may also stand behind an answer that was whole
            if self._waiting():
                self._break(MALFORMED)
            else:
                self.abort()
        else:
            if self._head_bytes > MAX_HEAD_BYTES and self._waiting() and not self._head_done:
                self._break(OVERSIZED)

    def eof_received(self) -> None:
        """asyncio: the peer will send no more; the transport then closes itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the connection is gone."""
        self.closed = True
        if not self._busy:
            return  # nobody waits; the owner sees `closed` before it would send again
        if self._head_done and self._body_until_close and exc is None:
            self._busy = False
            self._owner.answered(self, self._parser.get_status_code(), False)
        elif exc is not None:
            self._break(RESET)
        else:
            self._break(TRUNCATED if self._head_done else CLOSED)

    def on_message_begin(self) -> None:
        """httptools: an answer begins; one that nobody waits for would be taken for the next one's."""
        if not self._busy:
            self.abort()

    def on_header(self, name: bytes, _value: bytes) -> None:
        """httptools: only whether the body has a length of its own is of interest."""
        if len(name) in (14, 17) and name.lower() in (b"content-length", b"transfer-encoding"):
            self._body_until_close = False

    def on_headers_complete(self) -> None:
        """httptools: the head of the answer is whole."""
        self._head_done = True

    def on_message_complete(self) -> None:
        """httptools: the answer is whole, or it was an interim one (1xx) before the real one."""
        status = self._parser.get_status_code()
        if status < 200 and status != 101:
            self._begin_answer()
            return
        if self._busy:
            self._busy = False
            reusable = status != 101 and not self.closed and self._parser.should_keep_alive()
            if not reusable:
                self.abort()
            self._owner.answered(self, status, reusable)

    def _waiting(self) -> bool:
        return self._busy

    def _begin_answer(self) -> None:
        self._head_done = False
        self._head_bytes = 0
        self._body_until_close = True

    def _break(self, reason: str) -> None:
        self.abort()
        self._owner.broke(self, reason)
