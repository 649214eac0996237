"""Faults at the edge, in virtual time: when they begin and end, what is told, who is drawn."""

from __future__ import annotations

import math
import random
from collections.abc import Coroutine
from typing import Any

import pytest

from sidecar.balance.endpoints import EndpointSpec
from sidecar.exchange import Exchange
from sidecar.faults import Faults, describe
from sidecar.inbound import Inbound, LocalApp
from sidecar.io.deadlines import Deadlines
from sidecar.io.downstream import Downstream
from sidecar.io.outbox import AT_ONCE
from sidecar.observe.events import EventLog
from sidecar.observe.explain import Explain
from sidecar.observe.metrics import Metrics, Peer
from sidecar.policy.fault import HELD_MAX_S, Action, Delay, FaultRule, Shape
from sidecar.policy.settings import ConnectionPolicy
from sidecar.routing.compiled import Inbound as Rules
from sidecar.routing.match import Match, Text
from sidecar.wire.events import RequestHead
from sidecar.wire.limits import DEFAULT_LIMITS
from sidecar.wire.request_parser import RequestParser
from tests.fakes.clock import FakeClock
from tests.fakes.transport import FakeTransport
from tests.sidecar.io.test_deadlines import FakeLoop

GET = b"GET /a HTTP/1.1\r\nHost: orders\r\n\r\n"
HANG = FaultRule("stuck", action=Action.HANG, action_percent=100.0)


def head_of(raw: bytes = GET) -> RequestHead:
    head = RequestParser(DEFAULT_LIMITS).feed(raw)[0]
    assert isinstance(head, RequestHead)
    return head


class World:
    """An inbound listener's one connection, over a fake transport and a fake clock."""

    header_timeout = idle_timeout = 1000.0
    min_upload_rate = 1024
    limits = DEFAULT_LIMITS
    draining = False

    def __init__(self, upstream_timeout: float = 1000.0) -> None:
        self.clock = FakeClock()
        self.loop = FakeLoop(self.clock)
        self.deadlines = Deadlines(self.loop.call_at, self.clock)
        self.outbox = AT_ONCE
        self.events = EventLog("orders-1", self.clock)
        self.connects = 0
        spec = EndpointSpec("orders-1", "127.0.0.1", 1)
        app = LocalApp(spec, ConnectionPolicy(), lambda: None, self.clock)
        self.inbound = Inbound(
            app,
            lambda: "passing",
            *(self._spawn, self.deadlines, Metrics(Peer("orders", "v1")), self.events, None, None),
            *(
                Explain("orders-1", lambda: "", self.clock, self.clock),
                upstream_timeout,
                0.0,
                self.clock,
                random.Random(1),
            ),
        )
        self.exchanges: list[Exchange] = []
        self.transport = FakeTransport()
        self.transport.connect(Downstream(self))

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        self.connects += 1
        coroutine.close()

    def opened(self, connection: Downstream) -> bool:
        return True

    def closed(self, connection: Downstream) -> None:
        pass

    def refused(self, connection: Downstream, status: int, reason: str) -> None:
        raise AssertionError(reason)

    def exchange(self, connection: Downstream, head: RequestHead) -> Exchange:
        self.exchanges.append(Exchange(self.inbound, connection, head))
        return self.exchanges[-1]

    def counted(self) -> list[tuple[str, str]]:
        """Status and flags of what is over, as the metrics have them."""
        requests = next(
            family for family in self.inbound.metrics.collect() if family.name == "istio_requests"
        )
        labels = [sample.labels for sample in requests.samples]
        return [(label["response_code"], label["response_flags"]) for label in labels]

    def told(self) -> list[tuple[str, str]]:
        return [(event["fault"], event["after"]) for event in self.events.since(0)]

    @property
    def held(self) -> int:
        return self.inbound.faults.injector.active + self.inbound.in_flight + self.inbound.app.in_flight


def test_a_fault_is_told_of_when_it_begins_and_when_its_time_is_over() -> None:
    """By name, in words, without any request having come."""
    world = World()
    rule = FaultRule("f", action=Action.ABORT, action_percent=30.0, status=500, ttl_s=10.0)
    shield = FaultRule("shield")
    world.inbound.apply(Rules(faults=(shield, rule)))
    event = world.events.since(0)[0]
    assert (event["kind"], event["endpoint"], event["after"]) == ("fault", "orders-1", "applied")
    assert event["reason"] == "fault f: answer 500 for 30 %, ends after 10 s"
    world.loop.advance(4.0)
    assert world.inbound.faults.snapshot()[0]["ends_in_s"] == 6.0
    world.inbound.apply(Rules(faults=(rule,)))  # the rest of the set changed: its time does not begin anew
    world.loop.advance(5.9)
    assert world.told() == [("f", "applied")]
    world.loop.advance(0.2)
    assert world.told() == [("f", "applied"), ("f", "expired")]
    assert not world.inbound.faults.rules
    world.inbound.apply(Rules(faults=(shield, rule)))  # nor does it come back with another document's change
    assert world.told()[2:] == []
    assert world.inbound.faults.snapshot() == []


