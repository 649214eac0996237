"""The heads that a proxy sends on: what came in, without what must not pass, framed anew."""

from __future__ import annotations

from .events import Body, RequestHead, ResponseHead
from .framing import NO_BODY_STATUS
from .headers import HOP_BY_HOP, MESH_ONLY, forwardable, nominated
from .serialize import framing_line, status_line

# Written anew for every attempt, so never passed on as they came.
_REWRITTEN = frozenset(
    (
        b"host",
        b"content-length",
        b"traceparent",
        b"tracestate",
        b"x-request-id",
        b"x-envoy-attempt-count",
        b"x-envoy-expected-rq-timeout-ms",
        b"x-envoy-peer-metadata-id",
    )
)
_FORWARDED = frozenset(
    (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded", b"x-real-ip")
)

# RFC 9110 section 10.1.1: an expectation in an HTTP/1.0 request is ignored; passed on, it would be obeyed.
_NOT_IN_1_0 = frozenset((b"expect",))

DROP_REQUEST = HOP_BY_HOP | _REWRITTEN
"""From a peer whose mesh headers we believe."""
DROP_REQUEST_UNTRUSTED = DROP_REQUEST | MESH_ONLY | _FORWARDED
"""From anybody: what only the mesh may say is dropped."""
DROP_RESPONSE = HOP_BY_HOP | frozenset((b"content-length", b"x-envoy-upstream-service-time"))
DROP_RESPONSE_AT_EDGE = DROP_RESPONSE | MESH_ONLY


def request_lines(
    head: RequestHead, drop: frozenset[bytes], host: bytes, target: bytes | None = None
) -> list[bytes]:
    """Request line and fields, without those that differ by attempt; `join_head` finishes it."""
    also = nominated(head.fields.get(b"connection"))
    if not head.http11:
        also |= _NOT_IN_1_0
    lines = [b"%b %b HTTP/1.1\r\n" % (head.method, target or head.target), b"host: %b\r\n" % host]
    lines += forwardable(head.headers, drop | also if also else drop)
    if head.body is Body.NONE:
        if b"content-length" in head.fields:
            lines.append(b"content-length: 0\r\n")
        if head.upgrade == b"websocket":
            lines += [b"connection: Upgrade\r\n", b"upgrade: websocket\r\n"]
    else:
        lines.append(framing_line(head.body, head.length))
    return lines


def response_framing_out(head: ResponseHead, client11: bool) -> Body:
    """How the body goes out to this client: an unknown length is chunked, or until close for HTTP/1.0."""
    if head.body in (Body.CHUNKED, Body.UNTIL_CLOSE):
        return Body.CHUNKED if client11 else Body.UNTIL_CLOSE
    return head.body


def response_lines(
    head: ResponseHead, drop: frozenset[bytes], framing: Body, head_request: bool
) -> list[bytes]:
    """Status line and fields; `join_head` finishes it."""
    also = nominated(head.fields.get(b"connection"))
    lines = [status_line(head.status, head.reason)]
    lines += forwardable(head.headers, drop | also if also else drop)
    if framing is Body.TUNNEL:
        lines += [b"connection: Upgrade\r\n", b"upgrade: %b\r\n" % head.fields.get(b"upgrade", b"")]
    elif framing in (Body.LENGTH, Body.CHUNKED):
        lines.append(framing_line(framing, head.length))
    elif (length := head.fields.get(b"content-length")) is not None:  # a number: `response_framing` saw it
        # HEAD and 304 say how long the body would be; any other status without a body has none.
        if head_request or head.status == 304:
            lines.append(b"content-length: %b\r\n" % length.strip(b" \t"))
        elif head.status not in NO_BODY_STATUS:
            lines.append(b"content-length: 0\r\n")
    return lines
