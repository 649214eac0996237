"""The heads that a proxy sends on: what came in, without what must not pass, framed anew."""

from __future__ import annotations

from .events import Body, Header, RequestHead, ResponseHead
from .framing import NO_BODY_STATUS, is_plain
from .headers import HOP_BY_HOP, MESH_ONLY, MESH_ONLY_PREFIXES, FieldFilter, has_token, is_mesh, nominated
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
        # what an app asks of its own sidecar
        b"x-envoy-upstream-rq-timeout-ms",
        b"x-envoy-upstream-rq-per-try-timeout-ms",
        b"x-envoy-max-retries",
        b"x-envoy-retry-on",
    )
)
# What a client may not say of itself, or of its certificate, and `proxy`, which many an HTTP library behind
# CGI takes for the environment's HTTP_PROXY.
_CLAIMS = MESH_ONLY | frozenset((b"forwarded", b"proxy", b"x-real-ip", b"x-forwarded-client-cert"))

# RFC 9110 section 10.1.1: an expectation in an HTTP/1.0 request is ignored; passed on, it would be obeyed.
_NOT_IN_1_0 = frozenset((b"expect",))

# RFC 9110 section 6.5.1: what steers, authenticates or changes a message is not read behind it. A server that
# merges trailers into the head would take them for what its own checks have seen there.
_NOT_BEHIND = frozenset(
    (
        b"age", b"authorization", b"cache-control", b"content-encoding", b"content-range", b"content-type",
        b"cookie", b"expect", b"expires", b"host", b"if-match", b"if-modified-since", b"if-none-match",
        b"if-range", b"if-unmodified-since", b"location", b"max-forwards", b"pragma", b"range",
        b"retry-after", b"set-cookie", b"tracestate", b"vary", b"via", b"www-authenticate",
    )
)  # fmt: skip

_DROP_REQUEST = HOP_BY_HOP | _REWRITTEN
_DROP_RESPONSE = HOP_BY_HOP | frozenset((b"content-length", b"x-envoy-upstream-service-time"))

CLAIMS = FieldFilter(_CLAIMS, (*MESH_ONLY_PREFIXES, b"x-forwarded-"))
"""What a stranger says that is not believed, and so not passed on."""
DROP_REQUEST = FieldFilter(_DROP_REQUEST)
"""From a peer whose mesh headers we believe."""
DROP_REQUEST_UNTRUSTED = FieldFilter(_DROP_REQUEST | _CLAIMS, (*MESH_ONLY_PREFIXES, b"x-forwarded-"))
"""From anybody: what only the mesh may say is dropped."""
DROP_RESPONSE = FieldFilter(_DROP_RESPONSE)
DROP_RESPONSE_AT_EDGE = FieldFilter(_DROP_RESPONSE | MESH_ONLY, MESH_ONLY_PREFIXES)
DROP_RESPONSE_OF_APP = FieldFilter(_DROP_RESPONSE | MESH_ONLY, MESH_ONLY_PREFIXES, of_app=True)
_OF_THE_MESH = FieldFilter(MESH_ONLY, MESH_ONLY_PREFIXES)
_DROP_TRAILERS = FieldFilter(
    _DROP_REQUEST | _DROP_RESPONSE | _CLAIMS | _NOT_BEHIND, (*MESH_ONLY_PREFIXES, b"x-forwarded-")
)

_SERVER = frozenset((b"server",))


def _gone(fields: dict[bytes, bytes], also: frozenset[bytes] | None) -> frozenset[bytes] | None:
    """With `also`, what the message's own Connection names."""
    connection = fields.get(b"connection")
    if connection is None:
        return also
    return nominated(connection) | also if also else nominated(connection)


def request_lines(
    head: RequestHead,
    drop: FieldFilter,
    host: bytes,
    target: bytes | None = None,
    also: frozenset[bytes] | None = None,
) -> list[bytes]:
    """Request line and fields, without those that differ by attempt; `join_head` finishes it."""
    also = _gone(head.fields, also)
    if not head.http11:
        also = _NOT_IN_1_0 | also if also else _NOT_IN_1_0
    lines = [b"%b %b HTTP/1.1\r\n" % (head.method, target or head.target), b"host: %b\r\n" % host]
    lines += drop.lines(head.headers, also)
    if head.body is Body.NONE:
        if b"content-length" in head.fields:
            lines.append(b"content-length: 0\r\n")
        if head.upgrade == b"websocket":
            lines += [b"connection: Upgrade\r\n", b"upgrade: websocket\r\n"]
            return lines
    else:
        lines.append(framing_line(head.body, head.length))
        if head.body is Body.CHUNKED:
            lines += _announced(head)
    if not is_plain(head):
        lines.append(b"connection: close\r\n")
    elif takes_trailers(head) and head.upgrade != b"websocket":
        lines += [b"connection: te\r\n", b"te: trailers\r\n"]
    return lines


def takes_trailers(head: RequestHead) -> bool:
    """Whether the client can take fields behind the body of its answer (RFC 9110 section 10.1.4)."""
    te = head.fields.get(b"te")
    return te is not None and head.http11 and has_token(te, b"trailers")


def trailer_lines(trailers: list[Header]) -> list[bytes]:
    """The field lines behind a body that pass."""
    return _DROP_TRAILERS.lines(trailers, None)


def disbelieve(head: ResponseHead) -> None:
    """It came from who is none of the mesh: what it says in the mesh's name was never said."""
    head.headers = [field for field in head.headers if _OF_THE_MESH[field[1]]]
    head.fields = {name: value for name, value in head.fields.items() if _OF_THE_MESH[name]}


def _announced(head: RequestHead | ResponseHead) -> list[bytes]:
    """Go's server, and not it alone, gives its program only those trailers that the head has announced."""
    names = head.fields.get(b"trailer")
    return [] if names is None else [b"trailer: %b\r\n" % names]


def response_framing_out(head: ResponseHead, client11: bool) -> Body:
    """How the body goes out to this client: an unknown length is chunked, or until close for HTTP/1.0."""
    if head.body in (Body.CHUNKED, Body.UNTIL_CLOSE):
        return Body.CHUNKED if client11 else Body.UNTIL_CLOSE
    return head.body


def response_lines(
    head: ResponseHead,
    drop: FieldFilter,
    framing: Body,
    head_request: bool,
    also: frozenset[bytes] | None = None,
    trailers: bool = False,
) -> list[bytes]:
    """Status line and fields; `join_head` finishes it. `trailers`: the client takes those."""
    also = _gone(head.fields, also)
    if drop.of_app and b"server" in head.fields and is_mesh(head.fields[b"server"]):
        also = _SERVER | also if also else _SERVER
    lines = [status_line(head.status, head.reason)]
    lines += drop.lines(head.headers, also)
    if framing is Body.TUNNEL:
        lines += [b"connection: Upgrade\r\n", b"upgrade: %b\r\n" % head.fields.get(b"upgrade", b"")]
    elif framing in (Body.LENGTH, Body.CHUNKED):
        lines.append(framing_line(framing, head.length))
        if trailers and framing is Body.CHUNKED:
            lines += _announced(head)
    elif (length := head.fields.get(b"content-length")) is not None:  # a number: `response_framing` saw it
        # HEAD and 304 say how long the body would be; any other status without a body has none.
        if head_request or head.status == 304:
            lines.append(b"content-length: %b\r\n" % length.strip(b" \t"))
        elif head.status not in NO_BODY_STATUS:
            lines.append(b"content-length: 0\r\n")
    return lines
