"""Feeding the parsers: whole, byte by byte, and as h11 would read the same bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import h11

from sidecar.wire.events import END, ProtocolError, RequestHead, ResponseHead, Trailers
from sidecar.wire.limits import DEFAULT_LIMITS, Limits
from sidecar.wire.request_parser import RequestParser
from sidecar.wire.response_parser import ResponseParser

STEPS = (1, 2, 3, 7, 64, 1 << 20)


def merged(events: Iterable[Any]) -> list[Any]:
    """The same events with neighbouring body pieces put together, so that read sizes do not matter."""
    out: list[Any] = []
    for event in events:
        if type(event) is bytes and out and type(out[-1]) is bytes:
            out[-1] += event
        else:
            out.append(event)
    return out


def requests(raw: bytes, step: int = 1 << 20, limits: Limits = DEFAULT_LIMITS) -> list[Any]:
    """All events of a client's bytes, one message after the other."""
    parser = RequestParser(limits)
    events: list[Any] = []
    for at in range(0, len(raw), step):
        events += parser.feed(raw[at : at + step])
        while parser.complete:
            events += parser.next()
        if events and isinstance(events[-1], ProtocolError):
            break
    return merged(events)


def responses(
    raw: bytes,
    method: bytes = b"GET",
    step: int = 1 << 20,
    eof: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[list[Any], bool]:
    """(events, whether the connection may be used again) of a backend's bytes."""
    parser = ResponseParser(limits)
    parser.expect(method)
    events: list[Any] = []
    for at in range(0, len(raw), step):
        events += parser.feed(raw[at : at + step])
        if events and isinstance(events[-1], ProtocolError):
            break
    else:
        if eof and (last := parser.eof()) is not None:
            events.append(last)
    return merged(events), parser.reusable


def verdict(events: list[Any]) -> str:
    """`ok`, `incomplete`, or the status of the refusal; for messages one after the other, of the last."""
    if not events:
        return "incomplete"
    last = events[-1]
    if isinstance(last, ProtocolError):
        return str(last.status)
    return "ok" if last is END else "incomplete"


def described(events: list[Any]) -> list[Any]:
    """Events that can be compared: heads as tuples, errors as (status, reason)."""
    out: list[Any] = []
    for event in events:
        if isinstance(event, RequestHead):
            out.append((event.method, event.target, event.host, event.headers, event.body, event.length))
        elif isinstance(event, ResponseHead):
            out.append((event.status, event.headers, event.body, event.length, event.keep_alive))
        elif isinstance(event, ProtocolError):
            out.append((event.status, event.reason))
        elif isinstance(event, Trailers):
            out.append(event.fields)
        else:
            out.append(event)
    return out


class Refused(Exception):
    """h11 does not take it."""


H11Request = tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]


def h11_requests(raw: bytes) -> tuple[list[H11Request], bool]:
    """((method, target, fields, body) of each complete request that h11 reads, whether it refused the next).

    RFC 9112 section 2.2 asks a server to pass over blank lines before a request; h11 does not.
    """
    found: list[H11Request] = []
    head: h11.Request | None = None
    body = b""
    try:
        while raw := raw.lstrip(b"\r\n"):
            connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
            connection.receive_data(raw)
            event = connection.next_event()
            while not isinstance(event, h11.EndOfMessage):
                if isinstance(event, h11.Request):
                    head, body = event, b""
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                else:
                    return found, False
                event = connection.next_event()
            assert head is not None
            found.append((head.method, head.target, list(head.headers), body))
            if connection.their_state is h11.MUST_CLOSE:
                return found, False
            raw = connection.trailing_data[0]
    except h11.RemoteProtocolError:
        return found, True
    return found, False


def h11_response(raw: bytes, method: bytes = b"GET", eof: bool = False) -> tuple[int, bytes] | None:
    """(status, body) of the final response, None while it is not complete.

    Raises:
        Refused: when h11 refuses it.
    """
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
    connection.send(h11.EndOfMessage())
    status, body = 0, b""
    try:
        connection.receive_data(raw)
        if eof:
            connection.receive_data(b"")
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return None
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return status, body
    except h11.RemoteProtocolError as error:
        raise Refused(str(error)) from error
