"""Every row of what a request may and may not be, fed whole and in pieces."""

from __future__ import annotations

import pytest
from httptools import HttpRequestParser

from sidecar.wire.events import END, Body, ProtocolError, RequestHead
from sidecar.wire.limits import Limits
from sidecar.wire.request_parser import RequestParser

from .feed import STEPS, described, requests, verdict

H = b"Host: x\r\n"


def head(line: bytes = b"GET / HTTP/1.1", *fields: bytes, host: bytes = b"Host: x") -> bytes:
    return b"\r\n".join([line, *([host] if host else []), *fields, b"", b""])


CHUNKED = b"Transfer-Encoding: chunked"
UPGRADE = (b"Connection: Upgrade", b"Upgrade: websocket")
H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAA")

ROWS: list[tuple[str, bytes, str]] = [
    # what must pass
    ("plain", head(), "ok"),
    ("1.0", head(b"GET / HTTP/1.0"), "ok"),
    ("1.0 without Host", head(b"GET / HTTP/1.0", host=b""), "ok"),
    ("body of known length", head(b"POST / HTTP/1.1", b"Content-Length: 5") + b"hello", "ok"),
    ("length with blanks", head(b"POST / HTTP/1.1", b"Content-Length:   5 \t") + b"hello", "ok"),
    ("empty body", head(b"POST / HTTP/1.1", b"Content-Length: 0"), "ok"),
    ("chunked", head(b"POST / HTTP/1.1", CHUNKED) + b"5\r\nhello\r\n0\r\n\r\n", "ok"),
    ("chunked in capitals", head(b"POST / HTTP/1.1", b"Transfer-Encoding: CHUNKED") + b"0\r\n\r\n", "ok"),
    ("chunk extension", head(b"POST / HTTP/1.1", CHUNKED) + b"5;a=b\r\nhello\r\n0\r\n\r\n", "ok"),
    ("trailer", head(b"POST / HTTP/1.1", CHUNKED) + b"0\r\nX-Sum: 1\r\n\r\n", "ok"),
    ("blank line before", b"\r\n" + head(), "ok"),
    ("high bytes in a value", head(b"GET / HTTP/1.1", b"X: \xff\xfe"), "ok"),
    ("Host with blank behind", head(host=b"Host: x \t"), "ok"),
    ("Host with port", head(host=b"Host: x:80"), "ok"),
    ("Host IPv6", head(host=b"Host: [::1]:80"), "ok"),
    ("OPTIONS *", head(b"OPTIONS * HTTP/1.1"), "ok"),
    ("absolute form", head(b"GET http://y/a HTTP/1.1"), "ok"),
    ("WebDAV", head(b"PROPFIND / HTTP/1.1"), "ok"),
    ("a method of somebody's own", head(b"BREW / HTTP/1.1"), "ok"),
    ("its every letter", head(b"!#$%&'*+-.^_`|~09Az / HTTP/1.1"), "ok"),
    ("begins like a known one", head(b"GETX / HTTP/1.1"), "ok"),
    ("known, in small letters", head(b"get / HTTP/1.1"), "ok"),
    ("known to RTSP", head(b"DESCRIBE / HTTP/1.1"), "ok"),
    ("its own method, a blank line before", b"\r\n" + head(b"BREW / HTTP/1.1"), "ok"),
    ("its own method, with a body", head(b"BREW / HTTP/1.1", b"Content-Length: 2") + b"hi", "ok"),
    ("upgrade in HTTP/1.0", head(b"GET / HTTP/1.0", *UPGRADE), "ok"),
    ("upgrade with a body in 1.0", head(b"GET / HTTP/1.0", *UPGRADE, b"Content-Length: 2") + b"hi", "ok"),
    ("upgrade to websocket", head(b"GET / HTTP/1.1", *UPGRADE), "ok"),
    ("upgrade to h2c", head(b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: h2c"), "ok"),
    ("h2c with a body", head(b"POST / HTTP/1.1", *H2C, b"Content-Length: 5") + b"hello", "ok"),
    ("h2c with chunks", head(b"POST / HTTP/1.1", *H2C, CHUNKED) + b"5\r\nhello\r\n0\r\nX: 1\r\n\r\n", "ok"),
    ("h2c with a bad chunk", head(b"POST / HTTP/1.1", *H2C, CHUNKED) + b"z\r\nhello\r\n0\r\n\r\n", "400"),
    (
        "h2c with a framing trailer",
        head(b"POST / HTTP/1.1", *H2C, CHUNKED) + b"0\r\nContent-Length: 1\r\n\r\n",
        "400",
    ),
    ("websocket with a body", head(b"POST / HTTP/1.1", *UPGRADE, b"Content-Length: 5") + b"hello", "400"),
    ("expectation", head(b"POST / HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 1") + b"a", "ok"),
    # Host
    ("no Host", head(host=b""), "400"),
    ("two Hosts", head(b"GET / HTTP/1.1", b"Host: y"), "400"),
    ("two equal Hosts", head(b"GET / HTTP/1.1", b"Host: x"), "400"),
    ("Host with blank inside", head(host=b"Host: x y"), "400"),
    ("Host with comma", head(host=b"Host: x,y"), "400"),
    ("Host with userinfo", head(host=b"Host: a@x"), "400"),
    ("Host with slash", head(host=b"Host: x/y"), "400"),
    ("empty Host", head(host=b"Host:"), "ok"),
    ("empty Host of blanks", head(host=b"Host: \t "), "ok"),
    ("empty Host twice", head(b"GET / HTTP/1.1", b"Host:", host=b"Host:"), "400"),
    ("absolute form with an empty Host", head(b"GET http://x/ HTTP/1.1", host=b"Host:"), "ok"),
    ("a port and no host", head(host=b"Host: :80"), "400"),
    ("Host with bad port", head(host=b"Host: x:8a"), "400"),
    # versions
    ("0.9 line", b"GET /\r\n\r\n", "505"),
    ("HTTP/0.9", head(b"GET / HTTP/0.9"), "505"),
    ("HTTP/2.0", head(b"GET / HTTP/2.0"), "505"),
    ("HTTP/1.2", head(b"GET / HTTP/1.2"), "505"),
    ("HTTP/3.0", head(b"GET / HTTP/3.0"), "505"),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
    ("RTSP", head(b"GET / RTSP/1.0"), "400"),
    ("RTSP/1.1", head(b"OPTIONS / RTSP/1.1"), "400"),
    ("ICE", head(b"SOURCE / ICE/1.1"), "400"),
    ("lower-case http", head(b"GET / http/1.1"), "400"),
    ("version with blank behind", head(b"GET / HTTP/1.1 "), "400"),
    # lengths
    ("length and chunked", head(b"POST / HTTP/1.1", b"Content-Length: 5", CHUNKED) + b"0\r\n\r\n", "400"),
    ("chunked and length", head(b"POST / HTTP/1.1", CHUNKED, b"Content-Length: 5") + b"0\r\n\r\n", "400"),
    ("two lengths", head(b"POST / HTTP/1.1", b"Content-Length: 5", b"Content-Length: 6") + b"hello", "400"),
    ("two equal lengths", head(b"POST / HTTP/1.1", *[b"Content-Length: 5"] * 2) + b"hello", "400"),
    ("list of lengths", head(b"POST / HTTP/1.1", b"Content-Length: 5, 5") + b"hello", "400"),
    ("signed length", head(b"POST / HTTP/1.1", b"Content-Length: +5") + b"hello", "400"),
    ("negative length", head(b"POST / HTTP/1.1", b"Content-Length: -5"), "400"),
    ("hex length", head(b"POST / HTTP/1.1", b"Content-Length: 0x5") + b"hello", "400"),
    ("length with point", head(b"POST / HTTP/1.1", b"Content-Length: 5.0") + b"hello", "400"),
    ("no length", head(b"POST / HTTP/1.1", b"Content-Length:") + b"hello", "400"),
    ("length over 2**64", head(b"POST / HTTP/1.1", b"Content-Length: 18446744073709551617"), "400"),
    # codings
    ("chunked on 1.0", head(b"POST / HTTP/1.0", CHUNKED) + b"0\r\n\r\n", "400"),
    ("identity", head(b"POST / HTTP/1.1", b"Transfer-Encoding: identity"), "400"),
    ("xchunked", head(b"POST / HTTP/1.1", b"Transfer-Encoding: xchunked"), "400"),
    ("quoted chunked", head(b"POST / HTTP/1.1", b'Transfer-Encoding: "chunked"'), "400"),
    ("chunked with parameter", head(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked;a=b"), "400"),
    ("empty coding", head(b"POST / HTTP/1.1", b"Transfer-Encoding:"), "400"),
    ("gzip, chunked", head(b"POST / HTTP/1.1", b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n", "501"),
    ("gzip,chunked", head(b"POST / HTTP/1.1", b"Transfer-Encoding: gzip,chunked") + b"0\r\n\r\n", "501"),
    ("chunked, gzip", head(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked, gzip") + b"0\r\n\r\n", "400"),
    ("chunked twice", head(b"POST / HTTP/1.1", CHUNKED, CHUNKED) + b"0\r\n\r\n", "400"),
    ("chunked, chunked", head(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked, chunked"), "400"),
    ("vertical tab before chunked", head(b"POST / HTTP/1.1", b"Transfer-Encoding: \x0bchunked"), "400"),
    # fields
    ("blank before colon", head(b"GET / HTTP/1.1", b"X : y"), "400"),
    ("folded line", head(b"GET / HTTP/1.1", b"X: y\r\n z"), "400"),
    ("first field with blank", b"GET / HTTP/1.1\r\n " + H + b"\r\n", "400"),
    ("empty name", head(b"GET / HTTP/1.1", b": y"), "400"),
    ("no colon", head(b"GET / HTTP/1.1", b"X"), "400"),
    ("NUL in a value", head(b"GET / HTTP/1.1", b"X: a\0b"), "400"),
    ("control in a value", head(b"GET / HTTP/1.1", b"X: a\x01b"), "400"),
    ("DEL in a value", head(b"GET / HTTP/1.1", b"X: a\x7fb"), "400"),
    ("CR in a value", head(b"GET / HTTP/1.1", b"X: a\rb"), "400"),
    ("high byte in a name", head(b"GET / HTTP/1.1", b"X\xe4: a"), "400"),
    ("bracket in a name", head(b"GET / HTTP/1.1", b"X]: a"), "400"),
    ("LF only", b"GET / HTTP/1.1\nHost: x\n\n", "400"),
    ("LF behind a field", b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", "400"),
    # the line
    ("HEAD in small letters", head(b"head / HTTP/1.1"), "400"),
    ("CONNECT in mixed letters", head(b"Connect x:443 HTTP/1.1"), "400"),
    ("no method", head(b" / HTTP/1.1"), "400"),
    ("no token", head(b"BR(EW / HTTP/1.1"), "400"),
    ("high byte in a method", head(b"BR\xc3W / HTTP/1.1"), "400"),
    ("a method without end", head(b"B" * 65 + b" / HTTP/1.1"), "400"),
    ("its own method, bad target", head(b"BREW a HTTP/1.1"), "400"),
    ("its own method, another protocol", head(b"BREW / RTSP/1.0"), "400"),
    ("RTSP", head(b"DESCRIBE / RTSP/1.0"), "400"),
    ("its own method, HTTP/2.0", head(b"BREW / HTTP/2.0"), "505"),
    ("CONNECT", head(b"CONNECT x:443 HTTP/1.1"), "405"),
    *(
        ("CONNECT, whatever else", raw, "405")
        for raw in (
            head(b"CONNECT / HTTP/1.1"),
            head(b"CONNECT / HTTP/1.1", b"Content-Length: 37") + b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n",
            head(b"CONNECT / HTTP/1.1", CHUNKED) + b"0\r\n\r\n",
            head(b"CONNECT x HTTP/1.1"),
            head(b"CONNECT * HTTP/1.1"),
            head(b"CONNECT http://x/ HTTP/1.1"),
            head(b"CONNECT x:443 HTTP/1.0", host=b""),
            head(b"CONNECT x:443 HTTP/1.1", host=b""),
            head(b"CONNECT x:443 HTTP/1.1", b"A : b"),
            head(b"CONNECT x:443 HTTP/1.1", b"Content-Length: 1", CHUNKED),
            head(b"CONNECT x:443 HTTP/1.1", b"X: " + b"a" * 70_000),
            head(b"CONNECT /" + b"a" * 20_000 + b" HTTP/1.1"),
        )
    ),
    ("GET *", head(b"GET * HTTP/1.1"), "400"),
    ("fragment", head(b"GET /a#b HTTP/1.1"), "400"),
    ("two blanks", head(b"GET  / HTTP/1.1"), "400"),
    ("blank in the target", head(b"GET /a b HTTP/1.1"), "400"),
    ("tab in the line", head(b"GET\t/ HTTP/1.1"), "400"),
    ("UTF-8 in the target", head(b"GET /\xc3\xa4 HTTP/1.1"), "400"),
    ("malformed UTF-8 in the target", head(b"GET /\xc3( HTTP/1.1"), "400"),
    ("malformed UTF-8 in an absolute target", head(b"GET http://x/\xff HTTP/1.1"), "400"),
    ("escapes that are no UTF-8", head(b"GET /%ff%c3%28%zz HTTP/1.1"), "ok"),
    ("userinfo in the target", head(b"GET http://a@x/ HTTP/1.1"), "400"),
    ("no authority", head(b"GET http:/// HTTP/1.1"), "400"),
    ("another scheme", head(b"GET ftp://x/ HTTP/1.1"), "400"),
    ("no slash", head(b"GET a HTTP/1.1"), "400"),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00", "400"),
    # chunks
    ("blank in a size", head(b"POST / HTTP/1.1", CHUNKED) + b"5 \r\nhello\r\n0\r\n\r\n", "400"),
    ("0x in a size", head(b"POST / HTTP/1.1", CHUNKED) + b"0x5\r\nhello\r\n0\r\n\r\n", "400"),
    ("sign in a size", head(b"POST / HTTP/1.1", CHUNKED) + b"+5\r\nhello\r\n0\r\n\r\n", "400"),
    ("size over 2**64", head(b"POST / HTTP/1.1", CHUNKED) + b"11111111111111111\r\nhello", "400"),
    ("LF behind a size", head(b"POST / HTTP/1.1", CHUNKED) + b"5\nhello\r\n0\r\n\r\n", "400"),
    ("no CRLF behind a chunk", head(b"POST / HTTP/1.1", CHUNKED) + b"5\r\nhello0\r\n\r\n", "400"),
    ("chunk longer than its size", head(b"POST / HTTP/1.1", CHUNKED) + b"3\r\nhello\r\n0\r\n\r\n", "400"),
    ("LF in an extension", head(b"POST / HTTP/1.1", CHUNKED) + b"5;a\nb\r\nhello\r\n0\r\n\r\n", "400"),
    ("length in a trailer", head(b"POST / HTTP/1.1", CHUNKED) + b"0\r\nContent-Length: 9\r\n\r\n", "400"),
    (
        "coding in a trailer",
        head(b"POST / HTTP/1.1", CHUNKED) + b"0\r\nTransfer-Encoding: gzip\r\n\r\n",
        "400",
    ),
    # upgrades
    ("upgrade with a length", head(b"POST / HTTP/1.1", *UPGRADE, b"Content-Length: 5") + b"hello", "400"),
    ("upgrade with chunks", head(b"POST / HTTP/1.1", *UPGRADE, CHUNKED) + b"0\r\n\r\n", "400"),
    ("bytes behind close", head(b"GET / HTTP/1.1", b"Connection: close") + head(), "400"),
]


@pytest.mark.parametrize(("raw", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_verdict_of_every_row(raw: bytes, expected: str) -> None:
    """Each row has its answer, in whatever pieces it comes."""
    whole = requests(raw)
    assert verdict(whole) == expected
    for step in STEPS:
        pieces = requests(raw, step)
        assert verdict(pieces) == expected, f"in steps of {step}"
        # A fault in the body is seen after the head was given; until then the events are the same.
        assert described(pieces)[-1] == described(whole)[-1]
        if expected == "ok":
            assert described(pieces) == described(whole)


def test_a_head_says_what_was_sent() -> None:
    """Names keep their case and order, repeated fields stay repeated and are joined for look-ups."""
    (event, end) = requests(head(b"GET /a?b=c HTTP/1.1", b"B: 1", b"a: 2", b"b: 3"))
    assert isinstance(event, RequestHead)
    assert end is END
    assert (event.method, event.target, event.host) == (b"GET", b"/a?b=c", b"x")
    assert [name for name, _, _ in event.headers] == [b"Host", b"B", b"a", b"b"]
    assert event.fields[b"b"] == b"1, 3"
    assert event.body is Body.NONE


@pytest.mark.parametrize(
    ("target", "host", "path"),
    [
        (b"http://y/a", b"y", b"/a"),
        (b"HTTP://y:81/a?b", b"y:81", b"/a?b"),
        (b"http://y", b"y", b"/"),
        (b"http://y?q", b"y", b"/?q"),
        (b"https://y/", b"y", b"/"),
    ],
)
def test_absolute_form_wins_over_host(target: bytes, host: bytes, path: bytes) -> None:
    """RFC 9112 section 3.2.2: the Host field of such a request is not looked at."""
    event = requests(head(b"GET %b HTTP/1.1" % target))[0]
    assert isinstance(event, RequestHead)
    assert (event.host, event.target) == (host, path)


def test_absolute_form_of_options_without_a_path_is_the_asterisk() -> None:
    """RFC 9112 section 3.2.4."""
    event = requests(head(b"OPTIONS http://y HTTP/1.1"))[0]
    assert isinstance(event, RequestHead)
    assert event.target == b"*"


@pytest.mark.parametrize(
    ("line", "connection", "keeps"),
    [
        (b"GET / HTTP/1.1", b"", True),
        (b"GET / HTTP/1.1", b"Connection: close", False),
        (b"GET / HTTP/1.1", b"Connection: x, CLOSE", False),
        (b"GET / HTTP/1.0", b"", False),
        (b"GET / HTTP/1.0", b"Connection: Keep-Alive", True),
        (b"GET / HTTP/1.0", b"Connection: keep-alive, close", False),
    ],
)
def test_persistence(line: bytes, connection: bytes, keeps: bool) -> None:
    """RFC 9112 section 9.3."""
    event = requests(head(line, *([connection] if connection else [])))[0]
    assert isinstance(event, RequestHead)
    assert event.keep_alive is keeps


def test_trailers_are_apart_from_the_head() -> None:
    """A trailer named Host must not become the host; the next message has none of them."""
    raw = head(b"POST / HTTP/1.1", CHUNKED) + b"1\r\na\r\n0\r\nHost: evil\r\nX-Admin: 1\r\n\r\n"
    event, body, trailers, end, *following = requests(raw + head(b"POST / HTTP/1.1", CHUNKED) + b"0\r\n\r\n")
    assert isinstance(event, RequestHead)
    assert event.host == b"x"
    assert b"x-admin" not in event.fields
    assert body == b"a"
    assert trailers.fields == [(b"Host", b"host", b"evil"), (b"X-Admin", b"x-admin", b"1")]
    assert end is END
    assert [type(each) for each in following] == [RequestHead, type(END)]


@pytest.mark.parametrize("step", [1, 2, 5, 1000])
def test_a_method_of_somebodys_own_is_kept_to_the_letter(step: int) -> None:
    """However it is cut; and the next message has a method of its own."""
    raw = head(b"GeTTER /a HTTP/1.1", b"Content-Length: 2") + b"hi" + head(b"GET /b HTTP/1.1")
    first, body, end, second, _ = requests(raw, step)
    assert (first.method, first.target, body, end) == (b"GeTTER", b"/a", b"hi", END)
    assert (second.method, second.target) == (b"GET", b"/b")


def test_an_upgrade_in_http_1_0_is_none() -> None:
    """RFC 9110 section 7.8; what follows is read as HTTP."""
    first, end = requests(head(b"GET / HTTP/1.0", *UPGRADE))
    assert (first.upgrade, end) == (b"", END)


def test_pipelined_requests_come_one_at_a_time() -> None:
    """What is behind a message stays bytes until `next`."""
    parser = RequestParser()
    raw = head(b"GET /1 HTTP/1.1") + head(b"POST /2 HTTP/1.1", b"Content-Length: 2") + b"hi" + b"GET /3"
    first = parser.feed(raw)
    assert [repr(event) for event in first] == ["<RequestHead GET /1 NONE>", "END"]
    assert parser.complete
    assert parser.pending
    assert parser.feed(b" HTTP/1.1\r\nHost: x\r\n\r\n") == []
    second = merged_reprs(parser)
    assert second == ["<RequestHead POST /2 LENGTH>", "b'hi'", "END"]
    assert merged_reprs(parser) == ["<RequestHead GET /3 NONE>", "END"]
    assert parser.next() == []
    assert not parser.pending


def merged_reprs(parser: RequestParser) -> list[str]:
    return [repr(event) for event in parser.next()]


def test_an_error_behind_good_requests_comes_after_them() -> None:
    """The good ones are answered first."""
    events = requests(head() + head(b"POST / HTTP/1.1", b"Content-Length: x"))
    assert [type(event) for event in events] == [RequestHead, type(END), ProtocolError]


def test_a_body_that_looks_like_requests_stays_a_body() -> None:
    """The end of a message is where its length says, whatever is in it."""
    inner = head(b"GET /admin HTTP/1.1") * 3
    for body in (
        head(b"POST / HTTP/1.1", b"Content-Length: %d" % len(inner)) + inner,
        head(b"POST / HTTP/1.1", CHUNKED) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner),
        head(b"POST / HTTP/1.1", *H2C, b"Content-Length: %d" % len(inner)) + inner,
        head(b"POST / HTTP/1.1", *H2C, CHUNKED) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner),
    ):
        for step in STEPS:
            events = requests(body + head(b"GET /next HTTP/1.1"), step)
            assert [type(event) for event in events] == [
                RequestHead,
                bytes,
                type(END),
                RequestHead,
                type(END),
            ]
            assert events[1] == inner
            assert events[3].target == b"/next"


def test_bytes_behind_an_upgrade_are_kept() -> None:
    """101: they belong to the new protocol. Anything else: they are the next request."""
    raw = head(b"GET / HTTP/1.1", *UPGRADE) + b"early"
    parser = RequestParser()
    event, end = parser.feed(raw)
    assert isinstance(event, RequestHead)
    assert end is END
    assert event.upgrade == b"websocket"
    assert parser.feed(b" bird") == []
    assert parser.take_unread() == b"early bird"
    parser = RequestParser()
    parser.feed(raw)
    assert parser.take_unread() == b"early", "without the head that they came with"
    assert not parser.pending
    parser = RequestParser()
    parser.feed(head(b"GET / HTTP/1.1", *UPGRADE) + head(b"GET /next HTTP/1.1"))
    again = parser.next()
    assert isinstance(again[0], RequestHead)
    assert again[0].target == b"/next"


SMALL = Limits(
    head_bytes=1024,
    target_bytes=256,
    header_count=8,
    trailer_bytes=64,
    chunk_overhead_bytes=128,
    body_bytes=100,
)
LONG = b"a" * 2048

LIMITS: list[tuple[str, bytes, str]] = [
    ("target", head(b"GET /%b HTTP/1.1" % (b"a" * 256)), "414"),
    ("target that never ends", b"GET /" + LONG, "414"),
    ("target just below", head(b"GET /%b HTTP/1.1" % (b"a" * 255)), "ok"),
    ("one field", head(b"GET / HTTP/1.1", b"A: " + LONG), "431"),
    ("one name", head(b"GET / HTTP/1.1", LONG + b": a"), "431"),
    ("field that never ends", b"GET / HTTP/1.1\r\nA: " + LONG, "431"),
    ("count", head(b"GET / HTTP/1.1", *[b"A: b"] * 8), "431"),
    ("count just below", head(b"GET / HTTP/1.1", *[b"A: b"] * 7), "ok"),
    ("trailers", head(b"POST / HTTP/1.1", CHUNKED) + b"0\r\nA: " + b"b" * 70 + b"\r\n\r\n", "431"),
    ("trailer that never ends", head(b"POST / HTTP/1.1", CHUNKED) + b"0\r\nA: " + LONG, "400"),
    ("extension", head(b"POST / HTTP/1.1", CHUNKED) + b"1;" + LONG + b"\r\na\r\n0\r\n\r\n", "400"),
    (
        "extensions",
        head(b"POST / HTTP/1.1", CHUNKED) + b"1;aaaaaaaaaaaaa\r\na\r\n" * 50 + b"0\r\n\r\n",
        "400",
    ),
    ("many chunks", head(b"POST / HTTP/1.1", CHUNKED) + b"1\r\na\r\n" * 99 + b"0\r\n\r\n", "ok"),
    ("length", head(b"POST / HTTP/1.1", b"Content-Length: 101"), "413"),
    ("chunks", head(b"POST / HTTP/1.1", CHUNKED) + b"40\r\n" + b"a" * 64 + b"\r\n40\r\n" + b"a" * 64, "413"),
    ("blank lines", b"\r\n" * 1024, "431"),
    (
        "a body of just the limit",
        head(b"POST / HTTP/1.1", CHUNKED) + b"64\r\n" + b"a" * 100 + b"\r\n0\r\n\r\n",
        "ok",
    ),
    (
        "h2c trailers",
        head(b"POST / HTTP/1.1", *H2C, CHUNKED) + b"0\r\nA: " + b"b" * 70 + b"\r\n\r\n",
        "431",
    ),
    (
        "a head that is longer than the chunks' lines may be",
        head(b"POST / HTTP/1.1", b"A: " + b"b" * 300, CHUNKED) + b"1\r\na\r\n0\r\n\r\n",
        "ok",
    ),
]


@pytest.mark.parametrize(("raw", "expected"), [row[1:] for row in LIMITS], ids=[row[0] for row in LIMITS])
def test_limits(raw: bytes, expected: str) -> None:
    """Each has its status, at the same byte however it comes."""
    for step in STEPS:
        assert verdict(requests(raw, step, SMALL)) == expected, f"in steps of {step}"


def test_blank_lines_count_whatever_reads_they_come_in() -> None:
    """A read of nothing but two of them looks like the end of a head, and is none."""
    parser = RequestParser(SMALL)
    for _ in range(SMALL.head_bytes // 4):
        assert parser.feed(b"\r\n\r\n") == []
    assert verdict(parser.feed(b"\r\n\r\n")) == "431"


def test_llhttp_never_sees_more_of_a_head_than_it_takes_to_refuse_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is quadratic in one field's length: 16 MiB in one read took it 2.2 s."""
    seen = 0

    class Counting:
        """llhttp, with a count of what it was given."""

        def __init__(self, owner: object) -> None:
            self._real = HttpRequestParser(owner)

        def feed_data(self, data: bytes) -> None:
            nonlocal seen
            seen += len(data)
            self._real.feed_data(data)

        def __getattr__(self, name: str) -> object:
            return getattr(self._real, name)

    monkeypatch.setattr("sidecar.wire.request_parser.HttpRequestParser", Counting)
    parser = RequestParser(SMALL)
    assert verdict(parser.feed(b"GET / HTTP/1.1\r\nA: " + b"b" * 100_000)) == "431"
    assert seen == SMALL.head_bytes + 1


def test_limits_hold_for_a_pipelined_message_too() -> None:
    """A large head behind a good request is not hidden by the read that brought both."""
    raw = head() + b"GET / HTTP/1.1\r\nA: " + LONG
    for step in STEPS:
        assert verdict(requests(raw, step, SMALL)) == "431"


def test_a_parser_that_has_failed_says_so_again() -> None:
    """llhttp is poisoned for good after an error; nothing behind it is read."""
    parser = RequestParser()
    first = parser.feed(b"GET / HTTP/1.1\r\n\r\n")
    assert parser.feed(head()) == first
