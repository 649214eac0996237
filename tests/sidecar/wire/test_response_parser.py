"""What a backend may send, told apart by the request that it answers; fed whole and in pieces."""
# ruff: noqa: E501 - one row a line reads better than one row on five

from __future__ import annotations

import pytest

from sidecar.wire.events import Body, ResponseHead
from sidecar.wire.limits import Limits
from sidecar.wire.response_parser import ResponseParser

from .feed import STEPS, described, responses, verdict


def head(line: bytes = b"HTTP/1.1 200 OK", *fields: bytes) -> bytes:
    return b"\r\n".join([line, *fields, b"", b""])


L2 = b"Content-Length: 2"
CHUNKED = b"Transfer-Encoding: chunked"
UPGRADED = (b"Connection: Upgrade", b"Upgrade: websocket")

# (what, request's method, bytes, whether the backend then closes, verdict, connection may be used again)
ROWS: list[tuple[str, bytes, bytes, bool, str, bool]] = [
    ("known length", b"GET", head(b"HTTP/1.1 200 OK", L2) + b"ok", False, "ok", True),
    ("no reason phrase", b"GET", head(b"HTTP/1.1 200", L2) + b"ok", False, "ok", True),
    ("empty", b"GET", head(b"HTTP/1.1 200 OK", b"Content-Length: 0"), False, "ok", True),
    ("chunked", b"GET", head(b"HTTP/1.1 200 OK", CHUNKED) + b"2\r\nok\r\n0\r\n\r\n", False, "ok", True),
    ("trailer", b"GET", head(b"HTTP/1.1 200 OK", CHUNKED) + b"2\r\nok\r\n0\r\nA: b\r\n\r\n", False, "ok", True),
    ("until close", b"GET", head() + b"ok", True, "ok", False),
    ("until close, open", b"GET", head() + b"ok", False, "incomplete", False),
    ("close", b"GET", head(b"HTTP/1.1 200 OK", L2, b"Connection: close") + b"ok", False, "ok", True),
    ("1.0", b"GET", head(b"HTTP/1.0 200 OK", L2) + b"ok", False, "ok", True),
    # no body
    ("HEAD with a length", b"HEAD", head(b"HTTP/1.1 200 OK", L2), False, "ok", True),
    ("HEAD with chunked", b"HEAD", head(b"HTTP/1.1 200 OK", CHUNKED), False, "ok", True),
    ("HEAD without either", b"HEAD", head(), False, "ok", True),
    ("HEAD with a body all the same", b"HEAD", head(b"HTTP/1.1 200 OK", L2) + b"ok", False, "ok", False),
    ("204", b"GET", head(b"HTTP/1.1 204 No Content"), False, "ok", True),
    ("204 with a length", b"GET", head(b"HTTP/1.1 204 No Content", L2), False, "ok", True),
    ("204 with a body", b"GET", head(b"HTTP/1.1 204 No Content", L2) + b"ok", False, "ok", False),
    ("304 with a length", b"GET", head(b"HTTP/1.1 304 Not Modified", L2), False, "ok", True),
    # interim
    ("100", b"GET", head(b"HTTP/1.1 100 Continue") + head(b"HTTP/1.1 200 OK", L2) + b"ok", False, "ok", True),
    ("103", b"GET", head(b"HTTP/1.1 103 X", b"Link: a") + head(b"HTTP/1.1 204 X"), False, "ok", True),
    ("103 and HEAD", b"HEAD", head(b"HTTP/1.1 103 X") + head(b"HTTP/1.1 200 OK", L2), False, "ok", True),
    ("102 with a length", b"GET", head(b"HTTP/1.1 102 X", L2) + head(b"HTTP/1.1 204 X"), False, "502", False),
    ("199 with a body", b"GET", head(b"HTTP/1.1 199 X", L2) + b"ok" + head(b"HTTP/1.1 204 X"), False, "502", False),
    ("199 with chunks", b"GET", head(b"HTTP/1.1 199 X", CHUNKED) + b"0\r\n\r\n" + head(b"HTTP/1.1 204 X"), False, "502", False),
    ("100 then RTSP", b"GET", head(b"HTTP/1.1 100 X") + head(b"RTSP/1.0 200 OK", L2), False, "502", False),
    ("101", b"GET", head(b"HTTP/1.1 101 X", *UPGRADED), False, "ok", False),
    ("101 without upgrade", b"GET", head(b"HTTP/1.1 101 X"), False, "502", False),
    # cut short
    ("nothing", b"GET", b"", True, "502", False),
    ("in the line", b"GET", b"HTTP/1.1 2", True, "502", False),
    ("in the head", b"GET", b"HTTP/1.1 200 OK\r\nA: b\r\n", True, "502", False),
    ("in the body", b"GET", head(b"HTTP/1.1 200 OK", L2) + b"o", True, "502", False),
    ("in a chunk", b"GET", head(b"HTTP/1.1 200 OK", CHUNKED) + b"2\r\no", True, "502", False),
    ("before the last chunk", b"GET", head(b"HTTP/1.1 200 OK", CHUNKED) + b"2\r\nok\r\n", True, "502", False),
    ("behind 100", b"GET", head(b"HTTP/1.1 100 Continue"), True, "502", False),
    # more than was asked for
    ("bytes behind", b"GET", head(b"HTTP/1.1 200 OK", L2) + b"ok!", False, "ok", False),
    ("two responses", b"GET", (head(b"HTTP/1.1 200 OK", L2) + b"ok") * 2, False, "ok", False),
    ("half a response behind", b"GET", head(b"HTTP/1.1 200 OK", L2) + b"okHTTP/1.1 200 OK\r\nA", False, "ok", False),
    ("blank line behind HEAD", b"HEAD", head(b"HTTP/1.1 200 OK", b"Content-Length: 0") + b"\r\n", False, "ok", False),
    ("half behind HEAD", b"HEAD", head(b"HTTP/1.1 200 OK", L2) + b"HTTP", False, "ok", False),
    ("half behind 204", b"GET", head(b"HTTP/1.1 204 X") + b"H", False, "ok", False),
    ("half behind chunks", b"GET", head(b"HTTP/1.1 200 OK", CHUNKED) + b"0\r\n\r\nHT", False, "ok", False),
    # broken
    ("length and chunked", b"GET", head(b"HTTP/1.1 200 OK", L2, CHUNKED) + b"0\r\n\r\n", False, "502", False),
    ("two lengths", b"GET", head(b"HTTP/1.1 200 OK", L2, b"Content-Length: 3") + b"ok", False, "502", False),
    ("bad length", b"GET", head(b"HTTP/1.1 200 OK", b"Content-Length: x"), False, "502", False),
    ("gzip, chunked", b"GET", head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: gzip, chunked"), False, "502", False),
    ("identity", b"GET", head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: identity"), False, "502", False),
    ("chunked on 1.0", b"GET", head(b"HTTP/1.0 200 OK", CHUNKED) + b"0\r\n\r\n", False, "502", False),
    ("blank before colon", b"GET", head(b"HTTP/1.1 200 OK", b"A : b", L2) + b"ok", False, "502", False),
    ("folded line", b"GET", head(b"HTTP/1.1 200 OK", b"A: b\r\n c", L2) + b"ok", False, "502", False),
    ("NUL in a value", b"GET", head(b"HTTP/1.1 200 OK", b"A: b\0c", L2) + b"ok", False, "502", False),
    ("NUL in the reason", b"GET", head(b"HTTP/1.1 200 O\0K", L2) + b"ok", False, "502", False),
    ("CR in the reason", b"GET", head(b"HTTP/1.1 200 O\rK", L2) + b"ok", False, "502", False),
    ("LF only", b"GET", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", False, "502", False),
    ("status 99", b"GET", head(b"HTTP/1.1 099 X", L2), False, "502", False),
    ("status 600", b"GET", head(b"HTTP/1.1 600 X", L2) + b"ok", False, "502", False),
    ("four digits", b"GET", head(b"HTTP/1.1 2000 X", L2), False, "502", False),
    ("HTTP/2.0", b"GET", head(b"HTTP/2.0 200 OK", L2) + b"ok", False, "502", False),
    ("RTSP", b"GET", head(b"RTSP/1.0 200 OK", L2) + b"ok", False, "502", False),
    ("ICY", b"GET", head(b"ICY 200 OK", L2) + b"ok", False, "502", False),
    ("blank line before", b"GET", b"\r\n" + head(b"HTTP/1.1 200 OK", L2) + b"ok", False, "502", False),
    ("not HTTP", b"GET", b"SSH-2.0-OpenSSH\r\n", False, "502", False),
    ("framing in a trailer", b"GET", head(b"HTTP/1.1 200 OK", CHUNKED) + b"0\r\n" + CHUNKED + b"\r\n\r\n", False, "502", False),
    ("bad chunk", b"GET", head(b"HTTP/1.1 200 OK", CHUNKED) + b"x\r\n", False, "502", False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "raw", "eof", "expected", "reusable"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_verdict_of_every_row(method: bytes, raw: bytes, eof: bool, expected: str, reusable: bool) -> None:
    """Each row has its verdict, and a connection is used again only if nothing speaks against it."""
    whole, again = responses(raw, method, eof=eof)
    assert verdict(whole) == expected
    assert again is reusable
    for step in STEPS:
        pieces, again = responses(raw, method, step, eof)
        assert verdict(pieces) == expected, f"in steps of {step}"
        assert again is reusable, f"in steps of {step}"
        assert described(pieces)[-1:] == described(whole)[-1:]
        if expected == "ok":
            assert described(pieces) == described(whole)


@pytest.mark.parametrize(
    ("line", "fields", "keeps"),
    [
        (b"HTTP/1.1 200 OK", [L2], True),
        (b"HTTP/1.1 200 OK", [L2, b"Connection: keep-alive"], True),
        (b"HTTP/1.1 200 OK", [L2, b"Connection: a, Close"], False),
        (b"HTTP/1.1 200 OK", [], False),
        (b"HTTP/1.0 200 OK", [L2], False),
        (b"HTTP/1.0 200 OK", [L2, b"Connection: keep-alive"], False),
    ],
)
def test_persistence(line: bytes, fields: list[bytes], keeps: bool) -> None:
    """Only two HTTP/1.1 sides of known framing keep a connection."""
    event = responses(head(line, *fields))[0][0]
    assert isinstance(event, ResponseHead)
    assert event.keep_alive is keeps


def test_bytes_behind_101_belong_to_the_new_protocol() -> None:
    """They are given to the tunnel, not read as HTTP."""
    parser = ResponseParser()
    parser.expect(b"GET")
    event, _ = parser.feed(head(b"HTTP/1.1 101 X", *UPGRADED) + b"HTTP/1.1 nonsense")
    assert isinstance(event, ResponseHead)
    assert event.body is Body.TUNNEL
    assert parser.unread == b"HTTP/1.1 nonsense"


def test_one_parser_serves_one_response_after_the_other() -> None:
    """HEAD in between takes nothing from the next."""
    parser = ResponseParser()
    for method, raw in [
        (b"GET", head(b"HTTP/1.1 200 OK", L2) + b"ok"),
        (b"HEAD", head(b"HTTP/1.1 200 OK", L2)),
        (b"GET", head(b"HTTP/1.1 204 X")),
        (b"GET", head(b"HTTP/1.1 200 OK", CHUNKED) + b"1\r\na\r\n0\r\n\r\n"),
        (b"GET", head(b"HTTP/1.1 200 OK", L2) + b"ok"),
    ]:
        parser.expect(method)
        assert verdict(parser.feed(raw)) == "ok"
        assert parser.reusable


def test_bytes_that_nobody_asked_for_are_not_an_answer() -> None:
    """A 408 on an idle connection is nobody's answer, and ends the connection's use."""
    parser = ResponseParser()
    assert parser.feed(head(b"HTTP/1.1 408 X", L2) + b"ok") == []
    assert not parser.reusable


def test_started_tells_a_dead_connection_from_a_broken_answer() -> None:
    """Only a connection that died before any byte may be the keep-alive race."""
    parser = ResponseParser()
    parser.expect(b"GET")
    assert not parser.started
    parser.feed(b"H")
    assert parser.started
    parser = ResponseParser()
    parser.expect(b"GET")
    parser.feed(head(b"HTTP/1.1 200 OK", L2) + b"ok")
    parser.expect(b"GET")
    assert not parser.started


def test_what_does_not_begin_as_http_is_refused_before_its_line_ends() -> None:
    """Else a backend that waits for us to speak its protocol would hold the request until a time-out."""
    for start in (b"S", b"SSH-2.0", b"HTTP/2", b"HTTP/1.2 "):
        parser = ResponseParser()
        parser.expect(b"GET")
        assert verdict(parser.feed(start)) == "502"
    parser = ResponseParser()
    parser.expect(b"GET")
    assert parser.feed(b"HTTP/1.") == []


SMALL = Limits(head_bytes=1024, header_count=8, trailer_bytes=64, chunk_overhead_bytes=128)
LONG = b"a" * 2048

LIMITS: list[tuple[str, bytes]] = [
    ("reason", b"HTTP/1.1 200 " + LONG),
    ("field", head(b"HTTP/1.1 200 OK", b"A: " + LONG, L2)),
    ("field that never ends", b"HTTP/1.1 200 OK\r\nA: " + LONG),
    ("count", head(b"HTTP/1.1 200 OK", *[b"A: b"] * 9)),
    ("endless interim", head(b"HTTP/1.1 103 X", b"A: " + b"b" * 40) * 20),
    ("trailers", head(b"HTTP/1.1 200 OK", CHUNKED) + b"0\r\nA: " + b"b" * 70 + b"\r\n\r\n"),
    ("trailer that never ends", head(b"HTTP/1.1 200 OK", CHUNKED) + b"0\r\nA: " + LONG),
    ("extensions", head(b"HTTP/1.1 200 OK", CHUNKED) + (b"1;" + b"a" * 40 + b"\r\na\r\n") * 50),
]


@pytest.mark.parametrize("raw", [row[1] for row in LIMITS], ids=[row[0] for row in LIMITS])
def test_limits(raw: bytes) -> None:
    """A backend may not fill our memory either."""
    for step in STEPS:
        assert verdict(responses(raw, step=step, limits=SMALL)[0]) == "502", f"in steps of {step}"


def test_a_limit_is_of_one_response_not_of_a_connection() -> None:
    """A connection serves a hundred thousand of them."""
    parser = ResponseParser(SMALL)
    raw = head(b"HTTP/1.1 200 OK", b"A: " + b"b" * 400, L2) + b"ok"
    for _ in range(5):
        parser.expect(b"GET")
        assert verdict(parser.feed(raw[:200]) + parser.feed(raw[200:])) == "ok"
