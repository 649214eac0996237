"""Who is turned away before the app, in virtual time; and what callers are told of us."""

from __future__ import annotations

import random

import pytest

from sidecar.balance.health import parse_report
from sidecar.errors import MeshError
from sidecar.io.deadlines import Deadlines
from sidecar.load_report import LoadReport
from sidecar.loop_lag import TICK_S, LoopLag
from sidecar.policy.adaptive import AdaptivePolicy
from sidecar.policy.lanes import Lane
from sidecar.policy.rate_limit import Rate, RateLimitPolicy
from sidecar.protection import Protection, caller_of, lane_of_head
from sidecar.routing.compiled import RateLimitRule
from sidecar.routing.match import Match, Text
from sidecar.wire.events import RequestHead
from sidecar.wire.limits import DEFAULT_LIMITS
from sidecar.wire.request_parser import RequestParser
from tests.fakes.clock import FakeClock
from tests.sidecar.io.test_deadlines import FakeLoop


def head(path: str = "/", **fields: str) -> RequestHead:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    found = RequestParser(DEFAULT_LIMITS).feed(f"GET {path} HTTP/1.1\r\nhost: a\r\n{lines}\r\n".encode())[0]
    assert isinstance(found, RequestHead)
    return found


def caller(service: str, path: str = "/") -> RequestHead:
    return head(path, x_envoy_peer_metadata_id=f"{service}-1~{service}~v1")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def protection(clock: FakeClock) -> Protection:
    return Protection(clock, random.Random(3))


def rule(name: str = "all", *matches: Match, **policy: object) -> RateLimitRule:
    return RateLimitRule(name, matches, RateLimitPolicy(**policy))  # type: ignore[arg-type]


def fields(refused: MeshError | None) -> dict[bytes, bytes]:
    assert refused is not None
    return dict(refused.fields)


def test_a_caller_over_its_rate_is_told_when_to_come_again(protection: Protection, clock: FakeClock) -> None:
    """429 with the standard headers; another caller is not touched; time refills the bucket."""
    protection.apply([rule(per_caller=Rate(2.0, 3.0))], None)
    assert protection.active
    assert [protection.check(caller("web")) for _ in range(3)] == [None] * 3
    refused = protection.check(caller("web"))
    assert refused is not None
    assert (refused.flag.name, refused.status) == ("RL", 429)
    assert refused.detail == "all allows 2 requests/s of web, 3 at once"
    assert fields(refused) == {
        b"retry-after": b"1",
        b"x-ratelimit-limit": b"3",
        b"x-ratelimit-remaining": b"0",
        b"x-ratelimit-reset": b"2",
        b"x-envoy-ratelimited": b"true",
    }
    assert protection.check(caller("shop")) is None
    assert protection.check(head()) is None
    clock.advance(0.5)
    assert protection.check(caller("web")) is None


def test_a_limit_belongs_to_its_route(protection: Protection) -> None:
    """Other paths are free; each limit that means the request is asked."""
    pay = Match(path=Text("prefix", b"/pay"))
    protection.apply([rule("pay", pay, total=Rate(1.0, 1.0)), rule("all", total=Rate(1.0, 3.0))], None)
    assert protection.check(head("/pay")) is None
    refused = protection.check(head("/pay"))
    assert refused is not None
    assert refused.detail == "pay allows 1 requests/s of all callers, 1 at once"
    assert [protection.check(head("/cart")) for _ in range(2)] == [None, None]
    assert protection.check(head("/cart")) is not None
    assert [(row["name"], row["enforced"]) for row in protection.snapshot()["rate_limits"]] == [
        ("pay", 1), ("all", 1),
    ]  # fmt: skip


def test_shadow_mode_counts_and_lets_pass(protection: Protection) -> None:
    """To see what a limit would do."""
    protection.apply([rule(total=Rate(1.0, 1.0), shadow=True)], None)
    assert [protection.check(head()) for _ in range(3)] == [None] * 3
    (row,) = protection.snapshot()["rate_limits"]
    assert (row["limited"], row["enforced"], row["shadow"]) == (2, 0, True)


def test_buckets_outlive_a_change_of_other_policies(protection: Protection) -> None:
    """An empty bucket is not filled by swapping the set; a changed rate begins anew, its counters go on."""
    protection.apply([rule(total=Rate(1.0, 1.0))], None)
    protection.check(head())
    assert protection.check(head()) is not None
    protection.apply([rule("new", total=Rate(9.0, 9.0)), rule(total=Rate(1.0, 1.0))], None)
    assert protection.check(head()) is not None
    protection.apply([rule(total=Rate(1.0, 2.0))], None)
    assert protection.check(head()) is None
    (row,) = protection.snapshot()["rate_limits"]
    assert (row["limited"], row["enforced"]) == (2, 2)
    protection.apply([], None)
    assert not protection.active


def test_the_adaptive_limit_keeps_what_it_learnt(protection: Protection, clock: FakeClock) -> None:
    """New bounds clamp it; taken away and given again it starts anew."""
    protection.apply([], AdaptivePolicy(initial=10))
    limit = protection.adaptive
    assert limit is not None
    assert protection.enter(limit, head()) is None
    limit.limit = 40.0
    protection.apply([], AdaptivePolicy(initial=10, ceiling=30))
    assert protection.adaptive is limit
    assert (limit.limit, limit.in_flight) == (30.0, 1)
    protection.apply([], AdaptivePolicy(enabled=False))
    assert protection.adaptive is None
    limit.leave(0.01, sample=True)
    assert limit.in_flight == 0


