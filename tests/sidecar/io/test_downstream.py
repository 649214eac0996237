"""A client connection over a fake transport: bytes written, reading paused, how it is closed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sidecar.errors import Flag
from sidecar.io.deadlines import Deadlines
from sidecar.io.downstream import LINGER_BYTES, LINGER_S, Downstream, RequestHandler
from sidecar.io.flow import HIGH_WATER, LOW_WATER, Hold
from sidecar.io.outbox import AT_ONCE
from sidecar.wire.events import Header, ProtocolError, RequestHead
from sidecar.wire.limits import DEFAULT_LIMITS
from tests.fakes.clock import FakeClock
from tests.fakes.transport import FakeTransport

from .test_deadlines import FakeLoop

GET = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Handler:
    """An exchange that notes what it is told and answers when the test says so."""

    def __init__(self, connection: Downstream, head: RequestHead) -> None:
        self.connection = connection
        self.head = head
        self.log: list[str] = []
        self.at_once = False

    def request_body(self, data: bytes) -> None:
        self.log.append(data.decode())

    def request_trailers(self, fields: list[Header]) -> None:
        self.log.append("<trailers>")

    def request_end(self) -> None:
        self.log.append("<end>")

    def start(self) -> None:
        self.log.append("<start>")
        if self.at_once:
            self.answer()

    def request_broken(self, error: ProtocolError) -> None:
        self.log.append(f"<{error.status}>")

    def request_slow(self) -> None:
        self.log.append("<slow>")

    def client_gone(self) -> None:
        self.log.append("<gone>")

    def drained(self) -> None:
        self.log.append("<drained>")

    def client_writable(self, writable: bool) -> None:
        self.log.append("<writable>" if writable else "<blocked>")

    def timer_fired(self) -> None:
        self.log.append("<timer>")

    def crashed(self) -> None:
        self.log.append("<crashed>")

    def answer(self, keep_alive: bool = True, data: bytes = OK) -> None:
        self.connection.write([data])
        self.connection.finished(keep_alive)


class Host:
    """A listener for one connection."""

    def __init__(self) -> None:
        self.loop = FakeLoop(FakeClock())
        self.clock = self.loop.clock
        self.deadlines = Deadlines(self.loop.call_at, self.clock)
        self.limits = DEFAULT_LIMITS
        self.outbox = AT_ONCE
        self.header_timeout = 10.0
        self.idle_timeout = 60.0
        self.min_upload_rate = 1024
        self.draining = False
        self.full = False
        self.open = 0
        self.refusals: list[tuple[int, Flag, str]] = []
        self.handlers: list[Handler] = []
        self.prepare: Callable[[Handler], None] = lambda handler: None

    def opened(self, connection: Downstream) -> bool:
        self.open += 1
        return not self.full

    def closed(self, connection: Downstream) -> None:
        self.open -= 1

    def exchange(self, connection: Downstream, head: RequestHead) -> RequestHandler:
        handler = Handler(connection, head)
        self.prepare(handler)
        self.handlers.append(handler)
        return handler

    def refused(self, connection: Downstream, status: int, flag: Flag, reason: str) -> None:
        self.refusals.append((status, flag, reason))

    def connect(self, capacity: int | None = None) -> tuple[Downstream, FakeTransport]:
        connection = Downstream(self)
        transport = FakeTransport(capacity=capacity)
        transport.connect(connection)
        return connection, transport


@pytest.fixture
def host() -> Host:
    return Host()


def test_events_of_a_read_come_before_the_start(host: Host) -> None:
    """So that the exchange sends head and body together."""
    connection, transport = host.connect()
    assert transport.limits == (HIGH_WATER, LOW_WATER)
    assert connection.peer == "10.0.0.1"
    transport.receive(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel")
    transport.receive(b"lo")
    assert host.handlers[0].log == ["hel", "<start>", "lo", "<end>"]


def test_a_pipelined_request_waits_with_reading_paused(host: Host) -> None:
    """It begins when the one before is answered, and reading goes on."""
    _, transport = host.connect()
    transport.receive(GET % 1)
    transport.receive(GET % 2)
    assert not transport.reading
    assert len(host.handlers) == 1
    host.handlers[0].answer()
    assert transport.reading
    assert [handler.head.target for handler in host.handlers] == [b"/1", b"/2"]
    host.handlers[1].answer()
    assert transport.take() == OK * 2


def test_requests_of_one_read_that_are_answered_at_once(host: Host) -> None:
    """A loop, not a recursion."""
    host.prepare = lambda handler: setattr(handler, "at_once", True)
    _, transport = host.connect()
    transport.receive(b"".join(GET % number for number in range(3000)))
    assert len(host.handlers) == 3000
    assert transport.sent == OK * 3000


def test_a_client_that_does_not_read_gets_no_further_answers(host: Host) -> None:
    """The next request begins when it has taken the last answer."""
    host.prepare = lambda handler: setattr(handler, "at_once", True)
    _, transport = host.connect(capacity=len(OK) * 2)
    transport.receive(b"".join(GET % number for number in range(10)))
    assert len(host.handlers) == 3
    while transport.take():
        pass
    assert len(host.handlers) == 10
    assert transport.reading


def test_a_refusal_has_one_answer_then_a_lingering_close(host: Host) -> None:
    """Unread input is still taken, or an RST could destroy the answer."""
    _, transport = host.connect()
    transport.receive(b"GET / HTTP/1.1\r\n\r\n")
    assert transport.sent.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"x-mesh-reason: DPE: no Host\r\n" in transport.sent
    assert transport.eof
    assert not transport.closed
    assert host.refusals == [(400, Flag.DPE, "no Host")]
    transport.receive(bytes(LINGER_BYTES))
    assert not transport.aborted
    transport.receive(b"x")
    assert transport.aborted


def test_lingering_ends_in_time_or_with_the_client(host: Host) -> None:
    """Whichever comes first."""
    _, transport = host.connect()
    transport.receive(b"BAD\r\n\r\n")
    host.loop.advance(LINGER_S - 0.1)
    assert not transport.closed
    host.loop.advance(0.2)
    assert transport.aborted
    _, transport = host.connect()
    transport.receive(b"BAD\r\n\r\n")
    transport.end()
    assert transport.closed
    assert not transport.aborted


def test_a_client_that_is_slow_to_take_its_last_answer_is_waited_for(host: Host) -> None:
    """As long as it takes some of it; one that takes nothing is cut."""
    _, transport = host.connect(capacity=10**6)
    transport.receive(GET % 1)
    host.handlers[0].answer(keep_alive=False, data=bytes(500))
    assert transport.closed
    transport.unsent = 300
    host.loop.advance(60.1)
    assert not transport.aborted
    host.loop.advance(60.1)
    assert transport.aborted


def test_head_timeout_is_a_408_and_idle_timeout_a_close(host: Host) -> None:
    """Bytes do not extend the head's time."""
    _, transport = host.connect()
    transport.receive(b"GET / HT")
    host.loop.advance(9.0)
    transport.receive(b"TP/1.1\r\n")
    host.loop.advance(1.1)
    assert transport.sent.startswith(b"HTTP/1.1 408 ")
    _, transport = host.connect()
    host.loop.advance(10.1)
    assert transport.closed
    assert transport.sent == b""
    _, transport = host.connect()
    transport.receive(GET % 1)
    host.loop.advance(100.0)
    assert not transport.closed, "a request under way has its own deadlines"
    host.handlers[-1].answer()
    host.loop.advance(59.0)
    assert not transport.closed
    host.loop.advance(1.1)
    assert transport.closed


