"""Which fields pass, which may be nominated away, which values may never leave."""

from __future__ import annotations

import pytest

from sidecar.wire.events import Body, RequestHead, ResponseHead
from sidecar.wire.forward import (
    DROP_REQUEST,
    DROP_REQUEST_UNTRUSTED,
    DROP_RESPONSE,
    DROP_RESPONSE_AT_EDGE,
    DROP_RESPONSE_OF_APP,
    request_lines,
    response_framing_out,
    response_lines,
)
from sidecar.wire.headers import MAX_REMEMBERED, FieldFilter, has_token, is_host, is_safe_value, nominated
from sidecar.wire.serialize import UnsafeHeaderError, chunk, direct_answer, join_head, own_answer, status_line

from .feed import h11_response, requests, responses


def request(*fields: bytes, line: bytes = b"GET / HTTP/1.1") -> RequestHead:
    head = requests(b"\r\n".join([line, b"Host: x", *fields, b"", b""]))[0]
    assert isinstance(head, RequestHead), head
    return head


def response(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK", method: bytes = b"GET") -> ResponseHead:
    head = responses(b"\r\n".join([line, *fields, b"", b""]), method)[0][0]
    assert isinstance(head, ResponseHead), head
    return head


def forwarded(head: RequestHead, drop: FieldFilter = DROP_REQUEST) -> bytes:
    return join_head(request_lines(head, drop, b"svc"))


def returned(head: ResponseHead, client11: bool = True, head_request: bool = False) -> bytes:
    framing = response_framing_out(head, client11)
    return join_head(response_lines(head, DROP_RESPONSE, framing, head_request))


def test_hop_by_hop_fields_stay_here() -> None:
    """RFC 9110 section 7.6.1, the fixed ones and those that Connection names."""
    out = forwarded(
        request(
            b"Connection: keep-alive, X-Private",
            b"X-Private: 1",
            b"Keep-Alive: timeout=5",
            b"Proxy-Connection: keep-alive",
            b"TE: trailers",
            b"Trailer: X-Sum",
            b"Proxy-Authorization: Basic x",
            b"HTTP2-Settings: AAMAAABkAARAAAAA",
            b"Accept: */*",
        )
    )
    own = b"connection: te\r\nte: trailers\r\n"  # said anew, since trailers pass
    assert out == b"GET / HTTP/1.1\r\nhost: svc\r\nAccept: */*\r\n" + own + b"\r\n"


def test_a_client_cannot_nominate_away_what_protects_others() -> None:
    """Connection: authorization must not strip credentials from its own request on the way."""
    head = request(
        b"Connection: Host, Content-Length, Authorization, Transfer-Encoding, traceparent",
        b"Authorization: Bearer x",
        b"Content-Length: 3",
        line=b"POST / HTTP/1.1",
    )
    out = forwarded(head)
    assert b"Authorization: Bearer x\r\n" in out
    assert b"Content-Length: 3\r\n" in out
    assert b"host: svc\r\n" in out
    assert nominated(b"Host, Content-Length, Transfer-Encoding, Authorization, X-A") == {b"x-a"}


def test_what_is_written_anew_for_every_attempt_does_not_pass_as_it_came() -> None:
    """Else the callee would read two of them, and the first is the caller's."""
    fields = [
        b"Traceparent: 00-1-2-01",
        b"X-Request-Id: a",
        b"X-Envoy-Attempt-Count: 7",
        b"X-Envoy-Expected-Rq-Timeout-Ms: 9",
        b"X-Envoy-Peer-Metadata-Id: me",
    ]
    assert forwarded(request(*fields)) == b"GET / HTTP/1.1\r\nhost: svc\r\n\r\n"


def test_what_only_the_mesh_may_say_is_dropped_at_the_edge() -> None:
    """A browser must not name its own deadline, criticality or forwarding history."""
    fields = [
        b"X-Forwarded-For: 1.2.3.4",
        b"X-Forwarded-Proto: https",
        b"Forwarded: for=1.2.3.4",
        b"X-Real-IP: 1.2.3.4",
        b"X-Mesh-Criticality: critical",
        b"X-Envoy-Expected-Rq-Timeout-Ms: 9",
        b"X-Envoy-Peer-Metadata-Id: me",
        b"Accept: */*",
    ]
    assert forwarded(request(*fields), DROP_REQUEST_UNTRUSTED) == (
        b"GET / HTTP/1.1\r\nhost: svc\r\nAccept: */*\r\n\r\n"
    )
    inside = forwarded(request(*fields))
    assert b"X-Forwarded-For: 1.2.3.4\r\n" in inside
    assert b"X-Mesh-Criticality: critical\r\n" in inside
    assert b"Expected-Rq-Timeout" not in inside, "it is written anew for every attempt"


@pytest.mark.parametrize(
    "name",
    [
        *(
            "X-Envoy-Anything",
            "x-mesh-anything",
            "X-Forwarded-Anything",
            "X-Forwarded-Client-Cert",
            "Forwarded",
        ),
        *("Proxy", "X-Real-IP", "Endpoint-Load-Metrics", "x_forwarded_for", "X_Forwarded-For", "x_envoy_a_b"),
        *("X.Mesh.Criticality", "x!mesh~criticality", "X_Forwarded_Client_Cert", "transfer_encoding", "te"),
        *("X_Request_Id", "x-forwarded-", "Keep_Alive"),
    ],
)
def test_a_claim_is_dropped_at_the_edge_in_every_spelling(name: str) -> None:
    """By prefix, and with any byte for `-` of which CGI makes the same; each time, not only the first."""
    field = f"{name}: x".encode()
    for _ in range(2):
        out = forwarded(request(field, b"A: b"), DROP_REQUEST_UNTRUSTED)
        assert out == b"GET / HTTP/1.1\r\nhost: svc\r\nA: b\r\n\r\n"


@pytest.mark.parametrize(
    "name",
    ["x-forwarded", "x-envoyer", "xmesh-a", "proxy-status", "forwarded-by", "x-meshed", "via", "cookie"],
)
def test_what_only_looks_like_a_claim_passes(name: str) -> None:
    """A name that begins in another way, or goes on where a whole name is meant."""
    assert f"{name}: x\r\n".encode() in forwarded(request(f"{name}: x".encode()), DROP_REQUEST_UNTRUSTED)


def test_what_is_remembered_of_names_is_bounded() -> None:
    """Names come from anybody; the verdict stays the same when they are forgotten."""
    names = FieldFilter([b"proxy"], (b"x-mesh-",))
    for index in range(3 * MAX_REMEMBERED):
        assert names[b"n%d" % index]
        assert not names[b"x-mesh-%d" % index]
        assert len(names) <= MAX_REMEMBERED
    assert not names[b"proxy"]


def test_repeated_fields_stay_repeated() -> None:
    """Set-Cookie cannot be joined."""
    out = returned(response(b"Set-Cookie: a=1", b"set-cookie: b=2", b"Content-Length: 0"))
    assert b"Set-Cookie: a=1\r\nset-cookie: b=2\r\n" in out


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([b"Content-Length: 5"], b"Content-Length: 5\r\n"),
        ([b"Content-Length:  5 "], b"Content-Length: 5\r\n"),
        ([b"Transfer-Encoding: CHUNKED"], b"Transfer-Encoding: chunked\r\n"),
        ([b"Content-Length: 0"], b"content-length: 0\r\n"),
    ],
)
def test_framing_is_written_anew(fields: list[bytes], expected: bytes) -> None:
    """Once, and never both."""
    out = forwarded(request(*fields, line=b"POST / HTTP/1.1"))
    assert out.endswith(expected + b"\r\n")
    assert out.lower().count(b"content-length") + out.lower().count(b"transfer-encoding") == 1


