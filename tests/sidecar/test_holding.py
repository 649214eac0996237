"""Requests whose body comes late, in virtual time: what they hold, who waits for whom, who is refused."""

from __future__ import annotations

import pytest

from sidecar import holding
from sidecar.holding import HOLD_S
from sidecar.io.downstream import Downstream
from sidecar.io.outbox import AT_ONCE
from sidecar.io.upstream import UpstreamConnection
from sidecar.policy.adaptive import AdaptivePolicy
from sidecar.routing.compiled import Inbound as Rules
from sidecar.upload import REPLAY_BYTES
from sidecar.wire.limits import DEFAULT_LIMITS
from tests.fakes.transport import FakeTransport

from .test_faults import GET, World


def post(length: int = 100, *fields: bytes) -> bytes:
    lines = [b"POST / HTTP/1.1", b"Host: orders", b"Content-Length: %d" % length, *fields, b"", b""]
    return b"\r\n".join(lines)


class Callee(World):
    """Any number of clients, and an app that says what the test says."""

    def client(self, sends: bytes = b"") -> FakeTransport:
        transport = FakeTransport()
        transport.connect(Downstream(self))
        if sends:
            transport.receive(sends)
        return transport

    def app(self) -> FakeTransport:
        """The app takes a connection, for who waits longest."""
        pool = self.inbound.app.pool
        assert pool is not None
        connection, transport = UpstreamConnection(pool, DEFAULT_LIMITS, AT_ONCE), FakeTransport()
        transport.connect(connection)
        pool.active += 1
        connection.adopted = True
        pool.release(connection)
        return transport

    def drip(self, clients: list[FakeTransport], seconds: float) -> None:
        """A byte a second from each that is still read."""
        for _ in range(round(seconds)):
            self.loop.advance(1.0)
            for client in clients:
                if not client.closed and not client.eof:
                    client.receive(b"a")

    @property
    def places(self) -> int:
        """Taken at the app."""
        return self.inbound.app.in_flight

    def taken(self) -> list[int]:
        state = self.inbound.holding
        return [self.places, len(state.held), state.size, state.late, self.inbound.in_flight]


def status(client: FakeTransport) -> int:
    return int(client.sent[9:12]) if client.sent else 0


def test_a_body_that_comes_with_its_head_goes_on_at_once() -> None:
    """So it was, and so it is for nearly all."""
    world = Callee()
    world.client(post(2) + b"ab")
    assert (world.places, world.inbound.holding.held) == (1, {})


def test_a_small_body_takes_its_place_when_it_is_whole() -> None:
    """And goes out in one piece."""
    world = Callee()
    client = world.client(post(2) + b"a")
    assert world.places == 0
    client.receive(b"b")
    assert world.places == 1
    assert world.app().sent.endswith(b"\r\n\r\nab")


def test_a_hundred_drips_take_one_place_for_ten_seconds() -> None:
    """The rest of them takes none, everybody else is served, and all are told why they are refused."""
    world = Callee()
    drips = [world.client(post(1000)) for _ in range(100)]
    world.loop.advance(0.1)
    app = world.app()
    for _ in range(9):
        world.drip(drips, 1)
        assert world.places == 1
        other = world.client(GET)
        assert world.places == 2
        other.lose()
    world.drip(drips, 2)
    assert {status(client) for client in drips} == {408}
    assert all(b"SI: request body too slow" in client.sent for client in drips)
    assert app.aborted, "what it has of the body must not look whole"
    assert world.taken() == [0, 0, 0, 0, 0]
    assert world.inbound.refusals == {"request body too slow": 100}
    assert ("408", "SI") in world.counted()


def test_drips_take_nothing_of_the_adaptive_limit() -> None:
    """It is full with five; one of a hundred is in it."""
    world = Callee()
    world.inbound.apply(Rules(concurrency=AdaptivePolicy(initial=5)))
    limit = world.inbound.protection.adaptive
    assert limit is not None
    drips = [world.client(post(1000)) for _ in range(100)]
    world.loop.advance(0.1)
    world.app()
    world.drip(drips, 5)
    assert limit.in_flight == 1
    others = [world.client(GET) for _ in range(3)]
    assert limit.in_flight == 4
    assert [status(other) for other in others] == [0, 0, 0]  # at the app
    for client in (*drips, *others):
        client.lose()
    assert limit.in_flight == 0


def test_a_late_body_reaches_its_reader_as_it_comes() -> None:
    """After 50 ms with what is here."""
    world = Callee()
    client = world.client(post(5) + b"a")
    world.loop.advance(HOLD_S - 0.01)
    assert world.places == 0
    world.loop.advance(0.02)
    app = world.app()
    assert app.take().endswith(b"\r\n\r\na")
    client.receive(b"b")
    assert app.take() == b"b"


