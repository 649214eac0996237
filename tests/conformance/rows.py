"""What is sent, and what is right; `judges.py` has the verdicts."""

# ruff: noqa: E501 - one row a line reads better than one row on five

from __future__ import annotations

from dataclasses import dataclass, field

from .backend import OK, Reply
from .judges import (
    Judge,
    answered,
    bad_gateway,
    chunk_refused,
    ends,
    no_poison,
    passed,
    passed_with,
    refused,
    refused_as,
    truncated,
)


@dataclass
class Row:
    """One thing to try; `raw` as several pieces is sent piece by piece, each after some answer or silence."""

    number: int
    name: str
    raw: bytes | list[bytes]
    judge: Judge
    reply: Reply = field(default_factory=Reply)
    methods: list[bytes] = field(default_factory=lambda: [b"GET"])


ROWS: list[Row] = []


def add(
    name: str,
    raw: bytes | list[bytes],
    judge: Judge,
    reply: Reply | None = None,
    *,
    methods: list[bytes] | None = None,
) -> None:
    """`{r}` in the bytes becomes the row's path."""
    number = len(ROWS)
    path = b"/r%d" % number
    pieces = [raw] if isinstance(raw, bytes) else raw
    filled = [piece.replace(b"{r}", path) for piece in pieces]
    method = filled[0].lstrip(b"\r\n").split(b" ", 1)[0]
    ROWS.append(Row(number, name, filled, judge, reply or Reply(), methods or [method]))


# -- requests that must pass -------------------------------------------------------------------------

H = b"Host: svc\r\n"
GET = b"GET {r} HTTP/1.1\r\n" + H
POST = b"POST {r} HTTP/1.1\r\n" + H
TE = b"Transfer-Encoding: chunked\r\n"
HIDDEN = b"GET {r}-hidden HTTP/1.1\r\n" + H + b"\r\n"

