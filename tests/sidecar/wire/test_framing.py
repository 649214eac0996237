"""The length law, each way, as two pure functions."""

from __future__ import annotations

import pytest

from sidecar.wire.events import Body, ProtocolError
from sidecar.wire.framing import parse_length, request_framing, response_framing


@pytest.mark.parametrize(
    ("http11", "te", "length", "expected"),
    [
        (True, None, None, (Body.NONE, 0)),
        (True, None, b"0", (Body.NONE, 0)),
        (True, None, b"7", (Body.LENGTH, 7)),
        (False, None, b"7", (Body.LENGTH, 7)),
        (True, b"chunked", None, (Body.CHUNKED, 0)),
        (True, b" Chunked\t", None, (Body.CHUNKED, 0)),
        (True, b"chunked", b"7", 400),
        (False, b"chunked", None, 400),
        (True, b"gzip, chunked", None, 501),
        (True, b"gzip;q=1,chunked", None, 501),
        (True, b"gzip", None, 400),
        (True, b"chunked, gzip", None, 400),
        (True, b"", None, 400),
        (True, b",chunked", None, 400),
        (True, b"chunked,", None, 400),
        (True, b"chunked, chunked", None, 400),
        (True, None, b"7, 7", 400),
    ],
)
def test_request(http11: bool, te: bytes | None, length: bytes | None, expected: object) -> None:
    """RFC 9112 section 6.3, and stricter where two readers could differ."""
    if isinstance(expected, int):
        with pytest.raises(ProtocolError) as caught:
            request_framing(http11, te, length)
        assert caught.value.status == expected
    else:
        assert request_framing(http11, te, length) == expected


@pytest.mark.parametrize(
    ("status", "head_request", "http11", "te", "length", "expected"),
    [
        (200, False, True, None, b"7", (Body.LENGTH, 7)),
        (200, False, True, None, b"0", (Body.NONE, 0)),
        (200, False, True, None, None, (Body.UNTIL_CLOSE, 0)),
        (200, False, True, b"chunked", None, (Body.CHUNKED, 0)),
        (200, True, True, None, b"7", (Body.NONE, 0)),
        (200, True, True, b"chunked", None, (Body.NONE, 0)),
        (204, False, True, None, b"7", (Body.NONE, 0)),
        (304, False, True, None, b"7", (Body.NONE, 0)),
        (103, False, True, None, None, (Body.NONE, 0)),
        (103, False, True, None, b"7", None),
        (103, False, True, b"chunked", None, None),
        (101, False, True, None, None, (Body.TUNNEL, 0)),
        (200, False, True, b"chunked", b"7", None),
        (200, True, True, b"chunked", b"7", None),
        (200, False, False, b"chunked", None, None),
        (200, False, True, b"gzip, chunked", None, None),
        (200, False, True, None, b"7, 8", None),
    ],
)
def test_response(
    status: int, head_request: bool, http11: bool, te: bytes | None, length: bytes | None, expected: object
) -> None:
    """What cannot be known for certain is a 502."""
    if expected is None:
        with pytest.raises(ProtocolError) as caught:
            response_framing(status, head_request, http11, te, length)
        assert caught.value.status == 502
    else:
        assert response_framing(status, head_request, http11, te, length) == expected


@pytest.mark.parametrize("value", [b"", b"+1", b"-1", b"1 1", b"1\n", b"0x1", b"1" * 20, b"\xd9\xa1", b"1_0"])
def test_lengths_that_are_none(value: bytes) -> None:
    """Only ASCII digits, nineteen at most."""
    with pytest.raises(ProtocolError):
        parse_length(value)
