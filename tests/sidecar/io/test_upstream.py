"""A backend connection over a fake transport: when it may serve another exchange, and who is told what."""

from __future__ import annotations

import pytest

from sidecar.io.outbox import AT_ONCE
from sidecar.io.upstream import MAX_EXCHANGES, UpstreamConnection
from sidecar.wire.events import Header, ProtocolError, RequestHead, ResponseHead
from sidecar.wire.limits import DEFAULT_LIMITS
from sidecar.wire.request_parser import RequestParser
from tests.fakes.transport import FakeTransport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def request(raw: bytes) -> RequestHead:
    """The head of a request."""
    head = RequestParser().feed(raw)[0]
    assert isinstance(head, RequestHead)
    return head


GET = request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


class Owner:
    """A pool that only counts what it lost."""

    def __init__(self) -> None:
        self.gone = 0

    def lost(self, connection: UpstreamConnection) -> None:
        self.gone += 1


class Handler:
    """An exchange that notes what it is told, and may fail at it."""

    def __init__(self, breaks: bool = False) -> None:
        self.log: list[str] = []
        self.breaks = breaks

    def response_head(self, head: ResponseHead) -> None:
        self.log.append(str(head.status))
        if self.breaks:
            raise ZeroDivisionError("on purpose")

    def response_body(self, data: bytes) -> None:
        self.log.append(data.decode())

    def response_trailers(self, fields: list[Header]) -> None:
        self.log.append("<trailers>")

    def response_end(self) -> None:
        self.log.append("<end>")

    def response_flush(self) -> None:
        self.log.append("<flush>")

    def upstream_failed(self, connection: UpstreamConnection, error: ProtocolError | None) -> None:
        self.log.append("<lost>" if error is None else f"<{error.status}>")

    def upstream_writable(self, writable: bool) -> None:
        self.log.append("<writable>" if writable else "<blocked>")

    def crashed(self) -> None:
        self.log.append("<crashed>")


def begun(
    handler: Handler | None = None, head: RequestHead = GET
) -> tuple[UpstreamConnection, FakeTransport, Owner, Handler]:
    """A connection with an exchange on it whose request is sent."""
    owner, handler = Owner(), handler or Handler()
    connection, transport = UpstreamConnection(owner, DEFAULT_LIMITS, AT_ONCE), FakeTransport()
    transport.connect(connection)
    connection.begin(handler, head)
    connection.request_done = True
    return connection, transport, owner, handler


def test_a_whole_exchange_leaves_it_usable() -> None:
    """Its first one is no reuse, the next one is."""
    connection, transport, _, handler = begun()
    assert not connection.reusable
    transport.receive(OK)
    assert handler.log == ["200", "ok", "<end>", "<flush>"]
    assert connection.reusable
    assert not connection.reused
    connection.detach()
    connection.begin(Handler(), GET)
    assert connection.reused
    assert not connection.reusable


@pytest.mark.parametrize(
    "raw",
    [
        OK + b"HTTP/1.1 400 Bad",
        OK + b"x",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no",
        b"HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 304 X\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_what_makes_it_unusable(raw: bytes) -> None:
    """Bytes that nobody asked for, a word to close, an answer that is not whole."""
    connection, transport, _, _ = begun()
    transport.receive(raw)
    assert not connection.reusable


H = b" / HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("raw", "reusable"),
    [
        *((method + H + b"\r\n", True) for method in (b"GET", b"DELETE", b"OPTIONS", b"POST")),
        (b"POST" + H + b"Content-Length: 2\r\n\r\n", True),
        (b"PUT" + H + b"Transfer-Encoding: chunked\r\n\r\n", True),
        (b"GET" + H + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", True),  # is not passed on
        (b"GET" + H + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", False),
        (b"POST" + H + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", False),
        *((method + H + b"\r\n", False) for method in (b"HEAD", b"TRACE", b"PROPFIND", b"LINK")),
        *((method + H + b"Content-Length: 2\r\n\r\n", False) for method in (b"GET", b"DELETE", b"OPTIONS")),
    ],
)
def test_what_another_server_could_delimit_in_another_way_makes_it_unusable(
    raw: bytes, reusable: bool
) -> None:
    """Whatever the answer looks like."""
    connection, transport, _, _ = begun(head=request(raw))
    transport.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert connection.reusable is reusable


def test_an_answer_before_the_request_is_whole_makes_it_unusable() -> None:
    """The backend would read the rest of the upload as the next request."""
    connection, transport, _, _ = begun()
    connection.request_done = False
    transport.receive(OK)
    assert not connection.reusable
    connection.request_done = True
    assert connection.reusable
    connection.used = MAX_EXCHANGES
    assert not connection.reusable
    connection.used = 1
    transport.close()
    assert not connection.reusable


def test_bytes_on_an_idle_connection_cut_it() -> None:
    """A 408 that a server sends before it closes is nobody's answer."""
    connection, transport, _, handler = begun()
    transport.receive(OK)
    connection.detach()
    transport.receive(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert transport.closed
    assert handler.log[-1] == "<flush>"


def test_a_client_that_was_slow_does_not_slow_the_next_one() -> None:
    """Reading goes on when the exchange is through."""
    connection, transport, _, _ = begun()
    transport.receive(OK)
    connection.pause_reading()
    assert not transport.reading
    connection.detach()
    assert transport.reading


def test_a_loss_is_told_once_to_each() -> None:
    """The exchange first, then the pool."""
    _, transport, owner, handler = begun()
    transport.end()
    transport.lose()
    assert (handler.log, owner.gone) == (["<lost>"], 1)


def test_the_end_of_a_body_until_close_is_no_loss() -> None:
    """And not a failure of the exchange that it ends."""
    _, transport, _, handler = begun()
    transport.receive(b"HTTP/1.1 200 OK\r\n\r\nsome")
    transport.end()
    assert handler.log == ["200", "some", "<flush>", "<end>"]


def test_an_error_of_ours_cuts_it_and_ends_the_exchange() -> None:
    """uvloop would log it and go on, with the exchange's place taken for ever."""
    _, transport, _, handler = begun(Handler(breaks=True))
    transport.receive(OK)
    assert transport.closed
    assert handler.log == ["200", "<crashed>"]
