"""Raw bytes that two servers could read in two ways; each row goes through the real sidecar to a real app.

The rows of the conformance suite that are about requests, and more of the kind: methods, target forms and
fields after which another server may see the end of the body, or of the answer, somewhere else. `{r}` is the
row's own path; a request that is hidden in a body asks for `{r}-hidden`, which no app may ever see.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.conformance.backend import OK
from tests.conformance.rows import ROWS as CONFORMANCE

H = b"Host: svc\r\n"
HIDDEN = b"GET {r}-hidden HTTP/1.1\r\n" + H + b"\r\n"
# A path is at most this long, so that lengths are known before the row's number is.
PATH = b"/x000"
SIZE = len(HIDDEN.replace(b"{r}", PATH))
LENGTH = b"Content-Length: %d\r\n" % SIZE
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n" % SIZE + HIDDEN + b"\r\n0\r\n\r\n"
WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"


@dataclass(frozen=True)
class Row:
    """What is sent on one connection, and the method of each request in it."""

    name: str
    raw: bytes
    methods: tuple[bytes, ...]
    passes: bool | None
    """Whether the app must see it; None = either."""


def _line(method: bytes, target: bytes = b"{r}", version: bytes = b"1.1") -> bytes:
    return b"%b %b HTTP/%b\r\n" % (method, target, version) + H


def _rows() -> list[tuple[str, bytes, bool | None]]:
    post, get = _line(b"POST"), _line(b"GET")
    found: list[tuple[str, bytes, bool | None]] = []
    # CONNECT, whatever it asks for and brings
    for target in (b"/", b"{r}", b"*", b"svc:80", b"http://svc/", b"svc"):
        words = f"CONNECT {target.decode()}"
        found += [
            (words, _line(b"CONNECT", target) + b"\r\n" + HIDDEN, False),
            (f"{words}, length", _line(b"CONNECT", target) + LENGTH + b"\r\n" + HIDDEN, False),
            (f"{words}, chunks", _line(b"CONNECT", target) + CHUNKED + b"\r\n" + CHUNKS, False),
        ]
    found.append(("CONNECT of 1.0", _line(b"CONNECT", b"/", b"1.0") + LENGTH + b"\r\n" + HIDDEN, False))
    # methods for which a body is unusual, and methods that not everybody knows
    for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"TRACE", b"PROPFIND", b"M-SEARCH", b"SOURCE"):
        name = method.decode()
        found += [
            (f"{name}, length", _line(method) + LENGTH + b"\r\n" + HIDDEN, None),
            (f"{name}, chunks", _line(method) + CHUNKED + b"\r\n" + CHUNKS, None),
            (f"{name}, unread", _line(method, b"{r}?early") + LENGTH + b"\r\n" + HIDDEN, None),
        ]
    found += [
        ("POST, unread", _line(b"POST", b"{r}?early") + LENGTH + b"\r\n" + HIDDEN, True),
        ("PUT, unread chunks", _line(b"PUT", b"{r}?early") + CHUNKED + b"\r\n" + CHUNKS, True),
        # target forms
        ("OPTIONS *", _line(b"OPTIONS", b"*") + b"\r\n", None),
        ("OPTIONS *, length", _line(b"OPTIONS", b"*") + LENGTH + b"\r\n" + HIDDEN, None),
        ("absolute, length", _line(b"POST", b"http://svc{r}") + LENGTH + b"\r\n" + HIDDEN, True),
        ("absolute, two slashes", _line(b"GET", b"http://svc//svc{r}") + b"\r\n", None),
        ("absolute, no path", _line(b"GET", b"http://svc?{r}") + b"\r\n", None),
        ("two slashes", _line(b"GET", b"//svc{r}") + b"\r\n", None),
        ("authority form", _line(b"GET", b"svc:80") + LENGTH + b"\r\n" + HIDDEN, False),
        ("preface with a body", b"PRI * HTTP/2.0\r\n" + LENGTH + b"\r\n" + HIDDEN, False),
        # a word for another protocol
        ("websocket", get + WEBSOCKET + b"\r\n", None),
        ("websocket, HEAD", _line(b"HEAD") + WEBSOCKET + b"\r\n", None),
        ("websocket, POST", post + WEBSOCKET + b"\r\n", None),
        ("websocket, length", post + WEBSOCKET + LENGTH + b"\r\n" + HIDDEN, False),
        (
            "h2c",
            get + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
            True,
        ),
        ("h2c, length", post + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + LENGTH + b"\r\n" + HIDDEN, True),
        ("h2c, chunks", post + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + CHUNKED + b"\r\n" + CHUNKS, True),
        ("TLS/1.0", post + b"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n" + LENGTH + b"\r\n" + HIDDEN, True),
        ("two protocols", get + WEBSOCKET.replace(b"websocket", b"h2c, websocket") + b"\r\n", None),
        ("Upgrade alone", post + b"Upgrade: websocket\r\n" + LENGTH + b"\r\n" + HIDDEN, True),
        # expectations
        ("Expect", post + b"Expect: 100-continue\r\n" + LENGTH + b"\r\n" + HIDDEN, True),
        (
            "Expect, unread",
            _line(b"POST", b"{r}?early") + b"Expect: 100-continue\r\n" + LENGTH + b"\r\n" + HIDDEN,
            None,
        ),
        ("Expect on GET", get + b"Expect: 100-continue\r\n\r\n", None),
        ("Expect on GET, length", get + b"Expect: 100-continue\r\n" + LENGTH + b"\r\n" + HIDDEN, None),
        ("Expect twice", post + b"Expect: 100-continue\r\n" * 2 + LENGTH + b"\r\n" + HIDDEN, None),
        ("Expect something else", post + b"Expect: 200-ok\r\n" + LENGTH + b"\r\n" + HIDDEN, None),
        (
            "Expect on 1.0",
            _line(b"POST", b"{r}", b"1.0") + b"Expect: 100-continue\r\n" + LENGTH + b"\r\n" + HIDDEN,
            None,
        ),
        # answers that should have no body
        ("HEAD with a body", _line(b"HEAD", b"{r}?poison") + b"\r\n", True),
        ("HEAD with a body of no length", _line(b"HEAD", b"{r}?poison&silent") + b"\r\n", True),
        ("204 with a body", _line(b"GET", b"{r}?poison&status=204") + b"\r\n", None),
        ("304 with a body", _line(b"GET", b"{r}?poison&status=304") + b"\r\n", None),
        ("205 with a body", _line(b"POST", b"{r}?poison&status=205") + b"\r\n", None),
        # HTTP/1.0
        (
            "1.0, keep-alive, length",
            _line(b"POST", b"{r}", b"1.0") + b"Connection: keep-alive\r\n" + LENGTH + b"\r\n" + HIDDEN,
            True,
        ),
        ("1.0, chunks", _line(b"POST", b"{r}", b"1.0") + CHUNKED + b"\r\n" + CHUNKS, False),
        # other spellings of what delimits a body
        ("length in zeros", post + b"Content-Length: 000%d\r\n" % SIZE + b"\r\n" + HIDDEN, None),
        ("length, then a tab", post + b"Content-Length: %d\t\r\n" % SIZE + b"\r\n" + HIDDEN, None),
        ("length in parts", post + b"Content-Length: 1 %d\r\n" % SIZE + b"\r\n" + HIDDEN, False),
        ("length with a point", post + b"Content-Length: 0.0\r\n\r\n" + HIDDEN, False),
        ("length with an exponent", post + b"Content-Length: 0e1\r\n\r\n" + HIDDEN, False),
        ("length with an underscore", post + b"Content-Length: 1_0\r\n\r\n" + HIDDEN, False),
        ("length, folded", post + b"Content-Length:\r\n %d\r\n" % SIZE + b"\r\n" + HIDDEN, False),
        ("length 0 by another name", post + b"Content_Length: 0\r\n" + LENGTH + b"\r\n" + HIDDEN, True),
        ("length by another name", post + b"Content_Length: %d\r\n" % SIZE + b"\r\n", None),
        (
            "coding by another name",
            post + b"Transfer_Encoding: chunked\r\n" + LENGTH + b"\r\n" + HIDDEN,
            True,
        ),
        ("coding with a tab", post + b"Transfer-Encoding:\tchunked\r\n\r\n" + CHUNKS, None),
        ("coding in capitals", post + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n" + CHUNKS, True),
        ("coding with a parameter", post + b"Transfer-Encoding: chunked;q=1\r\n\r\n" + CHUNKS, False),
        ("coding with a comma", post + b"Transfer-Encoding: chunked,\r\n\r\n" + CHUNKS, False),
        ("coding, folded", post + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNKS, False),
        ("coding deflate, chunked", post + b"Transfer-Encoding: deflate, chunked\r\n\r\n" + CHUNKS, False),
        (
            "the coding is this hop's",
            post + b"Connection: Transfer-Encoding\r\n" + CHUNKED + b"\r\n" + CHUNKS,
            True,
        ),
        (
            "the length is this hop's",
            post + b"Connection: Content-Length\r\n" + LENGTH + b"\r\n" + HIDDEN,
            True,
        ),
        ("the host is this hop's", post + b"Connection: Host\r\n" + LENGTH + b"\r\n" + HIDDEN, True),
        ("TE", post + b"TE: chunked\r\n" + LENGTH + b"\r\n" + HIDDEN, True),
        ("NUL in a length", post + b"Content-Length: \0%d\r\n" % SIZE + b"\r\n" + HIDDEN, False),
        ("a name ends in a tab", post + b"Content-Length\t: 0\r\n\r\n" + HIDDEN, False),
        ("CR alone", post + b"X: a\rContent-Length: 0\r\n\r\n" + HIDDEN, False),
        ("CR CR LF", post + LENGTH + b"\r\r\n" + HIDDEN, False),
        # chunks
        ("chunk size in zeros", post + CHUNKED + b"\r\n000" + CHUNKS, True),
        ("chunk extension", post + CHUNKED + b"\r\n%x;a=b\r\n" % SIZE + HIDDEN + b"\r\n0;c\r\n\r\n", True),
        ("last chunk of many zeros", post + CHUNKED + b"\r\n" + CHUNKS.replace(b"\n0\r", b"\n000\r"), True),
        ("length in a trailer", post + CHUNKED + b"\r\n" + CHUNKS[:-2] + b"Content-Length: 9\r\n\r\n", None),
        ("host in a trailer", post + CHUNKED + b"\r\n" + CHUNKS[:-2] + b"Host: other\r\n\r\n", None),
        ("LF ends the last chunk", post + CHUNKED + b"\r\n" + CHUNKS[:-4] + b"\n\n", None),
        ("a chunk that is too short", post + CHUNKED + b"\r\n5\r\n" + HIDDEN, None),
    ]
    return found


def _filled(number: int, name: str, raw: bytes, passes: bool | None) -> Row:
    path = b"/x%03d" % number
    method = raw.lstrip(b"\r\n").split(b" ", 1)[0]
    return Row(name, raw.replace(b"{r}", path), (method,), passes)


def _borrowed() -> list[Row]:
    """Those of the conformance suite that come as one piece and ask nothing special of the backend."""
    return [
        Row(row.name, row.raw[0], tuple(row.methods), None)
        for row in CONFORMANCE
        if len(row.raw) == 1 and row.reply.data == OK
    ]


ROWS = [*_borrowed(), *(_filled(number, *row) for number, row in enumerate(_rows()))]