@pytest.mark.parametrize("end", ["whole", "long", "answered", "gone"])
def test_the_next_late_one_goes_on_when_the_first_is_late_no_more(end: str) -> None:
    """In the order in which they came."""
    world = Callee()
    length = 200_000 if end == "long" else 5
    first, second, third = (world.client(post(length) + b"%d" % number) for number in (1, 2, 3))
    world.loop.advance(1.0)
    assert world.places == 1
    app = world.app()
    if end == "whole":
        first.receive(b"aaaa")
    elif end == "long":
        first.receive(b"a" * REPLAY_BYTES)
    elif end == "answered":
        app.receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    else:
        first.lose()
    assert world.places == (1 if end == "gone" else 2)
    assert world.app().take().endswith(b"\r\n\r\n2")
    second.lose()
    assert world.app().take().endswith(b"\r\n\r\n3")
    third.lose()
    first.lose()
    assert world.taken() == [0, 0, 0, 0, 0]


def test_who_is_refused_late_lets_the_next_one_on() -> None:
    """Two thousand who are refused one by one, because the limit is full, are no recursion."""
    world = Callee()
    world.inbound.apply(Rules(concurrency=AdaptivePolicy(initial=5, floor=5)))
    first, *others = (world.client(post(5)) for _ in range(2000))
    world.loop.advance(0.1)
    world.app()
    guests = [world.client(GET) for _ in range(4)]
    first.receive(b"aaaaa")
    assert {status(other) for other in others} == {503}
    for client in (first, *guests):
        client.lose()
    assert world.taken() == [0, 0, 0, 0, 0]


def test_a_long_body_goes_on_as_soon_as_it_is_known_to_be_long() -> None:
    """By what is here of it: a length in the head is only a promise."""
    world = Callee()
    client = world.client(post(10**9) + b"a" * REPLAY_BYTES)
    assert world.places == 0
    client.receive(b"a")
    assert (world.places, world.inbound.holding.late) == (1, 0)


def test_a_client_that_expects_to_be_asked_is_late_at_once() -> None:
    """It sends nothing before; the app decides. One that has to be held is asked by us."""
    world = Callee()
    first = world.client(post(5, b"Expect: 100-continue"))
    assert (world.places, world.inbound.holding.late) == (1, 1)
    second = world.client(post(5, b"Expect: 100-continue"))
    assert (first.sent, second.sent) == (b"", b"HTTP/1.1 100 Continue\r\n\r\n")
    second.receive(b"hello")
    assert world.places == 2


def test_nobody_is_late_where_it_is_forbidden() -> None:
    """An app of one thread is asked only with whole requests."""
    world = Callee()
    world.inbound.app.late_places = 0
    client = world.client(post(3) + b"a")
    world.loop.advance(5.0)
    assert world.places == 0
    client.receive(b"bc")
    assert world.places == 1


def test_once_the_answer_has_begun_a_body_may_take_its_time() -> None:
    """A stream both ways, of which each side says little."""
    world = Callee()
    client = world.client(post(100_000) + b"a")
    world.loop.advance(1.0)
    app = world.app()
    app.receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(20):
        world.loop.advance(200.0)
        app.receive(b"1\r\nx\r\n")
        client.receive(b"a")
    assert client.sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert client.sent.count(b"1\r\nx\r\n") == 20
    assert not client.closed


def test_with_no_minimum_rate_a_silent_body_still_ends() -> None:
    """By the time between two pieces."""
    world = Callee()
    world.min_upload_rate = 0
    first, second = world.client(post(5) + b"a"), world.client(post(5) + b"a")
    world.loop.advance(0.1)
    world.app()
    world.loop.advance(58.0)
    assert (status(first), status(second)) == (0, 0)
    world.loop.advance(2.0)
    assert (status(first), status(second)) == (408, 408)
    assert world.taken() == [0, 0, 0, 0, 0]


def test_held_bytes_are_bounded_at_the_cost_of_who_came_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest is let in: an honest one is through long before it is the oldest."""
    monkeypatch.setattr(holding, "MAX_HELD_BYTES", 1000)
    world = Callee()
    world.inbound.app.late_places = 0
    first, second = world.client(post(5000) + b"a" * 400), world.client(post(5000) + b"a" * 400)
    third = world.client(post(5000))
    third.receive(b"a" * 400)
    assert b"UO: too many bytes of requests are held" in first.sent
    assert (second.sent, third.sent, world.inbound.holding.size) == (b"", b"", 800)
    second.receive(b"a" * 700)
    assert (status(second), status(third), world.inbound.holding.size) == (503, 0, 400)


def test_a_short_answer_is_held_back_no_longer_than_its_reader_may_wait() -> None:
    """Whole within 50 ms it goes out in one piece; a drip of it reaches its reader."""
    world = Callee()
    client = world.client(GET)
    app = world.app()
    app.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na")
    world.loop.advance(HOLD_S - 0.01)
    assert client.sent == b""
    world.loop.advance(0.02)
    assert client.take().endswith(b"\r\n\r\na")
    for _ in range(3):
        world.loop.advance(200.0)  # the upstream's time was for the answer to begin
        app.receive(b"b")
        assert client.take() == b"b"
    assert world.taken() == [0, 0, 0, 0, 0]


def test_an_answer_that_has_begun_is_never_a_504() -> None:
    """Not even when the time for it to begin ends while it is held back."""
    world = Callee(upstream_timeout=1.0)
    client = world.client(post(2) + b"ab")
    app = world.app()
    world.loop.advance(0.99)
    app.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
    world.loop.advance(5.0)
    app.receive(b"b")
    assert client.sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert client.sent.endswith(b"\r\n\r\nab")
