"""Valid messages, mutated: we may be stricter than h11, never laxer, and never depend on read sizes."""
# ruff: noqa: E501 - one row a line reads better than one row on five

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.oracle import check, check_request, check_response

from .feed import described, h11_requests, h11_response, requests, responses, verdict
from .test_request_parser import ROWS as REQUEST_ROWS
from .test_response_parser import ROWS as RESPONSE_ROWS

CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus"

tokens = st.text("abcXYZ019-_!#$%&'*+.^`|~", min_size=1, max_size=12).map(str.encode)
values = st.text(
    st.characters(codec="latin-1", exclude_categories=["Cc"], exclude_characters="\x7f"), max_size=20
).map(lambda text: text.strip(" \t\xa0\x85").encode("latin-1"))
own = frozenset(
    (b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect", b"trailer")
)
fields = st.lists(st.tuples(tokens, values).filter(lambda field: field[0].lower() not in own), max_size=6)
bodies = st.binary(max_size=60)
methods = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"HEAD"])
targets = st.text("abc/?&=%25.-_~;:@!$'()*+,", max_size=20).map(lambda text: b"/" + text.encode())


def chunked(body: bytes, cuts: list[int]) -> bytes:
    out, at = b"", 0
    for cut in cuts:
        if piece := body[at : at + cut]:
            out += b"%x\r\n%b\r\n" % (len(piece), piece)
            at += cut
    if rest := body[at:]:
        out += b"%x\r\n%b\r\n" % (len(rest), rest)
    return out + b"0\r\n\r\n"


@st.composite
def request_bytes(draw: st.DrawFn) -> bytes:
    lines = [
        b"%b %b HTTP/1.1" % (draw(methods), draw(targets)),
        b"Host: " + draw(st.sampled_from([b"x", b"a.b:80"])),
    ]
    lines += [b"%b: %b" % field for field in draw(fields)]
    body = draw(bodies)
    kind = draw(st.sampled_from(["none", "length", "chunked"]))
    if kind == "length":
        lines.append(b"Content-Length: %d" % len(body))
    elif kind == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
        body = chunked(body, draw(st.lists(st.integers(1, 20), max_size=4)))
    else:
        body = b""
    return b"\r\n".join([*lines, b"", body])


@st.composite
def response_bytes(draw: st.DrawFn) -> bytes:
    status = draw(st.sampled_from([200, 201, 204, 301, 304, 404, 429, 500, 503]))
    lines = [b"HTTP/1.1 %d %b" % (status, draw(tokens))]
    lines += [b"%b: %b" % field for field in draw(fields)]
    body = draw(bodies)
    kind = draw(st.sampled_from(["none", "length", "chunked"]))
    if status in (204, 304):
        body = b""
    elif kind == "length":
        lines.append(b"Content-Length: %d" % len(body))
    elif kind == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
        body = chunked(body, draw(st.lists(st.integers(1, 20), max_size=4)))
    interim = draw(
        st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 X\r\nLink: a\r\n\r\n"])
    )
    return interim + b"\r\n".join([*lines, b"", body])


CHANGES = [b"", b"\r", b"\n", b"\0", b" ", b"\t", b":", b",", b"0", b"9", b"\r\n", b"chunked", b"Content-Length: 3\r\n",
           b"Transfer-Encoding: chunked\r\n", b"Host: y\r\n", b";", b"\xff", b"HTTP/1.0", b"RTSP/1.1", b"-", b"+"]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, message: st.SearchStrategy[bytes]) -> bytes:
    raw = draw(message)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(raw)))
        cut = draw(st.integers(0, 3))
        raw = raw[:at] + draw(st.sampled_from(CHANGES)) + raw[at + cut :]
    return raw


steps = st.integers(1, 40)


@settings(max_examples=100)
@given(st.lists(request_bytes(), min_size=1, max_size=3))
def test_valid_requests_pass(raws: list[bytes]) -> None:
    """Not only is nothing bad taken: what is good is, however many come in a row."""
    raw = b"".join(raws)
    events = requests(raw)
    assert verdict(events) == "ok", events
    assert len(h11_requests(raw)[0]) == len(raws)
    check_request(raw, 5)


@settings(max_examples=100)
@given(response_bytes(), st.booleans())
def test_valid_responses_pass(raw: bytes, eof: bool) -> None:
    """The same for answers; one without a length needs the end of the connection."""
    events, _ = responses(raw, eof=eof)
    expected = h11_response(raw, eof=eof)
    assert verdict(events) == ("ok" if expected else "incomplete"), events
    check_response(raw, b"GET", eof, 5)


@settings(max_examples=400)
@given(mutated(request_bytes()), steps)
def test_mutated_requests(raw: bytes, step: int) -> None:
    """Never laxer than h11."""
    check_request(raw, step)


@settings(max_examples=400)
@given(mutated(response_bytes()), st.sampled_from([b"GET", b"HEAD"]), st.booleans(), steps)
def test_mutated_responses(raw: bytes, method: bytes, eof: bool, step: int) -> None:
    """Never laxer than h11."""
    check_response(raw, method, eof, step)


@pytest.mark.parametrize("raw", [row[1] for row in REQUEST_ROWS], ids=[row[0] for row in REQUEST_ROWS])
def test_request_rows_against_h11(raw: bytes) -> None:
    """Each row of the table too."""
    check_request(raw, 1)


@pytest.mark.parametrize(
    ("method", "raw", "eof"), [row[1:4] for row in RESPONSE_ROWS], ids=[row[0] for row in RESPONSE_ROWS]
)
def test_response_rows_against_h11(method: bytes, raw: bytes, eof: bool) -> None:
    """Each row of the table too."""
    check_response(raw, method, eof, 1)


def test_the_fuzz_corpus_holds() -> None:
    """Every input that ever taught us something."""
    found = sorted(CORPUS.iterdir())
    assert len(found) > 50
    for path in found:
        check(path.read_bytes())


def test_the_oracle_itself_fails_on_a_difference() -> None:
    """An oracle that never objects proves nothing."""
    assert described(requests(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")) != described(
        requests(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
    )
    assert h11_requests(b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n") == ([], True)
