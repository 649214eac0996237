"""The length law of RFC 9112 section 6, one pure function each way.

Values come from `fields`, where a repeated field is joined by ', ': so a second Content-Length or
Transfer-Encoding, even an equal one, never passes the single-value checks below. Two parsers could
disagree on which of them counts, and that is request smuggling.
"""

from __future__ import annotations

import re

from .events import Body, ProtocolError, RequestHead

# fullmatch, not match + '$': '$' lets a final newline through. 19 digits stay below 2**63.
_LENGTH = re.compile(rb"[0-9]{1,19}")

NO_BODY_STATUS = frozenset((204, 304))
# What every server delimits alike, without a body and with one.
_BARE = frozenset((b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
_WITH_BODY = frozenset((b"POST", b"PUT", b"PATCH"))
FRAMING_FIELDS = frozenset((b"transfer-encoding", b"content-length"))


def request_framing(http11: bool, te: bytes | None, length: bytes | None) -> tuple[Body, int]:
    """How the request's body ends, and its length where that is known.

    Raises:
        ProtocolError: 400 where two readers could differ, 501 for a transfer coding other than `chunked`.
    """
    if te is not None:
        if not http11:
            raise ProtocolError(400, "Transfer-Encoding on HTTP/1.0")
        if length is not None:
            raise ProtocolError(400, "Transfer-Encoding and Content-Length together")
        coding = te.strip(b" \t").lower()
        if coding != b"chunked":
            codings = [item.strip(b" \t") for item in coding.split(b",")]
            if codings[-1] == b"chunked" and codings.count(b"chunked") == 1 and all(codings):
                raise ProtocolError(501, "only the chunked transfer coding is supported")
            raise ProtocolError(400, "bad Transfer-Encoding")
        return Body.CHUNKED, 0
    if length is not None:
        size = parse_length(length)
        return (Body.LENGTH, size) if size else (Body.NONE, 0)
    return Body.NONE, 0


def response_framing(
    status: int, head_request: bool, http11: bool, te: bytes | None, length: bytes | None
) -> tuple[Body, int]:
    """How the response's body ends, and its length where that is known.

    Raises:
        ProtocolError: 502 where the length cannot be known for certain.
    """
    if te is not None:
        if length is not None:
            raise ProtocolError(502, "upstream sent Transfer-Encoding and Content-Length together")
        if not http11 or te.strip(b" \t").lower() != b"chunked":
            raise ProtocolError(502, "upstream sent a transfer coding that is not plain chunked")
    size = 0
    if length is not None:
        try:
            size = parse_length(length)
        except ProtocolError as error:
            raise ProtocolError(502, "upstream sent a bad Content-Length") from error
    if status < 200 and (te is not None or length is not None):
        raise ProtocolError(502, "upstream sent an interim response with a length")  # RFC 9112 section 6.1
    if status == 101:
        return Body.TUNNEL, 0
    if head_request or status in NO_BODY_STATUS or status < 200:
        return Body.NONE, 0
    if te is not None:
        return Body.CHUNKED, 0
    if length is not None:
        return (Body.LENGTH, size) if size else (Body.NONE, 0)
    return Body.UNTIL_CLOSE, 0


def is_plain(head: RequestHead) -> bool:
    """Whether every server sees the same end of this request and of its answer: its connection may be reused.

    Not so: a body where a method has none for some servers; an answer to HEAD, behind which some applications
    send a body; an Upgrade that may be taken without a word; an expectation, whose body some wait for and
    some do not. What the backend then takes for a request, or sends unasked, would be another client's; so it
    is told as well that nothing else comes on this connection.
    """
    if head.body is Body.NONE:
        return head.method in _BARE and head.upgrade != b"websocket"
    return head.method in _WITH_BODY and b"expect" not in head.fields


def parse_length(value: bytes) -> int:
    """A Content-Length as a number; llhttp leaves trailing blanks in the value."""
    stripped = value.strip(b" \t")
    if _LENGTH.fullmatch(stripped) is None:
        raise ProtocolError(400, "bad Content-Length")
    return int(stripped)