def test_a_fault_of_another_generation_begins_anew() -> None:
    """So the same fault can be asked for again."""
    world = World()
    for generation in (0, 1):
        rule = FaultRule("f", delay=Delay(0.1), delay_percent=100.0, ttl_s=5.0, generation=generation)
        world.inbound.apply(Rules(faults=(rule,)))
        world.loop.advance(6.0)
    assert [after for _, after in world.told()] == ["applied", "expired", "applied", "expired"]


def test_a_fault_that_is_taken_away_is_told_of_once() -> None:
    """And its timer does not come back."""
    world = World()
    world.inbound.apply(Rules(faults=(FaultRule("f", action=Action.ABORT, action_percent=100.0, ttl_s=9.0),)))
    world.transport.receive(GET)
    world.inbound.apply(Rules())
    world.loop.advance(20.0)
    assert world.told() == [("f", "applied"), ("f", "removed")]
    assert world.events.since(0)[-1]["numbers"] == {"ttl_s": 9.0, "injected": 1}


def test_a_fault_whose_document_goes_at_its_end_has_expired() -> None:
    """The operator's side removes it at the same time, maybe a hair before."""
    world = World()
    world.inbound.apply(Rules(faults=(FaultRule("f", action=Action.RESET, action_percent=1.0, ttl_s=9.0),)))
    world.loop.advance(8.9)
    world.inbound.apply(Rules())
    world.loop.advance(1.0)
    assert world.told() == [("f", "applied"), ("f", "expired")]


def test_without_faults_no_timer_is_set_and_no_entry_made() -> None:
    """A policy that is off costs one look."""
    world = World()
    before = world.loop.calls
    world.inbound.apply(Rules())
    assert world.loop.calls == before
    world.transport.receive(GET)
    assert world.exchanges[0].entry is None
    assert world.connects == 1


def test_a_request_meets_the_same_fate_again_and_its_retry_another() -> None:
    """The dice are the request's: its id, the attempt, the instance; about the percentage in all."""
    rule = FaultRule("f", action=Action.ABORT, action_percent=30.0)

    def faults(instance: str, seed: int) -> Faults:
        world = World()
        made = Faults(instance, world.deadlines, world.events, world.clock, random.Random(seed))
        made.apply([rule])
        return made

    def fate(made: Faults, number: int, attempt: int) -> bool:
        raw = b"GET / HTTP/1.1\r\nHost: a\r\nx-envoy-attempt-count: %d\r\n\r\n" % attempt
        fault = made.draw(head_of(raw), b"request-%d" % number)
        if fault is not None:
            made.done(fault)
        return fault is not None

    one, again, other = faults("orders-1", 1), faults("orders-1", 2), faults("orders-2", 1)
    first = [fate(one, number, 1) for number in range(2000)]
    assert first == [fate(again, number, 1) for number in reversed(range(2000))][::-1]
    assert abs(sum(first) - 600) < 3 * (2000 * 0.21) ** 0.5
    for second in (
        [fate(one, number, 2) for number in range(2000)],
        [fate(other, n, 1) for n in range(2000)],
    ):
        both = sum(a and b for a, b in zip(first, second, strict=True))
        assert abs(both - 180) < 4 * (2000 * 0.09) ** 0.5, "as often as two independent dice"


def test_matches_see_the_head_as_it_came() -> None:
    """Headers in any case, the caller by its sidecar's word, the authority."""
    match = Match(
        headers=(
            (b"x-user", Text("exact", b"ann")),
            (b"x-envoy-peer-metadata-id", Text("prefix", b"web-1~")),
        ),
        authority=Text("exact", b"orders"),
    )
    world = World()
    world.inbound.apply(Rules(faults=(FaultRule("f", match, action=Action.ABORT, action_percent=100.0),)))
    raw = GET[:-2] + b"X-User: ann\r\nX-Envoy-Peer-Metadata-Id: web-1~web~v1\r\n\r\n"
    assert world.inbound.faults.draw(head_of(raw), b"1") is not None
    assert world.inbound.faults.draw(head_of(raw.replace(b"orders", b"others")), b"1") is None
    assert world.inbound.faults.draw(head_of(), b"1") is None


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (FaultRule("f"), ""),
        (FaultRule("f", delay=Delay(0.25, Shape.LOGNORMAL)), ""),
        (
            FaultRule("f", delay=Delay(0.25, Shape.LOGNORMAL), delay_percent=5.0),
            "lognormal delay of 250 ms for 5 %",
        ),
        (
            FaultRule("f", action=Action.FAIL_FIRST, action_percent=100.0, count=2),
            "answer 503 to the first 2 tries of a request for 100 %",
        ),
        (
            FaultRule("f", action=Action.TRUNCATE, action_percent=1.0, after_bytes=7),
            "cut the body after 7 bytes for 1 %",
        ),
        (
            FaultRule("f", action=Action.SLOW_BODY, action_percent=1.0, bytes_per_s=10.0),
            "body at 10 bytes/s for 1 %",
        ),
    ],
)
def test_what_a_fault_does_is_said_in_words(rule: FaultRule, words: str) -> None:
    """Nothing, if it does nothing."""
    assert describe(rule) == words


