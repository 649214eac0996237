"""Responses: reads in, checked events out, told apart by the request that each one answers.

llhttp cannot be told that a response answers HEAD, so for HEAD the head is the end and the parser
object is dropped; it has no end of input, so a body until close ends in `eof()`; and it speaks RTSP
and ICE, so the first bytes of each head are looked at before it sees them.
"""

from __future__ import annotations

from http import HTTPStatus

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from .events import END, Body, Header, ProtocolError, ResponseEvent, ResponseHead, Trailers
from .framing import FRAMING_FIELDS, response_framing
from .headers import has_token, is_safe_value
from .limits import DEFAULT_LIMITS, Limits

_HEAD_END = b"\r\n\r\n"
_STARTS = (b"HTTP/1.1 ", b"HTTP/1.0 ")
_FINAL = frozenset(start + digit for start in _STARTS for digit in (b"2", b"3", b"4", b"5"))
_START_BYTES = 10  # of the status line: the version and the first digit of the status
_PHRASES = frozenset(status.phrase.encode() for status in HTTPStatus)
_CHUNK_COST = 12  # 8 hex digits and two CRLF


class ResponseParser:
    """Parses the responses of one connection, one request at a time: `expect`, then `feed` or `eof`."""

    __slots__ = (
        "_body", "_body_bytes", "_by_line", "_chunks", "_dirty", "_done", "_events", "_fault", "_fields",
        "_head_request", "_headers", "_in_head", "_limits", "_message_bytes", "_parser",
        "_reason", "_start", "_trailer_bytes", "_trailers", "started", "unread",
    )  # fmt: skip

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._fault: ProtocolError | None = None
        self._events: list[ResponseEvent] = []
        self._parser = HttpResponseParser(self)
        self._head_request = False
        self._done = True
        self._dirty = False
        self.started = False
        """Whether a byte has come since `expect`."""
        self.unread = b""
        """Bytes behind a 101, which belong to the new protocol."""
        self._message_bytes = 0
        self._begin()

    def _begin(self) -> None:
        self._in_head = True
        self._start: bytes | None = b""  # the first bytes of a head, until there are enough; None = checked
        self._by_line = False
        self._reason = b""
        self._headers: list[Header] = []
        self._fields: dict[bytes, bytes] = {}
        self._body = Body.NONE

    @property
    def reusable(self) -> bool:
        """Whether the connection can take another exchange: the last is complete, nothing is behind it."""
        return self._done and not self._dirty and self._fault is None

    def expect(self, method: bytes) -> None:
        """A request was sent; what comes next answers it."""
        self._head_request = method == b"HEAD"
        self._done = False
        self.started = False
        self._message_bytes = 0

    def feed(self, data: bytes) -> list[ResponseEvent]:
        """Parse one read; a `ProtocolError` is always the last event, in place of the broken message's rest.

        Bytes that no request asked for make the connection unusable (`reusable`), but do not spoil
        the response before them.
        """
        if self._fault is not None:
            return [self._fault]
        if self._done:
            self._dirty = True
            return []
        events = self._events = []
        self.started = True
        self._message_bytes += len(data)
        if self._start == b"" and data[:_START_BYTES] in _FINAL and not self._head_request:
            self._start = None  # the usual read: begins with a final head
        elif self._start is not None:
            data = self._check_start(data)
        while self._by_line and data:
            data = self._feed_line(data)
        if data:
            self._feed(data)
        if not self._done:
            self._check_size()
        if self._fault is not None:
            events.append(self._fault)
        if self._done and self._head_request:
            self._parser = HttpResponseParser(self)  # the old one waits for a body that never comes
            self._begin()
        return events

    def _check_start(self, data: bytes) -> bytes:
        """What to parse: nothing until the first bytes of the head are here."""
        data = self._start + data if self._start else data
        if len(data) < _START_BYTES:
            self._start = data
            if not any(start.startswith(data[:9]) for start in _STARTS):
                self._refuse("upstream sent a bad status line")
            return b""
        self._start = None
        if not data.startswith(_STARTS):
            self._refuse("upstream sent a bad status line")
            return b""
        # Behind a 1xx comes another head, whose first bytes must be seen as well; behind an answer to HEAD
        # nothing may come. Behind a 101 comes what is not HTTP, and llhttp says where it begins.
        self._by_line = (self._head_request or data[9] == 0x31) and data[9:12] != b"101"
        return data

    def _feed_line(self, data: bytes) -> bytes:
        """Parse one line of a head; returns what to parse next."""
        end = data.find(b"\n") + 1 or len(data)
        self._feed(data[:end])
        rest = data[end:]
        if self._done and rest:
            self._dirty = True
        if self._done or self._fault is not None:
            return b""
        return self._check_start(rest) if rest and self._start is not None else rest

    def _feed(self, data: bytes) -> None:
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

    def _check_size(self) -> None:
        limits = self._limits
        if self._in_head:
            if self._message_bytes > limits.head_bytes:  # 1xx heads count together with the final one
                self._refuse("response head from upstream is too large")
        elif self._body is Body.CHUNKED:
            spent = self._message_bytes - self._body_bytes - _CHUNK_COST * self._chunks
            if spent > limits.head_bytes + limits.chunk_overhead_bytes + limits.trailer_bytes:
                self._refuse("chunk extensions or trailers from upstream are too long")

    def _refuse(self, reason: str) -> None:
        if self._fault is None:
            self._fault = ProtocolError(502, reason)

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

    def on_message_begin(self) -> None:
        if (
            self._done
        ):  # the first byte behind a complete response: half a head would lie in wait for the next
            self._dirty = True

    def on_status(self, piece: bytes) -> None:
        self._reason += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            if name.lower() in FRAMING_FIELDS:
                self._refuse("framing field in a trailer from upstream")
            self._trailers.append((name, name.lower(), value))
            self._trailer_bytes += len(name) + len(value) + 4
            if self._trailer_bytes > self._limits.trailer_bytes:
                self._refuse("trailers from upstream are too long")
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
        self._body_bytes = 0
        self._trailers: list[Header] = []
        self._trailer_bytes = 0
        self._chunks = 0
        self._dirty = head.body is Body.TUNNEL  # from here on it is not HTTP
        self._events.append(head)
        if head.body is Body.TUNNEL or (self._head_request and not head.interim):
            self._finish()

    def on_chunk_header(self) -> None:
        self._chunks += 1
        if self._done:
            self._dirty = True

    def on_body(self, piece: bytes) -> None:
        if self._done:
            self._dirty = True
        elif self._body is Body.NONE:  # llhttp gives a body to a 1xx that has a length; there is none
            self._refuse("upstream sent a body where there can be none")
        else:
            self._events.append(piece)
            self._body_bytes += len(piece)

    def on_message_complete(self) -> None:
        if self._done or self._fault is not None:
            return
        head = self._events[-1] if self._events else None
        if isinstance(head, ResponseHead) and head.interim:
            self._begin()  # 1xx: the real answer is still to come
            return
        if self._body is Body.CHUNKED and self._trailers:
            self._events.append(Trailers(self._trailers))
        self._finish()
        self._begin()

    def _finish(self) -> None:
        self._events.append(END)
        self._done = True

    # -- our own checks ----------------------------------------------------------------------------

    def _head(self) -> ResponseHead:
        parser, fields = self._parser, self._fields
        status = parser.get_status_code()
        http11 = parser.get_http_version() == "1.1"
        reason = self._reason
        if not 100 <= status <= 599 or (reason not in _PHRASES and not is_safe_value(reason)):
            raise ProtocolError(502, "upstream sent a bad status line")
        if len(self._headers) > self._limits.header_count:
            raise ProtocolError(502, "upstream sent too many header fields")
        if self._message_bytes > self._limits.head_bytes:  # the read is that large; is the head?
            size = sum(len(name) + len(value) + 4 for name, _, value in self._headers)
            if size > self._limits.head_bytes:
                raise ProtocolError(502, "response head from upstream is too large")
        te, announced = fields.get(b"transfer-encoding"), fields.get(b"content-length")
        body, length = response_framing(status, self._head_request, http11, te, announced)
        connection = fields.get(b"connection")
        if status == 101 and not (has_token(connection, b"upgrade") and fields.get(b"upgrade")):
            raise ProtocolError(502, "upstream switched protocols without saying to which")
        # RFC 9112 section 9.3 lets HTTP/1.0 keep a connection; too many such servers get it wrong. And who
        # gives 204 or 304 a length may send as much, which would be the next client's answer.
        keep_alive = (
            http11
            and body is not Body.UNTIL_CLOSE
            and (body is not Body.NONE or (te is None and (announced or b"0").strip(b" \t0") == b""))
            and (connection is None or not has_token(connection, b"close"))
        )
        return ResponseHead(status, self._reason, http11, self._headers, fields, body, length, keep_alive)