def test_websocket_upgrade_is_passed_on_and_others_are_not() -> None:
    """h2c is dropped and the request served as HTTP/1.1."""
    asked = forwarded(request(b"Connection: Upgrade", b"Upgrade: WebSocket", b"Sec-WebSocket-Key: k"))
    assert b"connection: Upgrade\r\nupgrade: websocket\r\n" in asked
    h2c = forwarded(
        request(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAA")
    )
    assert h2c == b"GET / HTTP/1.1\r\nhost: svc\r\n\r\n"


def test_an_expectation_of_a_1_0_client_is_ignored() -> None:
    """RFC 9110 section 10.1.1; passed on as 1.1 it would be obeyed."""
    fields = (b"Expect: 100-continue", b"Content-Length: 1")
    assert b"Expect" not in forwarded(request(*fields, line=b"POST / HTTP/1.0"))
    assert b"Expect: 100-continue\r\n" in forwarded(request(*fields, line=b"POST / HTTP/1.1"))


def test_response_fields_that_only_the_mesh_may_say() -> None:
    """An app behind us cannot speak in the mesh's name."""
    head = response(b"X-Mesh-Reason: UF", b"Endpoint-Load-Metrics: x", b"X-Envoy-Peer-Metadata-Id: me",
                    b"X-Envoy-Overloaded: true", b"X-Envoy-Attempt-Count: 2", b"X-Mesh-Criticality: critical",
                    b"X-Envoy-Upstream-Service-Time: 3", b"X-Envoy-Expected-Rq-Timeout-Ms: 1",
                    b"Keep-Alive: timeout=5", b"A: b", b"Content-Length: 0")  # fmt: skip
    out = join_head(response_lines(head, DROP_RESPONSE_AT_EDGE, Body.NONE, False))
    assert out == b"HTTP/1.1 200 OK\r\nA: b\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize("drop", [DROP_RESPONSE_AT_EDGE, DROP_RESPONSE_OF_APP])
@pytest.mark.parametrize(
    "field", [b"x-mesh-fallback: static", b"X_Mesh_Reason: UF", b"x-envoy-degraded: true", b"x-envoy-x: 1"]
)
def test_no_answer_claims_anything_in_any_spelling(field: bytes, drop: FieldFilter) -> None:
    """Neither an app's, nor any that leaves the mesh."""
    out = join_head(response_lines(response(field, b"Content-Length: 0"), drop, Body.NONE, False))
    assert out == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("value", "passes"),
    [(b"mesh", False), (b"Mesh ", False), (b"nginx, mesh", False), (b"meshery/1", True), (b"nginx", True)],
)
def test_an_app_is_not_the_mesh(value: bytes, passes: bool) -> None:
    """`server: mesh` says that a sidecar made the answer; from the mesh itself it passes."""
    head = response(b"Server: " + value, b"Content-Length: 0")
    line = b"Server: " + value.strip()
    assert (line in join_head(response_lines(head, DROP_RESPONSE_OF_APP, Body.NONE, False))) is passes
    assert line in join_head(response_lines(head, DROP_RESPONSE, Body.NONE, False))