def test_a_delay_holds_the_request_and_then_lets_it_on() -> None:
    """No attempt before its time; the app's place is free meanwhile."""
    world = World()
    world.inbound.apply(Rules(faults=(FaultRule("slow", delay=Delay(0.5), delay_percent=100.0),)))
    world.transport.receive(GET)
    world.loop.advance(0.4)
    assert (world.connects, world.inbound.app.in_flight) == (0, 0)
    world.loop.advance(0.2)
    assert (world.connects, world.inbound.app.in_flight) == (1, 1)
    assert world.exchanges[0].flags == "DI"


def test_a_hang_ends_by_its_own_cap() -> None:
    """With RST, and nothing stays taken."""
    world = World()
    world.inbound.apply(Rules(faults=(HANG,)))
    world.transport.receive(GET)
    world.loop.advance(HELD_MAX_S - 0.1)
    assert not world.transport.closed
    world.loop.advance(0.2)
    assert world.transport.aborted
    assert world.transport.sent == b""
    assert (world.counted(), world.held) == ([("503", "FI")], 0)


def test_a_reset_leaves_no_timer() -> None:
    """The exchange is over before its start has returned: nothing may be armed for it then."""
    world = World()
    world.inbound.apply(Rules(faults=(FaultRule("f", action=Action.RESET, action_percent=100.0),)))
    world.transport.receive(GET)
    assert world.transport.aborted
    assert isinstance(world.transport.protocol, Downstream)
    assert world.transport.protocol.exchange_timer.deadline == math.inf
    assert (world.counted(), world.held) == ([("503", "FI")], 0)


def test_a_hang_ends_by_the_deadline() -> None:
    """As if the app had not answered; the reason names the fault."""
    world = World(upstream_timeout=3.0)
    world.inbound.apply(Rules(faults=(HANG,)))
    world.transport.receive(GET)
    world.loop.advance(3.1)
    assert world.transport.sent.startswith(b"HTTP/1.1 504 ")
    words = b"x-mesh-reason: FI,UT: fault stuck: no answer within the request's time limit"
    assert words in world.transport.sent
    assert world.held == 0


def test_an_upload_that_ends_while_it_hangs_starts_the_clock() -> None:
    """The deadline counts from the end of the request, with or without a try under way."""
    world = World(upstream_timeout=3.0)
    world.inbound.apply(Rules(faults=(HANG,)))
    world.transport.receive(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
    world.loop.advance(9.0)
    assert world.transport.sent == b""
    world.transport.receive(b"cd")
    world.loop.advance(3.1)
    assert world.transport.sent.startswith(b"HTTP/1.1 504 ")


@pytest.mark.parametrize("action", [Action.NONE, Action.HANG, Action.ABORT])
@pytest.mark.parametrize("after", [0.0, 0.3, 0.7])
def test_a_client_that_leaves_gives_everything_back(action: Action, after: float) -> None:
    """In the delay, in the hang, on the way to the app."""
    world = World()
    rule = FaultRule("f", delay=Delay(0.5), delay_percent=100.0, action=action, action_percent=100.0)
    world.inbound.apply(Rules(faults=(rule,)))
    world.transport.receive(GET)
    world.loop.advance(after)
    world.transport.lose()
    assert world.held == 0
    world.loop.advance(100.0)
    assert world.held == 0
    flags = {Action.NONE: "DI,DC", Action.HANG: "DI,FI,DC", Action.ABORT: "DI,FI"}[action]
    expected = ("503" if flags == "DI,FI" else "499", flags) if after > 0.5 else ("499", "DI,DC")
    assert world.counted() == [expected]


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (500, b"HTTP/1.1 500 Internal Server Error\r\n"),
        (404, b"HTTP/1.1 404 Not Found\r\n"),
        (204, b"HTTP/1.1 204 No Content\r\n"),
    ],
)
def test_an_abort_has_any_status(status: int, sent: bytes) -> None:
    """And what has no body gets none; the next request on the connection is not disturbed."""
    world = World()
    rule = FaultRule("f", action=Action.ABORT, action_percent=100.0, status=status)
    world.inbound.apply(Rules(faults=(rule,)))
    world.transport.receive(GET)
    answer = world.transport.take()
    assert answer.startswith(sent)
    assert b"x-mesh-reason: FI: fault f: aborted\r\n" in answer
    assert answer.endswith(b"\r\n\r\n") is (status == 204)
    assert (b"content-length" in answer) is (status != 204)
    world.transport.receive(GET)
    assert world.transport.take() == answer
    assert (world.held, world.connects) == (0, 0)


def test_a_fault_at_its_cap_spares_the_rest() -> None:
    """They go to the app; how many is counted."""
    world = World()
    world.inbound.apply(
        Rules(faults=(FaultRule("f", action=Action.HANG, action_percent=100.0, max_active=1),))
    )
    world.transport.receive(GET)
    second = FakeTransport()
    second.connect(Downstream(world))
    second.receive(GET)
    assert (world.connects, world.inbound.faults.injector.skipped) == (1, 1)