def test_the_lowest_lane_is_turned_away_first(protection: Protection) -> None:
    """Ten places: seven for sheddable, nine for default, all for critical; a retry is in a lower lane."""
    protection.apply([], AdaptivePolicy(initial=10))
    limit = protection.adaptive
    assert limit is not None
    admitted = []
    for lane, attempt in (("sheddable", 1), ("default", 2), ("default", 1), ("critical", 1)):
        while (
            protection.enter(limit, head(x_mesh_criticality=lane, x_envoy_attempt_count=str(attempt))) is None
        ):
            pass
        admitted.append(limit.in_flight)
    assert admitted == [7, 7, 9, 10]
    refused = protection.enter(limit, head())
    assert refused is not None
    assert (refused.flag.name, refused.status) == ("OM", 503)
    assert refused.detail == "10 requests are at the app, of 10 that it can take in time; the lane is default"
    assert fields(refused) == {b"x-envoy-overloaded": b"true", b"retry-after": b"1"}


def test_a_late_loop_sheds_the_lowest_lane_first(protection: Protection, clock: FakeClock) -> None:
    """On by default; when the loop is on time nobody asks."""
    assert not protection.active
    for _ in range(40):
        protection.observe(0.09)
    assert protection.active
    refused = [protection.check(head(x_mesh_criticality="sheddable")) for _ in range(400)]
    assert 50 < sum(each is not None for each in refused) < 170
    assert not any(protection.check(head()) for _ in range(400))
    word = next(each for each in refused if each is not None)
    assert (word.flag.name, word.detail) == ("OM", "the event loop is 90 ms late; the lane is sheddable")
    assert fields(word)[b"x-envoy-overloaded"] == b"true"
    for _ in range(40):
        protection.observe(1.0)
    assert all(protection.check(head()) for _ in range(50))
    assert not all(protection.check(head(x_mesh_criticality="critical")) for _ in range(50))
    for _ in range(40):
        protection.observe(0.0)
    assert not protection.active


def test_what_was_shed_takes_no_token(protection: Protection) -> None:
    """Shedding is asked first."""
    protection.apply([rule(total=Rate(1.0, 1.0))], None)
    for _ in range(40):
        protection.observe(3.0)
    assert protection.check(head()) is not None
    for _ in range(60):
        protection.observe(0.0)
    assert protection.check(head()) is None


@pytest.mark.parametrize(
    ("given", "lane"),
    [
        ({}, Lane.DEFAULT),
        ({"x_mesh_criticality": "Critical"}, Lane.CRITICAL),
        ({"x_mesh_criticality": "vip"}, Lane.DEFAULT),
        ({"x_mesh_criticality": "critical", "x_envoy_attempt_count": "3"}, Lane.DEFAULT),
        ({"x_envoy_attempt_count": "2"}, Lane.SHEDDABLE),
        ({"x_envoy_attempt_count": "-2"}, Lane.DEFAULT),
        ({"x_envoy_attempt_count": "9" * 5000}, Lane.DEFAULT),
    ],
)
def test_the_lane_of_a_request(given: dict[str, str], lane: Lane) -> None:
    """What is no number or no lane counts as none."""
    assert lane_of_head(head(**given)) is lane


@pytest.mark.parametrize(("given", "name"), [("web-1~web~v1", "web"), ("web", ""), ("a~b~c~d", ""), ("", "")])
def test_the_caller_of_a_request(given: str, name: str) -> None:
    """Its sidecar's word, or nobody."""
    assert caller_of(head(x_envoy_peer_metadata_id=given)) == name


def test_lag_is_measured_tick_by_tick_and_one_stop_is_no_overload(clock: FakeClock) -> None:
    """A process that was stopped for a minute comes back with one late tick: it says nothing."""
    loop = FakeLoop(clock)
    seen: list[float] = []
    LoopLag(Deadlines(loop.call_at, clock), seen.append, clock, clock).start()
    loop.advance(5 * TICK_S + 0.01)
    assert seen == [0.0] * 5
    clock.now += 60.0
    loop.advance(3 * TICK_S)
    assert max(seen) == 0.0
    for _ in range(3):
        clock.now += TICK_S + 0.3
        loop.advance(0.0)
    assert seen[-1] == pytest.approx(0.3, abs=0.15)


def test_a_loop_that_others_keep_waiting_is_not_late(clock: FakeClock) -> None:
    """Somebody else has the cores: this process used next to nothing, and must not turn anybody away."""
    loop = FakeLoop(clock)
    used = FakeClock()
    seen: list[float] = []
    LoopLag(Deadlines(loop.call_at, clock), seen.append, used, clock).start()
    for share, late in ((0.1, 0.0), (0.9, 0.3)):
        for _ in range(3):
            used.now += share * (TICK_S + 0.3)
            clock.now += TICK_S + 0.3
            loop.advance(0.0)
        assert seen[-1] == pytest.approx(late, abs=0.15)


def test_the_load_report_says_health_lag_and_use(clock: FakeClock) -> None:
    """Rendered ten times a second at most, but a change of health is told at once."""
    state = {"health": "passing", "lag": 0.02, "used": 0.5}
    report = LoadReport(
        lambda: str(state["health"]), lambda: float(state["lag"]), lambda: float(state["used"]), clock
    )
    first = report.value()
    assert parse_report(first) == (1.0, 20.0, 0.5)
    state["used"] = 0.9
    assert report.value() is first
    clock.advance(0.11)
    assert parse_report(report.value()) == (1.0, 20.0, 0.9)
    state["health"] = "critical"
    assert parse_report(report.value()) == (0.0, 20.0, 0.9)
