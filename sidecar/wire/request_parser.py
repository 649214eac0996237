"""Requests: reads in, checked events out. llhttp parses; what it lets through too easily is refused here.

Rules of this file: the callbacks only collect, for an exception in one loses its type in llhttp; and
an error is always the last event, after every message that was complete before it, so that a
half-read request is never acted on.
"""

from __future__ import annotations

import re

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from .events import END, Body, Header, ProtocolError, RequestEvent, RequestHead
from .framing import request_framing
from .headers import has_token, is_host
from .limits import DEFAULT_LIMITS, Limits

_VERSION = re.compile(rb"^[^\r\n]* HTTP/([0-9]+(?:\.[0-9]+)?)\r?\n")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_PREFACE = b"PRI * HTTP/2.0"


class RequestParser:
    """Parses all requests of one connection; after a `ProtocolError` event it is of no more use."""

    __slots__ = (
        "_body_bytes", "_chunked", "_chunks", "_events", "_fault", "_fields", "_head_at", "_headers",
        "_limits", "_message_bytes", "_open", "_parser", "_target", "_trailer_bytes", "in_head",
        "unread",
    )  # fmt: skip

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self.unread = b""
        """Bytes behind an Upgrade request, held until its answer says what they are."""
        self._fault: ProtocolError | None = None
        self._events: list[RequestEvent] = []
        self._reset()

    def _reset(self) -> None:
        self._parser = HttpRequestParser(self)
        self._head_at = 0
        self._message_bytes = 0
        self._begin()

    def _begin(self) -> None:
        self.in_head = True
        self._open = False
        self._target = b""
        self._headers: list[Header] = []
        self._fields: dict[bytes, bytes] = {}
        self._trailer_bytes = 0
        self._chunks = 0
        self._body_bytes = 0
        self._chunked = False

    @property
    def head_started(self) -> bool:
        """Whether a head is open: some of its bytes are here, but not all."""
        return self._open and self.in_head

    def feed(self, data: bytes) -> list[RequestEvent]:
        """Parse one read.

        Returns: heads, body pieces and `END`s in order; a `ProtocolError` only as the last one.
        """
        if self._fault is not None:
            return [self._fault]
        events = self._events = []
        self._message_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self.unread = data[upgrade.args[0] :]
        except HttpParserError as error:
            if self._fault is None:
                self._fault = self._explain(data, error)
        if self._fault is None:
            if END in events:
                # What is open now began in this read, which is at most the transport's buffer.
                self._message_bytes = 0
            elif self.in_head or self._chunked:
                self._check_size()
        if self._fault is not None:
            del events[self._head_at :]
            events.append(self._fault)
        self._head_at = 0
        return events

    def resume_http(self) -> list[RequestEvent]:
        """Go on with HTTP behind an Upgrade request that was not accepted."""
        self._reset()
        unread, self.unread = self.unread, b""
        return self.feed(unread) if unread else []

    def _check_size(self) -> None:
        limits = self._limits
        if self.in_head:
            if len(self._target) > limits.target_bytes:
                self._refuse(414, f"request target over {limits.target_bytes} bytes")
            elif self._message_bytes > limits.head_bytes:
                self._refuse(431, f"request head over {limits.head_bytes} bytes")
            return
        # A chunk costs at most 16 hex digits and two CRLF besides what its extension takes.
        overhead = self._message_bytes - self._body_bytes - 20 * self._chunks
        if overhead > limits.chunk_overhead_bytes + limits.head_bytes:
            self._refuse(400, "chunk extensions or trailers too long")

    def _refuse(self, status: int, reason: str) -> None:
        if self._fault is None:
            self._fault = ProtocolError(status, reason)

    def _explain(self, data: bytes, error: HttpParserError) -> ProtocolError:
        if data.startswith(_PREFACE):
            return ProtocolError(505, "HTTP/2 is not spoken here")
        version = _VERSION.match(data)
        if version is not None and version.group(1) not in (b"1.0", b"1.1"):
            return ProtocolError(505, "HTTP version not supported")
        if len(self._target) > self._limits.target_bytes:
            return ProtocolError(414, f"request target over {self._limits.target_bytes} bytes")
        fault = ProtocolError(400, "malformed request")
        fault.__cause__ = error
        return fault

    # -- llhttp's callbacks ------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._open = True

    def on_url(self, piece: bytes) -> None:
        self._target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_head:  # a trailer: dropped, for it could carry a Host or a length of its own
            self._trailer_bytes += len(name) + len(value) + 4
            if self._trailer_bytes > self._limits.trailer_bytes:
                self._refuse(431, f"trailers over {self._limits.trailer_bytes} bytes")
            return
        low = name.lower()
        fields = self._fields
        if low in fields:
            fields[low] = fields[low] + b", " + value
        else:
            fields[low] = value
        self._headers.append((name, low, value))

    def on_headers_complete(self) -> None:
        if self._fault is not None:
            return
        self.in_head = False
        self._head_at = len(self._events)
        try:
            self._events.append(self._head())
        except ProtocolError as fault:
            self._fault = fault

    def on_chunk_header(self) -> None:
        self._chunks += 1

    def on_body(self, piece: bytes) -> None:
        self._events.append(piece)
        self._body_bytes += len(piece)
        limit = self._limits.body_bytes
        if limit is not None and self._body_bytes > limit:
            self._refuse(413, f"request body over {limit} bytes")

    def on_message_complete(self) -> None:
        if self._fault is None:
            self._events.append(END)
            self._head_at = len(self._events)
            self._begin()

    # -- our own checks ----------------------------------------------------------------------------

    def _head(self) -> RequestHead:
        parser, limits, fields = self._parser, self._limits, self._fields
        version = parser.get_http_version()
        http11 = version == "1.1"
        if not http11 and version != "1.0":
            raise ProtocolError(505, "HTTP version not supported")
        if self._message_bytes > limits.head_bytes:  # the read is that large; is the head?
            size = len(self._target) + sum(len(name) + len(value) + 4 for name, _, value in self._headers)
            if size > limits.head_bytes:
                raise ProtocolError(431, f"request head over {limits.head_bytes} bytes")
        if len(self._headers) > limits.header_count:
            raise ProtocolError(431, f"more than {limits.header_count} header fields")
        if len(self._target) > limits.target_bytes:
            raise ProtocolError(414, f"request target over {limits.target_bytes} bytes")
        method: bytes = parser.get_method()
        body, length = request_framing(
            http11, fields.get(b"transfer-encoding"), fields.get(b"content-length")
        )
        self._chunked = body is Body.CHUNKED
        if limits.body_bytes is not None and length > limits.body_bytes:
            raise ProtocolError(413, f"request body over {limits.body_bytes} bytes")
        host = fields.get(b"host")
        if host is None:
            if http11:
                raise ProtocolError(400, "no Host")
            host = b""
        elif not is_host(host):
            raise ProtocolError(400, "bad Host")
        target = self._target
        if not target.startswith(b"/"):
            target, host = self._other_form(method, target, host)
        if b"#" in target:
            raise ProtocolError(400, "fragment in the request target")
        upgrade = b""
        if parser.should_upgrade():
            if body is not Body.NONE or b"content-length" in fields:
                # llhttp would take the body for the new protocol's bytes, and feeding them back would
                # parse a body as the next request.
                raise ProtocolError(400, "Upgrade with a body")
            upgrade = fields.get(b"upgrade", b"").lower()
        return RequestHead(
            method,
            target,
            host,
            http11,
            self._headers,
            fields,
            body,
            length,
            self._keep_alive(http11, fields.get(b"connection")),
            upgrade,
        )

    @staticmethod
    def _keep_alive(http11: bool, connection: bytes | None) -> bool:
        if connection is None:
            return http11
        if has_token(connection, b"close"):
            return False
        return http11 or has_token(connection, b"keep-alive")

    @staticmethod
    def _other_form(method: bytes, target: bytes, host: bytes) -> tuple[bytes, bytes]:
        """Absolute-form wins over Host (RFC 9112 section 3.2.2); '*' goes with OPTIONS alone."""
        if method == b"CONNECT":
            raise ProtocolError(405, "CONNECT is not for a sidecar")
        if target == b"*":
            if method != b"OPTIONS":
                raise ProtocolError(400, "'*' goes with OPTIONS only")
            return target, host
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None:
            raise ProtocolError(400, "bad request target")
        authority, path = absolute.groups()
        if not is_host(authority):
            raise ProtocolError(400, "bad authority in the request target")
        if not path.startswith(b"/"):
            path = b"*" if method == b"OPTIONS" and not path else b"/" + path
        return path, authority