@pytest.mark.parametrize(
    "fields",
    [
        (b"Content-Length: 2",),
        (b"Transfer-Encoding: chunked",),
    ],
)
def test_a_body_where_servers_differ_is_the_connections_last(fields: tuple[bytes, ...]) -> None:
    """The backend is told so; with POST, PUT and PATCH, and without a body, it is not."""
    for method, last in ((b"GET", True), (b"TRACE", True), (b"POST", False), (b"PUT", False)):
        out = forwarded(request(*fields, line=method + b" / HTTP/1.1"))
        assert (b"connection: close\r\n" in out) is last
    assert b"connection: close\r\n" in forwarded(request(line=b"HEAD / HTTP/1.1"))
    assert b"connection" not in forwarded(request())


@pytest.mark.parametrize(
    ("line", "fields", "method", "client11", "expected"),
    [
        (b"HTTP/1.1 200 OK", [b"Content-Length: 5"], b"GET", True, b"Content-Length: 5\r\n"),
        (
            b"HTTP/1.1 200 OK",
            [b"Transfer-Encoding: chunked"],
            b"GET",
            True,
            b"Transfer-Encoding: chunked\r\n",
        ),
        (b"HTTP/1.1 200 OK", [b"Transfer-Encoding: chunked"], b"GET", False, b""),
        (b"HTTP/1.1 200 OK", [], b"GET", True, b"Transfer-Encoding: chunked\r\n"),
        (b"HTTP/1.1 200 OK", [], b"GET", False, b""),
        (b"HTTP/1.1 200 OK", [b"Content-Length: 5"], b"HEAD", True, b"content-length: 5\r\n"),
        (b"HTTP/1.1 200 OK", [b"Transfer-Encoding: chunked"], b"HEAD", True, b""),
        (b"HTTP/1.1 304 Not Modified", [b"Content-Length: 5"], b"GET", True, b"content-length: 5\r\n"),
        (b"HTTP/1.1 204 No Content", [b"Content-Length: 5"], b"GET", True, b""),
    ],
)
def test_framing_of_answers(
    line: bytes, fields: list[bytes], method: bytes, client11: bool, expected: bytes
) -> None:
    """An unknown length is chunked, or until close for 1.0; HEAD and 304 keep the length they tell."""
    out = returned(response(*fields, line=line, method=method), client11, method == b"HEAD")
    assert out == line + b"\r\n" + expected + b"\r\n"