def test_half_a_pipelined_head_has_the_heads_time(host: Host) -> None:
    """Not the idle time."""
    _, transport = host.connect()
    transport.receive(GET % 1 + b"GET /2 HT")
    host.handlers[0].answer()
    host.loop.advance(10.1)
    assert b" 408 " in transport.sent


def test_blank_lines_do_not_keep_a_connection(host: Host) -> None:
    """They begin no head."""
    _, transport = host.connect()
    for _ in range(12):
        if not transport.closed:
            transport.receive(b"\r\n")
        host.loop.advance(1.0)
    assert transport.closed


def test_too_many_connections(host: Host) -> None:
    """Told so, and counted out when it is gone."""
    host.full = True
    _, transport = host.connect()
    assert transport.sent.startswith(b"HTTP/1.1 503 ")
    assert b"x-mesh-reason: UO: too many connections\r\n" in transport.sent
    assert host.refusals == [(503, Flag.UO, "too many connections")]
    transport.lose()
    assert host.open == 0


@pytest.mark.parametrize("how", ["end", "lose"])
def test_a_client_that_goes_away_is_told_once(host: Host, how: str) -> None:
    """However it goes, and though `connection_lost` comes behind it."""
    _, transport = host.connect()
    transport.receive(GET % 1)
    getattr(transport, how)()
    if how != "lose":
        transport.lose()
    assert host.handlers[0].log == ["<end>", "<start>", "<gone>"]
    assert host.open == 0
    assert host.loop.scheduled <= 1