add("GET", GET + b"\r\n", passed)
add(
    "HEAD",
    b"HEAD {r} HTTP/1.1\r\n" + H + b"\r\n",
    passed,
    Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
)
add("HTTP/1.0", b"GET {r} HTTP/1.0\r\n" + H + b"\r\n", passed)
add("body of known length", POST + b"Content-Length: 5\r\n\r\nhello", passed_with(body=b"hello"))
add("length 0", POST + b"Content-Length: 0\r\n\r\n", passed_with(body=b""))
add(
    "chunked body",
    POST + TE + b"\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    passed_with(body=b"hello world"),
)
add(
    "chunk extension stays behind",
    POST + TE + b"\r\n5;ext=secret\r\nhello\r\n0\r\n\r\n",
    lambda r: passed(r) or ("passed on" if b"secret" in r.seen.raw else ""),
)
add(
    "trailer does not become a header",
    POST + TE + b"\r\n0\r\nX-Admin: 1\r\n\r\n",
    passed_with(lacks=b"x-admin"),
)
add(
    "absolute form: its host counts",
    b"GET http://svc{r} HTTP/1.1\r\nHost: other\r\n\r\n",
    lambda r: refused(r) and passed_with(lacks=b"other")(r),
)
add("blank line before", b"\r\n" + GET + b"\r\n", passed)
add(
    "malformed UTF-8, escaped",
    b"GET {r}%ff%c3%28? HTTP/1.1\r\n" + H + b"\r\n",
    passed_with(has=b"%ff%c3%28? http"),
)
add("blanks behind Host", b"GET {r} HTTP/1.1\r\nHost: svc  \r\n\r\n", passed)
add("high bytes in a value", GET + b"X-Name: \xc3\xa4\r\n\r\n", passed_with(has=b"x-name: \xc3\xa4\r\n"))
add(
    "dots and escapes untouched",
    b"GET {r}/a%2fb/%2E%2e//c?q=%41 HTTP/1.1\r\n" + H + b"\r\n",
    passed_with(has=b"/a%2fb/%2e%2e//c?q=%41 "),
)
add("8 KiB of header", GET + b"X-Long: " + b"a" * 7000 + b"\r\n\r\n", passed_with(has=b"a" * 7000))
add(
    "repeated fields stay",
    GET + b"X-A: 1\r\nX-A: 2\r\n\r\n",
    lambda r: (
        passed(r)
        or (
            ""
            if (b"1" in r.seen.heads[0] and r.seen.heads[0].lower().count(b"x-a: ") == 2)
            or b"1,2" in r.seen.heads[0].replace(b" ", b"")
            else "lost"
        )
    ),
)
add("extension method PROPFIND", b"PROPFIND {r} HTTP/1.1\r\n" + H + b"\r\n", passed)
add(
    "Connection names a field away",
    GET + b"Connection: close, X-Secret\r\nX-Secret: 1\r\n\r\n",
    passed_with(lacks=b"x-secret"),
)
add(
    "Connection cannot name Authorization",
    GET + b"Connection: Authorization\r\nAuthorization: Bearer x\r\n\r\n",
    passed_with(has=b"authorization: bearer x"),
)
add("Keep-Alive stays here", GET + b"Keep-Alive: timeout=99\r\n\r\n", passed_with(lacks=b"timeout=99"))
add(
    "Proxy-Connection stays here",
    GET + b"Proxy-Connection: keep-alive\r\n\r\n",
    passed_with(lacks=b"proxy-connection"),
)
add("TE stays here", GET + b"TE: trailers, gzip\r\n\r\n", passed_with(lacks=b"gzip"))
add(
    "Upgrade: h2c is not passed on",
    GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAA\r\n\r\n",
    passed_with(lacks=b"h2c"),
)
add(
    "100-continue granted by the backend",
    [POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n", b"hello"],
    lambda r: passed_with(body=b"hello")(r) or ("" if 100 in r.interim else "no 100"),
)
add(
    "pipelined, in order",
    GET + b"\r\n" + GET.replace(b"GET", b"HEAD") + b"\r\n" + GET + b"\r\n",
    lambda r: (
        ""
        if [(one.status, one.body) for one in r.responses] == [(200, b"ok"), (200, b""), (200, b"ok")]
        else f"{len(r.responses)} answers"
    ),
    methods=[b"GET", b"HEAD", b"GET"],
)
add(
    "a good one before a bad one",
    GET + b"\r\n" + POST + b"Content-Length: x\r\n\r\n",
    lambda r: (
        ""
        if [one.status for one in r.responses] == [200, 400] and ends(r)
        else f"answers {[one.status for one in r.responses]}"
    ),
    methods=[b"GET", b"POST"],
)
add(
    "HTTP/1.0 keep-alive",
    [b"GET {r} HTTP/1.0\r\n" + H + b"Connection: keep-alive\r\n\r\n"],
    lambda r: passed(r) or ("closed" if r.closed else ""),
)
add(
    "Connection: close closes",
    GET + b"Connection: close\r\n\r\n",
    lambda r: passed(r) or ("" if r.closed else "kept open"),
)
add(
    "WebSocket: 101, bytes both ways",
    [
        GET
        + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        b"hello",
    ],
    lambda r: "" if r.status == 101 and r.tunnel == b"HELLO" else f"answered {r.status}, {r.tunnel!r}",
    Reply(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: s3pPLBMiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        tunnel=True,
    ),
)
add(
    "early answer to an upload",
    [POST + b"Content-Length: 300000\r\n\r\n" + b"x" * 1000],
    lambda r: answered(413, body=b"")(r),
    Reply(b"HTTP/1.1 413 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", before_body=True),
)

# -- requests that must not pass ---------------------------------------------------------------------

add("no Host", b"GET {r} HTTP/1.1\r\n\r\n", refused)
add("two Hosts", GET + b"Host: other\r\n\r\n", refused)
add("Host with a blank", b"GET {r} HTTP/1.1\r\nHost: svc x\r\n\r\n", refused)
add("Host with a comma", b"GET {r} HTTP/1.1\r\nHost: svc,x\r\n\r\n", refused)
add("Host with a slash", b"GET {r} HTTP/1.1\r\nHost: svc/x\r\n\r\n", refused)
add("HTTP/0.9 line", b"GET {r}\r\n\r\n", lambda r: "passed on" if r.seen.heads else "")
add("HTTP/1.2", b"GET {r} HTTP/1.2\r\n" + H + b"\r\n", refused)
add("HTTP/2.0 in a line", b"GET {r} HTTP/2.0\r\n" + H + b"\r\n", refused)
add("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", refused)
add("RTSP", b"GET {r} RTSP/1.0\r\n" + H + b"\r\n", refused)
add("lower-case HEAD", b"head {r} HTTP/1.1\r\n" + H + b"\r\n", refused)
add("two blanks in the line", b"GET  {r} HTTP/1.1\r\n" + H + b"\r\n", refused)
add("blank in the target", b"GET {r} x HTTP/1.1\r\n" + H + b"\r\n", refused)
add("fragment in the target", b"GET {r}#x HTTP/1.1\r\n" + H + b"\r\n", refused)
add("raw UTF-8 in the target", b"GET {r}\xc3\xa4 HTTP/1.1\r\n" + H + b"\r\n", refused)
add("malformed UTF-8 in the target", b"GET {r}\xc3( HTTP/1.1\r\n" + H + b"\r\n", refused_as(400))
add("malformed UTF-8 in the query", b"GET {r}?q=\xff HTTP/1.1\r\n" + H + b"\r\n", refused_as(400))
add("control byte in the target", b"GET {r}\x01 HTTP/1.1\r\n" + H + b"\r\n", refused)
add("GET *", b"GET * HTTP/1.1\r\n" + H + b"\r\n", refused)
add("CONNECT", b"CONNECT svc:80 HTTP/1.1\r\nHost: svc:80\r\n\r\n", refused)
add(
    "CONNECT with a path and a body",
    b"CONNECT {r} HTTP/1.1\r\n" + H + b"Content-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    refused_as(405),
)
add("length and chunked", POST + b"Content-Length: 5\r\n" + TE + b"\r\n0\r\n\r\n" + HIDDEN, refused)
add("chunked and length", POST + TE + b"Content-Length: 5\r\n\r\n0\r\n\r\n" + HIDDEN, refused)
add("two lengths", POST + b"Content-Length: 5\r\nContent-Length: 0\r\n\r\n" + HIDDEN, refused)
add("two equal lengths", POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", refused)
add("list of lengths", POST + b"Content-Length: 5, 5\r\n\r\nhello", refused)
add("length with a sign", POST + b"Content-Length: +5\r\n\r\nhello", refused)
add("length in hex", POST + b"Content-Length: 0x5\r\n\r\nhello", refused)
add("negative length", POST + b"Content-Length: -1\r\n\r\n" + HIDDEN, refused)
add("length over 2**64", POST + b"Content-Length: 18446744073709551621\r\n\r\nhello", refused)
add("empty length", POST + b"Content-Length:\r\n\r\n" + HIDDEN, refused)
add("chunked on HTTP/1.0", b"POST {r} HTTP/1.0\r\n" + H + TE + b"\r\n0\r\n\r\n" + HIDDEN, refused)
add("coding identity", POST + b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello", refused)
add("coding xchunked", POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN, refused)
add("coding in quotes", POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n' + HIDDEN, refused)
add("gzip, chunked", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", refused)
add("chunked, gzip", POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n" + HIDDEN, refused)
add("chunked twice", POST + TE + TE + b"\r\n0\r\n\r\n" + HIDDEN, refused)
add(
    "vertical tab before chunked", POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN, refused
)
add("blank before the colon", POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN, refused)
add("folded line", GET + b"X-A: 1\r\n folded\r\n\r\n", refused)
add("field without a colon", GET + b"X-A\r\n\r\n", refused)
add("empty field name", GET + b": x\r\n\r\n", refused)
add("NUL in a value", GET + b"X-A: a\0b\r\n\r\n", refused)
add("control byte in a value", GET + b"X-A: a\x01b\r\n\r\n", refused)
add("bare CR in a value", GET + b"X-A: a\rb\r\n\r\n", refused)
add("bracket in a name", GET + b"X]: a\r\n\r\n", refused)
add("LF only", b"GET {r} HTTP/1.1\nHost: svc\n\n", refused)
add("LF in the middle", b"GET {r} HTTP/1.1\r\nHost: svc\nX: y\r\n\r\n", refused)
add("blank in a chunk size", POST + TE + b"\r\n5 \r\nhello\r\n0\r\n\r\n", chunk_refused)
add("0x in a chunk size", POST + TE + b"\r\n0x5\r\nhello\r\n0\r\n\r\n", chunk_refused)
add(
    "chunk size over 2**64",
    POST + TE + b"\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
    chunk_refused,
)
add("LF behind a chunk size", POST + TE + b"\r\n5\nhello\r\n0\r\n\r\n", chunk_refused)
add("LF in a chunk extension", POST + TE + b"\r\n5;a\nhello\r\n0\r\n\r\n", chunk_refused)
add("chunk longer than its size", POST + TE + b"\r\n3\r\nhello\r\n0\r\n\r\n", chunk_refused)
add("no CRLF behind a chunk", POST + TE + b"\r\n5\r\nhelloXX0\r\n\r\n", chunk_refused)
add(
    "Upgrade with a body",
    POST + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 60\r\n\r\n" + HIDDEN,
    refused,
)
add("70 KiB of header", GET + b"X-A: " + b"a" * 70_000 + b"\r\n\r\n", refused_as(400, 414, 431))
add(
    "70 KiB of target", b"GET {r}" + b"a" * 70_000 + b" HTTP/1.1\r\n" + H + b"\r\n", refused_as(400, 414, 431)
)
add("200 fields", GET + b"X-A: 1\r\n" * 200 + b"\r\n", refused_as(400, 431))
add(
    "endless chunk extension",
    POST + TE + b"\r\n5;" + b"a" * 100_000 + b"\r\nhello\r\n0\r\n\r\n",
    chunk_refused,
)


# -- answers -----------------------------------------------------------------------------------------


def response(
    name: str,
    data: bytes,
    judge: Judge,
    *,
    close: bool = False,
    reset: bool = False,
    head: bool = False,
    old: bool = False,
) -> None:
    line = b"%b {r} HTTP/%b\r\n" % (b"HEAD" if head else b"GET", b"1.0" if old else b"1.1")
    add(name, line + H + b"\r\n", judge, Reply(data, close=close, reset=reset))


def answer(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK", body: bytes = b"") -> bytes:
    return b"\r\n".join([line, *fields, b"", body])


L2 = b"Content-Length: 2"
CHUNKED = b"Transfer-Encoding: chunked"
response("answer: 204", answer(line=b"HTTP/1.1 204 No Content"), answered(204))
response(
    "answer: 304 with a length",
    answer(b"Content-Length: 9", line=b"HTTP/1.1 304 Not Modified"),
    answered(304),
)
response("answer: until close", answer(b"Connection: close", body=b"ok"), answered(body=b"ok"), close=True)
response(
    "answer: until close, to 1.0",
    answer(b"Connection: close", body=b"ok"),
    answered(body=b"ok", lacks=b"chunked"),
    close=True,
    old=True,
)
response(
    "answer: chunked, to 1.0",
    answer(CHUNKED, body=b"2\r\nok\r\n0\r\n\r\n"),
    answered(body=b"ok", lacks=b"chunked"),
    old=True,
)
response(
    "answer: HTTP/1.0", answer(L2, line=b"HTTP/1.0 200 OK", body=b"ok"), answered(body=b"ok"), close=True
)
response(
    "answer: 103 relayed",
    answer(b"Link: </a>", line=b"HTTP/1.1 103 Early Hints") + OK,
    answered(body=b"ok", interim=[103]),
)
response(
    "answer: 103 not to 1.0",
    answer(b"Link: </a>", line=b"HTTP/1.1 103 Early Hints") + OK,
    answered(body=b"ok", interim=[]),
    old=True,
)
response(
    "answer: Set-Cookie twice",
    answer(b"Set-Cookie: a=1", b"Set-Cookie: b=2", L2, body=b"ok"),
    lambda r: answered(body=b"ok")(r) or ("" if r.raw.lower().count(b"set-cookie: ") == 2 else "joined"),
)
response(
    "answer: its Connection stays behind",
    answer(b"Connection: close, X-Own", b"X-Own: 1", L2, body=b"ok"),
    answered(body=b"ok", lacks=b"x-own"),
    close=True,
)
response(
    "answer: its Keep-Alive stays behind",
    answer(b"Keep-Alive: timeout=99", L2, body=b"ok"),
    answered(body=b"ok", lacks=b"timeout=99"),
)
response(
    "answer: trailer dropped or relayed",
    answer(CHUNKED, body=b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"),
    answered(body=b"ok"),
)
response("cut in a known length", answer(b"Content-Length: 50000", body=b"x" * 30_000), truncated, close=True)
response("cut in a short answer", answer(b"Content-Length: 5", body=b"ok"), truncated, close=True)
response("cut in a chunk", answer(CHUNKED, body=b"50\r\nok"), truncated, close=True)
response("cut before the last chunk", answer(CHUNKED, body=b"2\r\nok\r\n"), truncated, close=True)
response("cut in a chunk, to 1.0", answer(CHUNKED, body=b"50\r\nok"), truncated, close=True, old=True)
response("cut in the head", b"HTTP/1.1 200 OK\r\nContent-Le", bad_gateway, close=True)
response("closed without an answer", b"", bad_gateway, close=True)
response("closed after 100", answer(line=b"HTTP/1.1 100 Continue"), bad_gateway, close=True)
response("answer: length and chunked", answer(L2, CHUNKED, body=b"2\r\nok\r\n0\r\n\r\n"), bad_gateway)
response("answer: two lengths", answer(L2, b"Content-Length: 3", body=b"ok!"), bad_gateway)
response("answer: bad length", answer(b"Content-Length: 2x", body=b"ok"), bad_gateway, close=True)
response("answer: negative length", answer(b"Content-Length: -2", body=b"ok"), bad_gateway, close=True)
response("answer: gzip, chunked", answer(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), bad_gateway)
response("answer: unknown coding", answer(b"Transfer-Encoding: what", body=b"ok"), bad_gateway, close=True)
response(
    "answer: chunked on 1.0",
    answer(CHUNKED, line=b"HTTP/1.0 200 OK", body=b"2\r\nok\r\n0\r\n\r\n"),
    bad_gateway,
    close=True,
)
response("answer: bad chunk size", answer(CHUNKED, body=b"zz\r\nok\r\n0\r\n\r\n"), truncated, close=True)
response(
    "answer: blank before a colon",
    answer(b"X-A : 1", L2, body=b"ok"),
    lambda r: bad_gateway(r) and answered(body=b"ok", lacks=b"x-a :")(r),
)
response(
    "answer: folded line",
    answer(b"X-A: 1\r\n 2", L2, body=b"ok"),
    lambda r: bad_gateway(r) and answered(body=b"ok", lacks=b"\r\n 2")(r),
)
response("answer: NUL in a value", answer(b"X-A: a\0b", L2, body=b"ok"), bad_gateway)
response("answer: bare CR in a value", answer(b"X-A: a\rb", L2, body=b"ok"), bad_gateway)
response(
    "answer: NUL in the reason",
    answer(L2, line=b"HTTP/1.1 200 O\0K", body=b"ok"),
    lambda r: bad_gateway(r) and answered(body=b"ok", lacks=b"\0")(r),
)
response(
    "answer: LF only",
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    lambda r: bad_gateway(r) and answered(body=b"ok")(r),
)
response("answer: status 99", answer(L2, line=b"HTTP/1.1 099 X", body=b"ok"), bad_gateway)
response("answer: status 600", answer(L2, line=b"HTTP/1.1 600 X", body=b"ok"), bad_gateway)
response("answer: four digits", answer(L2, line=b"HTTP/1.1 2000 X", body=b"ok"), bad_gateway)
response("answer: RTSP", answer(L2, line=b"RTSP/1.0 200 OK", body=b"ok"), bad_gateway, close=True)
response("answer: not HTTP at all", b"SSH-2.0-OpenSSH\r\n", bad_gateway, close=True)
response(
    "answer: 101 unasked",
    answer(b"Connection: Upgrade", b"Upgrade: websocket", line=b"HTTP/1.1 101 X"),
    bad_gateway,
)
response("answer: 100 KiB of header", answer(b"X-A: " + b"a" * 100_000, L2, body=b"ok"), bad_gateway)


POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
add(
    "bytes behind an answer reach nobody",
    [GET + b"\r\n"] * 3,
    no_poison,
    Reply(OK + POISON),
    methods=[b"GET"] * 3,
)
add(
    "half an answer behind another",
    [GET + b"\r\n"] * 3,
    no_poison,
    Reply(OK + b"HTTP/1.1 200 OK\r\nX-poison: 1"),
    methods=[b"GET"] * 3,
)
add(
    "a body behind an answer to HEAD",
    [b"HEAD {r} HTTP/1.1\r\n" + H + b"\r\n"] * 3,
    no_poison,
    Reply(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(POISON) + POISON),
    methods=[b"HEAD"] * 3,
)
add(
    "a body behind 304",
    [GET + b"\r\n"] * 3,
    lambda r: (
        "POISONED"
        if b"poison" in r.raw
        else ""
        if [one.status for one in r.responses] == [304] * 3
        else f"answers {[one.status for one in r.responses]}"
    ),
    Reply(b"HTTP/1.1 304 X\r\n\r\n" + POISON),
    methods=[b"GET"] * 3,
)
