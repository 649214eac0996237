"""What must hold for any bytes: no crash, no dependence on read sizes, nothing passes that h11 refuses.

We may be stricter than h11, never laxer: what we take, h11 takes, with the same method, target, fields
and body; and what we send on, h11 reads as exactly one message, with the same body.
"""

from __future__ import annotations

from sidecar.wire.events import END, Body, ProtocolError, RequestHead, ResponseHead
from sidecar.wire.forward import (
    DROP_REQUEST,
    DROP_RESPONSE,
    request_lines,
    response_framing_out,
    response_lines,
)
from sidecar.wire.limits import Limits
from sidecar.wire.serialize import LAST_CHUNK, chunk, join_head
from tests.sidecar.wire.feed import (
    Refused,
    described,
    h11_requests,
    h11_response,
    requests,
    responses,
    verdict,
)

# Small, so that random bytes reach them; h11 has none of these but the first.
LIMITS = Limits(
    head_bytes=2048, target_bytes=512, header_count=32, trailer_bytes=256, chunk_overhead_bytes=512
)

REWRITTEN = (b"content-length", b"transfer-encoding")  # h11 gives them back in its own spelling


def kind(events: list[object]) -> str:
    """The verdict; which of two faults in one message is seen first may depend on the read size."""
    found = verdict(events)
    return found if found in ("ok", "incomplete") else "refused"


def messages(events: list[object]) -> list[tuple[RequestHead, bytes]]:
    """The complete requests among the events."""
    found = []
    head: RequestHead | None = None
    body = b""
    for event in events:
        if isinstance(event, RequestHead):
            head, body = event, b""
        elif isinstance(event, bytes):
            body += event
        elif event is END and head is not None:
            found.append((head, body))
    return found


def framed(framing: Body, body: bytes) -> bytes:
    if framing is Body.CHUNKED:
        return (chunk(body) if body else b"") + LAST_CHUNK
    return body


def check_request(raw: bytes, step: int) -> None:
    """Bytes from a client.

    Raises:
        AssertionError: when we are laxer than h11, or differ by read size.
    """
    events = requests(raw, limits=LIMITS)
    complete = messages(events)
    pieces = requests(raw, step, LIMITS)
    assert kind(pieces) == kind(events), "the verdict depends on the read size"
    assert len(messages(pieces)) == len(complete), "the messages depend on the read size"
    if verdict(events) == "ok":
        assert described(pieces) == described(events), "the events depend on the read size"
    if not complete:
        return
    theirs, refused = h11_requests(raw)
    for number, (head, body) in enumerate(complete):
        if number >= len(theirs):
            assert not refused, f"h11 refuses what we take: {head!r}"
            break  # h11 stops behind an Upgrade or a close
        method, target, fields, their_body = theirs[number]
        assert (method, their_body) == (head.method, body), "h11 reads another message"
        assert target.endswith(head.target) or head.target in (b"*", b"/") or b"://" in target
        assert [field for field in fields if field[0] not in REWRITTEN] == [
            (low, value.rstrip(b" \t")) for _, low, value in head.headers if low not in REWRITTEN
        ], "h11 reads other fields"
    for head, body in complete:
        check_forwarded(head, body)


def check_forwarded(head: RequestHead, body: bytes) -> None:
    out = join_head(request_lines(head, DROP_REQUEST, head.host or b"svc")) + framed(head.body, body)
    found, refused = h11_requests(out)
    assert not refused, "h11 refuses what we send on"
    assert len(found) == 1, "we send on more than one message"
    method, target, fields, their_body = found[0]
    assert (method, target, their_body) == (head.method, head.target, body)
    assert [name for name, _ in fields].count(b"host") == 1


def check_response(raw: bytes, method: bytes, eof: bool, step: int) -> None:
    """Bytes from a backend.

    Raises:
        AssertionError: when we are laxer than h11, or differ by read size.
    """
    events, reusable = responses(raw, method, eof=eof, limits=LIMITS)
    pieces, again = responses(raw, method, step, eof, LIMITS)
    assert kind(pieces) == kind(events), "the verdict depends on the read size"
    if reusable != again:  # line ends behind a response are skipped by llhttp when they come with it
        assert raw[-1:] in (b"\r", b"\n"), "reuse depends on the read size"
    if verdict(events) != "ok":
        assert not reusable
        return
    assert described(pieces) == described(events), "the events depend on the read size"
    heads = [event for event in events if isinstance(event, ResponseHead)]
    head = heads[-1]
    if head.body is Body.TUNNEL:
        return
    body = b"".join(event for event in events if isinstance(event, bytes))
    assert h11_response(raw, method, eof) == (head.status, body), "h11 reads another response"
    for client11 in (True, False):
        framing = response_framing_out(head, client11)
        out = join_head(response_lines(head, DROP_RESPONSE, framing, method == b"HEAD")) + framed(
            framing, body
        )
        closes = framing is Body.UNTIL_CLOSE
        assert h11_response(out, method, closes) == (head.status, body), "h11 reads another one sent on"


def check(data: bytes) -> None:
    """One fuzz input: the first byte chooses which check and how the bytes are cut."""
    if not data:
        return
    choice, raw = data[0], data[1:]
    step = 1 + (choice >> 3)
    try:
        if choice & 1:
            check_request(raw, step)
        else:
            check_response(raw, b"HEAD" if choice & 2 else b"GET", bool(choice & 4), step)
    except Refused as refusal:
        raise AssertionError(f"h11 refuses what we take: {refusal}") from refusal


__all__ = ["ProtocolError", "check", "check_forwarded", "check_request", "check_response"]