def test_the_end_of_a_drain_is_told_to_the_exchange_and_ends_what_has_none(host: Host) -> None:
    """An exchange has the last word to its client; a connection without one is cut."""
    connection, transport = host.connect()
    transport.receive(GET % 1)
    connection.cut()
    assert host.handlers[0].log == ["<end>", "<start>", "<drained>"]
    assert not transport.closed
    host.handlers[0].answer(keep_alive=False)
    assert transport.sent == OK
    assert transport.closed
    idle, transport = host.connect()
    idle.cut()
    assert transport.aborted


def test_hold_reasons_are_independent(host: Host) -> None:
    """Reading goes on when none is left."""
    connection, transport = host.connect()
    transport.receive(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
    connection.hold(Hold.SLOW_PEER)
    connection.hold(Hold.PIPELINED)
    connection.release(Hold.SLOW_PEER)
    assert not transport.reading
    connection.release(Hold.PIPELINED)
    assert transport.reading


def test_drain_closes_what_is_idle_soon_and_what_is_busy_with_its_answer(host: Host) -> None:
    """A request that crosses the decision is served."""
    connection, transport = host.connect()
    connection.close_if_idle()
    host.draining = True
    transport.receive(GET % 1)
    host.loop.advance(5)
    assert not transport.closed
    host.handlers[0].answer(keep_alive=False)
    assert transport.closed
    connection, transport = host.connect()
    connection.close_if_idle()
    host.loop.advance(0.3)
    assert transport.closed


POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"


def test_a_body_of_a_byte_a_second_is_told_of(host: Host) -> None:
    """Once; and whatever comes later is not measured any more."""
    _, transport = host.connect()
    transport.receive(POST)
    for _ in range(30):
        host.loop.advance(1.0)
        transport.receive(b"a")
    assert host.handlers[0].log.count("<slow>") == 1
    assert host.handlers[0].log.index("<slow>") == 1 + 10  # <start>, and ten bytes


def test_a_body_is_not_measured_while_we_do_not_read(host: Host) -> None:
    """Before the first byte too."""
    host.prepare = lambda handler: handler.connection.hold(Hold.SLOW_PEER)
    connection, transport = host.connect()
    transport.receive(POST)
    host.loop.advance(100.0)
    connection.release(Hold.SLOW_PEER)
    host.loop.advance(9.0)
    connection.hold(Hold.SLOW_PEER)
    host.loop.advance(100.0)
    assert "<slow>" not in host.handlers[0].log
    connection.release(Hold.SLOW_PEER)
    host.loop.advance(1.3)
    assert host.handlers[0].log[-1] == "<slow>"


@pytest.mark.parametrize("rest", [b"a" * 100_000, b"a" * 10])
def test_a_body_that_is_whole_is_not_measured(host: Host, rest: bytes) -> None:
    """Nor does its end leave a timer that would take the answer's time for the client's."""
    _, transport = host.connect()
    transport.receive(POST.replace(b"100000", b"%d" % len(rest)))
    host.loop.advance(5.0)
    transport.receive(rest)
    host.loop.advance(1000.0)
    assert host.handlers[0].log[-1] == "<end>"
    assert not transport.closed
    host.handlers[0].answer()
    host.loop.advance(59.0)
    assert not transport.closed
    host.loop.advance(2.0)
    assert transport.closed


def test_without_a_minimum_rate_nothing_is_measured(host: Host) -> None:
    """It is switched off by 0."""
    host.min_upload_rate = 0
    _, transport = host.connect()
    transport.receive(POST)
    host.loop.advance(1000.0)
    assert host.handlers[0].log == ["<start>"]


@pytest.mark.parametrize(
    "method", ["start", "request_body", "request_end", "request_slow", "client_writable", "timer_fired"]
)
def test_an_error_of_our_own_ends_the_exchange_and_the_connection(
    host: Host, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Logged, cut, and the exchange told to give back what it holds."""

    def fail(*args: object) -> None:
        raise ZeroDivisionError("on purpose")

    host.prepare = lambda handler: setattr(handler, method, fail)
    connection, transport = host.connect(capacity=10)
    body = b"" if method == "request_slow" else b"a"
    transport.receive(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n" + body)
    if method == "request_slow":
        host.loop.advance(11)
    elif method == "timer_fired":
        connection.arm(host.clock() + 1)
        host.loop.advance(2)
    elif method == "client_writable":
        connection.write([bytes(100)])
    assert host.handlers[0].log[-1] == "<crashed>"
    assert transport.aborted
    assert "an error of our own" in caplog.text
