"""Responses: reads in, checked events out, told apart by the request that each one answers.

llhttp cannot be told that a response answers HEAD, so for HEAD the head is the end and the parser
object is dropped; and it has no end of input, so a body until close ends in `eof()`.
"""

from __future__ import annotations

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from .events import END, Body, Header, ProtocolError, ResponseEvent, ResponseHead
from .framing import response_framing
from .headers import has_token
from .limits import DEFAULT_LIMITS, Limits


class ResponseParser:
    """Parses the responses of one connection, one request at a time: `expect`, then `feed` or `eof`."""

    __slots__ = (
        "_body", "_chunked", "_dirty", "_done", "_events", "_fault", "_fields", "_head_request",
        "_headers", "_in_head", "_limits", "_message_bytes", "_parser", "_reason", "_trailer_bytes",
        "unread",
    )  # fmt: skip

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._fault: ProtocolError | None = None
        self._events: list[ResponseEvent] = []
        self._parser = HttpResponseParser(self)
        self._head_request = False
        self._done = True
        self._dirty = False
        self._message_bytes = 0
        self.unread = b""
        """Bytes behind a 101, which belong to the new protocol."""
        self._begin()

    def _begin(self) -> None:
        self._in_head = True
        self._reason = b""
        self._headers: list[Header] = []
        self._fields: dict[bytes, bytes] = {}
        self._body = Body.NONE
        self._trailer_bytes = 0

    @property
    def reusable(self) -> bool:
        """Whether the next response can be parsed on this connection: the last is complete, nothing behind."""
        return self._done and not self._dirty and self._fault is None

    def expect(self, method: bytes) -> None:
        """A request was sent; what comes next answers it."""
        self._head_request = method == b"HEAD"
        self._done = False

    def feed(self, data: bytes) -> list[ResponseEvent]:
        """Parse one read; a `ProtocolError` comes only as the last event, in place of the broken message's rest.

        Bytes that no request asked for make the connection unusable (`reusable`), but do not spoil
        the response before them.
        """
        if self._fault is not None:
            return [self._fault]
        if self._done:
            self._dirty = True
            return []
        events = self._events = []
        self._message_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self.unread = data[upgrade.args[0] :]
        except HttpParserError as error:
            if self._done:
                self._dirty = True  # the response is whole; what came behind it is not for us
            elif self._fault is None:
                self._fault = ProtocolError(502, "malformed response from upstream")
                self._fault.__cause__ = error
        if self._in_head and self._fault is None and self._message_bytes > self._limits.head_bytes:
            self._fault = ProtocolError(502, "response head from upstream is too large")
        if not self._in_head or self._done:
            self._message_bytes = 0
        if self._fault is not None:
            events.append(self._fault)
        if self._done and self._head_request:
            self._parser = HttpResponseParser(self)  # the old one waits for a body that never comes
            self._begin()
        return events

    def eof(self) -> ResponseEvent | None:
        """The peer closed: the end of a body until close, or else a truncation.

        Returns: `END`, a `ProtocolError` where a response is missing or cut, or None where nothing was open.
        """
        if self._done or self._fault is not None:
            return None
        self._done = self._dirty = True
        if not self._in_head and self._body is Body.UNTIL_CLOSE:
            return END
        self._fault = ProtocolError(502, "upstream closed before the response was complete")
        return self._fault

    # -- llhttp's callbacks ------------------------------------------------------------------------

    def on_status(self, piece: bytes) -> None:
        self._reason += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            self._trailer_bytes += len(name) + len(value) + 4
            if self._trailer_bytes > self._limits.trailer_bytes and self._fault is None:
                self._fault = ProtocolError(502, "trailers from upstream are too long")
            return
        low = name.lower()
        fields = self._fields
        if low in fields:
            fields[low] = fields[low] + b", " + value
        else:
            fields[low] = value
        self._headers.append((name, low, value))

    def on_headers_complete(self) -> None:
        if self._done or self._fault is not None:
            self._dirty = True
            return
        self._in_head = False
        try:
            head = self._head()
        except ProtocolError as fault:
            self._fault = fault
            return
        self._body = head.body
        self._events.append(head)
        if head.body is Body.TUNNEL or (self._head_request and not head.interim):
            self._finish()

    def on_body(self, piece: bytes) -> None:
        if self._done:
            self._dirty = True
        else:
            self._events.append(piece)

    def on_message_complete(self) -> None:
        if self._done or self._fault is not None:
            return
        head = self._events[-1] if self._events else None
        if isinstance(head, ResponseHead) and head.interim:
            self._begin()  # 1xx: the real answer is still to come
            return
        self._finish()
        self._begin()

    def _finish(self) -> None:
        self._events.append(END)
        self._done = True

    # -- our own checks ----------------------------------------------------------------------------

    def _head(self) -> ResponseHead:
        parser, fields = self._parser, self._fields
        status = parser.get_status_code()
        version = parser.get_http_version()
        http11 = version == "1.1"
        if (not http11 and version != "1.0") or not 100 <= status <= 599:
            raise ProtocolError(502, "upstream sent a bad status line")
        if len(self._headers) > self._limits.header_count:
            raise ProtocolError(502, "upstream sent too many header fields")
        if self._message_bytes > self._limits.head_bytes:
            size = sum(len(name) + len(value) + 4 for name, _, value in self._headers)
            if size > self._limits.head_bytes:
                raise ProtocolError(502, "response head from upstream is too large")
        body, length = response_framing(
            status,
            self._head_request,
            http11,
            fields.get(b"transfer-encoding"),
            fields.get(b"content-length"),
        )
        connection = fields.get(b"connection")
        keep_alive = body is not Body.UNTIL_CLOSE and (
            http11
            if connection is None
            else not has_token(connection, b"close") and (http11 or has_token(connection, b"keep-alive"))
        )
        return ResponseHead(status, self._reason, http11, self._headers, fields, body, length, keep_alive)