@pytest.mark.parametrize("bad", [b"a\r\nb", b"a\nb", b"a\rb", b"a\0b", b"a\r\n\r\nGET / HTTP/1.1"])
def test_no_line_of_ours_breaks_a_head_apart(bad: bytes) -> None:
    """The one check before every head; covers names, values and start lines."""
    for line in (b"x: %b\r\n" % bad, b"%b: x\r\n" % bad, b"GET %b HTTP/1.1\r\n" % bad):
        with pytest.raises(UnsafeHeaderError):
            join_head([b"GET / HTTP/1.1\r\n", line])


def test_own_answers_are_http() -> None:
    """Plain text, marked as the mesh's, without a body for HEAD."""
    raw = own_answer(503, b"UF: no\n", [(b"x-mesh-reason", b"UF: no")], close=True)
    assert h11_response(raw, eof=True) == (503, b"UF: no\n")
    assert b"server: mesh\r\n" in raw
    head = own_answer(503, b"UF: no\n", [], close=False, head_request=True)
    assert head.endswith(b"\r\n\r\n")
    assert h11_response(head, b"HEAD") == (503, b"")


@pytest.mark.parametrize(
    ("status", "head_request", "length", "body"),
    [
        (200, False, b"content-length: 2\r\n", b"hi"),
        (200, True, b"content-length: 2\r\n", b""),
        (204, False, b"", b""),
        (304, False, b"", b""),
    ],
)
def test_a_document_s_answer_is_http(status: int, head_request: bool, length: bytes, body: bytes) -> None:
    """A body behind a status or a method that has none would be read as the next answer."""
    raw = direct_answer(status, [(b"x-a", b"b")], b"hi", close=False, head_request=head_request)
    line = status_line(status, b"")
    assert raw == line + b"server: mesh\r\n" + length + b"x-a: b\r\n\r\n" + body


def test_small_things() -> None:
    """Chunks, status lines, tokens."""
    assert chunk(b"a" * 26) == b"1a\r\n" + b"a" * 26 + b"\r\n"
    assert status_line(200, b"OK") == status_line(200, b"") == b"HTTP/1.1 200 OK\r\n"
    assert status_line(200, b"Fine") == b"HTTP/1.1 200 Fine\r\n"
    assert has_token(b"a, Close", b"close")
    assert not has_token(b"enclosed", b"close")
    assert not has_token(None, b"close")
    assert nominated(b"close, X-A ,keep-alive") == {b"x-a"}
    assert nominated(None) == nominated(b"close") == frozenset()


def test_the_validators_refuse_every_bad_byte() -> None:
    """Each of the 256, alone and inside: a validator that was never seen to refuse may not work."""
    for byte in range(256):
        raw = bytes([byte])
        control = (byte < 32 and byte != 9) or byte == 127
        assert is_safe_value(b"a" + raw + b"b") is not control
        if byte < 33 or byte > 126 or raw in b'/?#@\\"<>^`{|},':
            assert not is_host(b"a" + raw + b"b")
    assert not is_host(b"")
    assert not is_host(b"a\n")
    assert is_host(b"a:65535")
    assert not is_host(b"a:655350")
