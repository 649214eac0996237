"""What the parsers tell: a head, body pieces (`bytes`), `Trailers`, `END`, or one `ProtocolError`, last."""

from __future__ import annotations

import enum
from typing import Final, TypeAlias

Header: TypeAlias = tuple[bytes, bytes, bytes]
"""A field as (name as it was sent, name in lower case, value)."""


class Body(enum.IntEnum):
    """How a message's body is delimited (RFC 9112 section 6)."""

    NONE = 0
    LENGTH = 1
    CHUNKED = 2
    UNTIL_CLOSE = 3  # responses only
    TUNNEL = 4  # after 101: no longer HTTP


class _End:
    __slots__ = ()

    def __repr__(self) -> str:
        return "END"


END: Final = _End()
"""The message is complete."""


class Trailers:
    """The fields behind a chunked body; none of them frames a message."""

    __slots__ = ("fields",)

    def __init__(self, fields: list[Header]) -> None:
        self.fields = fields

    def __repr__(self) -> str:
        return f"<Trailers {self.fields}>"


class ProtocolError(Exception):
    """The peer broke HTTP; `status` is what a client is told, `reason` the words and the counter's label."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class RequestHead:
    """A checked request head. `fields` has each lower-case name once, repeated values joined by ', '."""

    __slots__ = (
        "body", "fields", "headers", "host", "http11", "keep_alive", "length", "method", "target",
        "upgrade",
    )  # fmt: skip

    def __init__(
        self,
        method: bytes,
        target: bytes,
        host: bytes,
        http11: bool,
        headers: list[Header],
        fields: dict[bytes, bytes],
        body: Body,
        length: int,
        keep_alive: bool,
        upgrade: bytes,
    ) -> None:
        self.method = method
        self.target = target  # always origin-form, or '*'
        self.host = host  # of the absolute form where there was one, else of Host; may be empty on 1.0
        self.http11 = http11
        self.headers = headers
        self.fields = fields
        self.body = body
        self.length = length
        self.keep_alive = keep_alive
        self.upgrade = upgrade  # the protocol asked for, lower case; b"" = none

    def __repr__(self) -> str:
        return f"<RequestHead {self.method.decode()} {self.target.decode('latin-1')} {self.body.name}>"


class ResponseHead:
    """A checked response head; `interim` is a 1xx that precedes the real answer."""

    __slots__ = ("body", "fields", "headers", "http11", "interim", "keep_alive", "length", "reason", "status")

    def __init__(
        self,
        status: int,
        reason: bytes,
        http11: bool,
        headers: list[Header],
        fields: dict[bytes, bytes],
        body: Body,
        length: int,
        keep_alive: bool,
    ) -> None:
        self.status = status
        self.reason = reason
        self.http11 = http11
        self.headers = headers
        self.fields = fields
        self.body = body
        self.length = length
        self.keep_alive = keep_alive
        self.interim = status < 200 and status != 101

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status} {self.body.name}>"


RequestEvent: TypeAlias = "RequestHead | bytes | Trailers | _End | ProtocolError"
ResponseEvent: TypeAlias = "ResponseHead | bytes | Trailers | _End | ProtocolError"
