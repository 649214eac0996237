"""Heads, chunks and our own answers as bytes. One check stands before every head that leaves.

Framing is always written anew: a Content-Length that we computed or checked, or chunks of our own;
never a raw chunk of the peer's, whose extensions and trailing bytes would pass with it.
"""

from __future__ import annotations

from http import HTTPStatus

from .events import Body
from .framing import NO_BODY_STATUS

LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_REASONS: dict[int, bytes] = {status.value: status.phrase.encode() for status in HTTPStatus}
# Status lines are prebuilt: joining one costs more than the look-up.
_STATUS_LINES: dict[int, bytes] = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b"")) for status in range(100, 600)
}


class UnsafeHeaderError(ValueError):
    """A field of ours would have put CR, LF or NUL on the wire; nothing was sent."""


def status_line(status: int, reason: bytes) -> bytes:
    """The status line; the usual reason phrase is free, another one is passed on as it came."""
    if not reason or reason == _REASONS.get(status):
        return _STATUS_LINES[status]
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)


def join_head(lines: list[bytes]) -> bytes:
    """The finished head of start line and field lines, each one element with its CRLF.

    Raises:
        UnsafeHeaderError: when a line holds a CR, LF or NUL of its own. Counting costs 0.2 us a head,
            a check of each value 0.2 us a field, and it also covers the names.
    """
    lines.append(b"\r\n")
    head = b"".join(lines)
    count = len(lines)
    if head.count(b"\n") != count or head.count(b"\r") != count or b"\0" in head:
        raise UnsafeHeaderError("a header field would break the message apart")
    return head


def chunk(data: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: list[bytes]) -> bytes:
    """The end of a chunked body, with the field lines behind it."""
    return join_head([b"0\r\n", *trailers]) if trailers else LAST_CHUNK


def framing_line(body: Body, length: int) -> bytes:
    """The field that says how the body ends; empty where none is needed."""
    if body is Body.LENGTH:
        return b"Content-Length: %d\r\n" % length
    if body is Body.CHUNKED:
        return b"Transfer-Encoding: chunked\r\n"
    return b""


def direct_answer(
    status: int, fields: list[tuple[bytes, bytes]], body: bytes, close: bool, head_request: bool
) -> bytes:
    """An answer that a policy document asks for; 204 and 304 have no body, whatever it says."""
    lines = [_STATUS_LINES[status], b"server: mesh\r\n"]
    if status in (204, 304):
        body = b""
    else:
        lines.append(b"content-length: %d\r\n" % len(body))
    lines += [b"%b: %b\r\n" % field for field in fields]
    if close:
        lines.append(b"connection: close\r\n")
    head = join_head(lines)
    return head if head_request else head + body


def own_answer(
    status: int, text: bytes, fields: list[tuple[bytes, bytes]], *, close: bool, head_request: bool = False
) -> bytes:
    """An answer that this proxy makes itself: plain text, marked as the mesh's."""
    lines = [
        _STATUS_LINES[status],
        b"server: mesh\r\n",
    ]
    bare = status in NO_BODY_STATUS  # a fault may ask for any status
    if not bare:
        if not any(name.lower() == b"content-type" for name, _ in fields):
            lines.append(b"content-type: text/plain; charset=utf-8\r\n")
        lines.append(b"content-length: %d\r\n" % len(text))
    lines += [b"%b: %b\r\n" % field for field in fields]
    if close:
        lines.append(b"connection: close\r\n")
    head = join_head(lines)
    return head if head_request or bare else head + text
