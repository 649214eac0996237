"""Faults and limits on real sockets: what the client, the caller's sidecar and the app see of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sidecar.policy.adaptive import AdaptivePolicy
from sidecar.policy.fault import Action, Delay, FaultRule
from sidecar.policy.machine import State
from sidecar.policy.rate_limit import Rate, RateLimitPolicy
from sidecar.routing.compiled import Inbound as Rules
from sidecar.routing.compiled import RateLimitRule
from tests.fakes.upstream import OK, Gone, Peer, Script, ScriptedUpstream, replies
from tests.sidecar.exchange.harness import Rig, Truncated, clock, until

GET = b"GET /a HTTP/1.1\r\nHost: svc\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: svc\r\nContent-Length: 2\r\n\r\nhi"
BODY = bytes(range(256)) * 16
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n" + BODY


def fault(action: Action, percent: float = 100.0, **fields: object) -> FaultRule:
    return FaultRule("f", action=action, action_percent=percent, **fields)  # type: ignore[arg-type]


@asynccontextmanager
async def callee(
    *rules: FaultRule, script: Script | None = None
) -> AsyncIterator[tuple[Rig, ScriptedUpstream]]:
    """An app behind its sidecar, with these faults."""
    async with ScriptedUpstream(script or replies(LARGE)) as app, Rig(app=app.address) as rig:
        assert rig.inbound is not None
        rig.inbound.apply(Rules(faults=rules))
        yield rig, app


def counted(rig: Rig) -> list[tuple[str, str]]:
    """Status and flags of what came in, as the metrics have them."""
    assert rig.inbound is not None
    requests = next(family for family in rig.inbound.metrics.collect() if family.name == "istio_requests")
    inbound = [each.labels for each in requests.samples if each.labels["reporter"] == "destination"]
    return [(labels["response_code"], labels["response_flags"]) for labels in inbound]


def inbound(rig: Rig) -> tuple[str, int]:
    return "127.0.0.1", rig.ports["inbound"]


async def test_a_delay_and_an_abort() -> None:
    """The answer comes late, and says why; an abort has its status and never reaches the app."""
    slow = FaultRule("slow", delay=Delay(0.15), delay_percent=100.0)
    async with callee(slow) as (rig, app):
        began = clock()
        answer = await rig.ask(GET, "inbound")
        assert clock() - began >= 0.149
        assert (answer.status, answer.body, answer["x-mesh-reason"]) == (200, BODY, "DI: fault slow")
        assert rig.inbound is not None
        rig.inbound.apply(Rules(faults=(fault(Action.ABORT, status=418),)))
        answer = await rig.ask(GET, "inbound")
        assert (answer.status, answer["x-mesh-reason"]) == (418, "FI: fault f: aborted")
        assert answer["endpoint-load-metrics"].startswith("TEXT ")
        assert len(app.heads) == 1
        await rig.settled()
        assert counted(rig) == [("200", "DI"), ("418", "FI")]


async def test_a_reset_comes_before_any_byte() -> None:
    """As RST, not as the end of the stream."""
    async with callee(fault(Action.RESET)) as (rig, app):
        client = await rig.connect("inbound")
        await client.send(GET)
        with pytest.raises(ConnectionResetError):
            await client.reader.read(100)
        assert app.heads == []
        await rig.settled()
        assert counted(rig) == [("503", "FI")]


@pytest.mark.parametrize("raw", [LARGE, CHUNKED, UNTIL_CLOSE])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_truncated_body_never_looks_whole(raw: bytes, version: bytes) -> None:
    """So many bytes, and an end that every client takes for an error, whatever the framing."""

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.send(raw)
        await peer.drain()

    async with callee(fault(Action.TRUNCATE, after_bytes=1000), script=script) as (rig, _app):
        client = await rig.connect("inbound")
        await client.send(GET.replace(b"1.1", version))
        with pytest.raises(Truncated, match="200"):
            await client.answer()
        await rig.settled()
        assert counted(rig) == [("200", "FI")]


async def test_a_body_that_is_short_enough_is_not_truncated() -> None:
    """Nothing was injected, so nothing is said."""
    async with callee(fault(Action.TRUNCATE, after_bytes=len(BODY))) as (rig, _app):
        answer = await rig.ask(GET, "inbound")
        assert (answer.body, answer["x-mesh-reason"]) == (BODY, "")
        await rig.settled()
        assert counted(rig) == [("200", "-")]


@pytest.mark.parametrize("raw", [LARGE, CHUNKED])
async def test_a_slow_body_takes_its_time_and_is_whole(raw: bytes) -> None:
    """4 KiB at 16 KiB/s; the app is through at once, and the connection serves the next request."""
    async with callee(fault(Action.SLOW_BODY, bytes_per_s=16384.0), script=replies(raw, OK)) as (rig, app):
        client = await rig.connect("inbound")
        began = clock()
        await client.send(GET)
        await until(lambda: bool(app.heads) and rig.pools()[0].idle == 1)
        assert clock() - began < 0.2
        answer = await client.answer()
        assert clock() - began >= 0.24
        assert (answer.body, answer["x-mesh-reason"]) == (BODY, "FI: fault f")
        await client.send(GET)
        assert (await client.answer()).body == b"ok"
        await rig.settled()
        assert counted(rig) == [("200", "FI")]


async def test_a_slow_body_holds_the_app_back() -> None:
    """An app that sends without end is paused: what waits here is bounded."""
    sent = 0

    async def endless(peer: Peer) -> None:
        nonlocal sent
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            peer.send(bytes(65536))
            await peer.drain()
            sent += 65536

    async with callee(fault(Action.SLOW_BODY, bytes_per_s=1000.0), script=endless) as (rig, _app):
        client = await rig.connect("inbound")
        await client.send(GET)
        await client.reader.read(100)
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 32 * 1024 * 1024  # what the kernel takes, and not more
        client.abort()
        await rig.settled()


async def test_a_hang_lasts_until_the_client_leaves() -> None:
    """The app is never asked, and nothing stays taken."""
    async with callee(fault(Action.HANG)) as (rig, app):
        client = await rig.connect("inbound")
        await client.send(GET)
        await until(lambda: rig.taken().get("faults") == 1)
        client.close()
        await rig.settled()
        assert app.heads == []
        assert counted(rig) == [("499", "FI,DC")]


async def test_a_hang_ends_with_the_callers_deadline() -> None:
    """What a caller's sidecar says is left counts here too."""
    async with callee(fault(Action.HANG)) as (rig, _app):
        began = clock()
        raw = GET[:-2] + b"x-envoy-expected-rq-timeout-ms: 150\r\n\r\n"
        answer = await rig.ask(raw, "inbound")
        assert answer.status == 504
        assert answer["x-mesh-reason"].startswith("FI,UT: fault f: ")
        assert 0.14 <= clock() - began < 4.0


# -- with a caller's sidecar in front ------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule",
    [fault(Action.ABORT, status=503), fault(Action.RESET), fault(Action.TRUNCATE, after_bytes=10)],
    ids=["abort", "reset", "truncate"],
)
async def test_an_injected_failure_is_the_apps_own_to_the_caller(rule: FaultRule) -> None:
    """GETs are rescued by the other replica, and the caller's breaker opens on the one that fails."""
    async with (
        callee(rule) as (bad, _app),
        callee() as (good, _other),
        Rig({"svc": [inbound(bad), inbound(good)]}) as rig,
    ):
        sick, well = rig.upstream().endpoints.all
        for _ in range(500):
            assert (await rig.ask(GET)).body == BODY
            if sick.breaker.state is State.OPEN:
                break
        assert (sick.breaker.state, well.breaker.state) == (State.OPEN, State.CLOSED)
        for each in (bad, good, rig):
            await each.settled()


@pytest.mark.parametrize(
    ("rule", "sent"),
    [(fault(Action.TRUNCATE, after_bytes=10), 1), (fault(Action.RESET), 0), (fault(Action.ABORT), 0)],
    ids=["truncate", "reset", "abort"],
)
async def test_a_post_is_not_sent_again(rule: FaultRule, sent: int) -> None:
    """The app may have done its work: the caller gets the error, though another replica is well."""
    async with (
        callee(rule) as (bad, app),
        callee(rule) as (worse, other),
        Rig({"svc": [inbound(bad), inbound(worse)]}) as rig,
    ):
        answer = await rig.ask(POST)
        assert answer.status == 503
        assert len(app.heads) + len(other.heads) == sent
        for each in (bad, worse, rig):
            await each.settled()
        assert len(counted(bad)) + len(counted(worse)) == 1, "one attempt"


async def test_an_aborted_post_is_answered_once() -> None:
    """503 with FI is a failure of the app, not a refused connection, so nothing proves it unprocessed."""
    async with callee(fault(Action.ABORT, status=503)) as (bad, app), Rig({"svc": [inbound(bad)]}) as rig:
        answer = await rig.ask(POST)
        assert (answer.status, answer["x-mesh-reason"]) == (503, "FI: fault f: aborted")
        endpoint = rig.upstream().endpoints.all[0]
        assert endpoint.report is not None
        assert app.heads == []


async def test_fail_first_fails_the_first_tries_of_each_request() -> None:
    """By its id: the second try of the same request comes through."""
    async with callee(fault(Action.FAIL_FIRST, count=1)) as (rig, app):
        raw = GET[:-2] + b"x-request-id: r%d\r\n\r\n"
        tries = [(await rig.ask(raw % number, "inbound")).status for number in (1, 2, 1, 2, 1)]
        assert tries == [503, 503, 200, 200, 200]
        assert len(app.heads) == 3


async def test_a_rate_limit_knows_its_callers() -> None:
    """By the caller's sidecar's word; the 429 reaches the app that asked, with the headers."""
    async with callee() as (rig, app), Rig({"svc": [inbound(rig)]}) as caller:
        assert rig.inbound is not None
        policy = RateLimitPolicy(per_caller=Rate(0.01, 2.0), overrides={"test": Rate(0.01, 1.0)})
        rig.inbound.apply(Rules(rate_limits=(RateLimitRule("all", (), policy),)))
        assert (await caller.ask(GET)).status == 200
        answer = await caller.ask(GET)
        assert answer.status == 429
        assert answer["x-mesh-reason"] == "RL: all allows 0.01 requests/s of test, 1 at once"
        assert (answer["retry-after"], answer["x-ratelimit-limit"]) == ("100", "1")
        assert [(await rig.ask(GET, "inbound")).status for _ in range(3)] == [200, 200, 429]
        assert len(app.heads) == 3
        await rig.settled()
        assert ("429", "RL") in counted(rig)


async def test_the_adaptive_limit_turns_away_what_is_too_much() -> None:
    """503 with the overload mark, which the caller does not retry; places come free again."""
    release = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.head()
            await release.wait()
            peer.send(OK)
            await peer.drain()

    async with callee(script=script) as (rig, app), Rig({"svc": [inbound(rig)]}) as caller:
        assert rig.inbound is not None
        rig.inbound.apply(Rules(concurrency=AdaptivePolicy(initial=5, floor=5)))
        critical = GET[:-2] + b"x-mesh-criticality: critical\r\n\r\n"
        waiting = [await caller.connect() for _ in range(5)]
        for client in waiting:
            await client.send(critical)
        await until(lambda: rig.taken().get("adaptive places") == 5)
        answer = await caller.ask(critical)
        assert (answer.status, answer["x-envoy-overloaded"], answer["retry-after"]) == (503, "true", "1")
        assert answer["x-mesh-reason"].startswith("OM: 5 requests are at the app")
        release.set()
        assert [(await client.answer()).status for client in waiting] == [200] * 5
        assert len(app.heads) == 5
        assert all(b"x-mesh-criticality: critical\r\n" in head for head in app.heads), "handed on to the app"
        await rig.settled()
        await caller.settled()
        assert ("503", "OM") in counted(rig)


async def test_only_good_answers_teach_the_adaptive_limit() -> None:
    """Three windows of errors, fast or slow, leave it where it is; the same of good ones let it learn."""
    failure = b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno"
    answers = [failure] * 30 + [OK]
    async with callee(script=replies(*answers)) as (rig, app):
        assert rig.inbound is not None
        policy = AdaptivePolicy(initial=50, window_s=0.05, min_samples=1)
        rig.inbound.apply(Rules(concurrency=policy))
        limit = rig.inbound.protection.adaptive
        assert limit is not None
        limit._peak = 50  # as if all of it had been in use
        client = await rig.connect("inbound")
        while limit.limit == 50 and len(app.heads) < 300:
            limit._peak = 50
            await client.send(GET)
            status = (await client.answer()).status
            await asyncio.sleep(0.004)
        assert status == 200
        assert limit.limit > 50
        await rig.settled()


async def test_a_late_loop_turns_away_at_the_door() -> None:
    """The app hears nothing of it; when the loop is on time again all is as before."""
    async with callee() as (rig, app):
        assert rig.inbound is not None
        for _ in range(30):
            rig.inbound.protection.observe(3.0)
        answer = await rig.ask(GET, "inbound")
        assert (answer.status, answer["x-envoy-overloaded"]) == (503, "true")
        assert answer["x-mesh-reason"].startswith("OM: the event loop is 3000 ms late")
        assert app.heads == []
        for _ in range(60):
            rig.inbound.protection.observe(0.0)
        assert (await rig.ask(GET, "inbound")).status == 200
        await rig.settled()


async def test_criticality_is_not_believed_from_outside() -> None:
    """The ingress drops it; a sidecar inside hands it on."""
    raw = GET[:-2] + b"x-mesh-criticality: critical\r\n\r\n"
    async with ScriptedUpstream(replies(OK)) as up:
        async with Rig({"svc": [up.address]}, default_service="svc") as ingress:
            await ingress.ask(raw)
        async with Rig({"svc": [up.address]}) as inside:
            await inside.ask(raw)
        assert [b"x-mesh-criticality" in head for head in up.heads] == [False, True]


# -- cancellation --------------------------------------------------------------------------------------

ALL = (
    FaultRule("delay", delay=Delay(0.03), delay_percent=100.0),
    FaultRule(
        "delayed abort", delay=Delay(0.02), delay_percent=100.0, action=Action.ABORT, action_percent=50.0
    ),
    FaultRule(
        "delayed hang", delay=Delay(0.02), delay_percent=50.0, action=Action.HANG, action_percent=100.0
    ),
    FaultRule("cut", action=Action.TRUNCATE, action_percent=100.0, after_bytes=700),
    FaultRule("drip", action=Action.SLOW_BODY, action_percent=100.0, bytes_per_s=50_000.0),
    FaultRule(
        "late drip", delay=Delay(0.01), delay_percent=100.0, action=Action.SLOW_BODY, action_percent=99.0
    ),
    FaultRule("reset", action=Action.RESET, action_percent=100.0),
)


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.name)
async def test_a_client_that_leaves_at_any_time_leaves_nothing_taken(
    rule: FaultRule, caplog: pytest.LogCaptureFixture
) -> None:
    """Uploads and plain requests, ended at random by client and app, under each fault and a limit."""
    rng = random.Random(rule.name)

    async def script(peer: Peer) -> None:
        try:
            while True:
                await peer.request()
                await asyncio.sleep(rng.choice((0, 0, 0.005)))
                raw = rng.choice(
                    (LARGE, CHUNKED, OK, b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno", LARGE[:900])
                )
                peer.send(raw)
                await peer.drain()
                if raw is not OK and rng.random() < 0.3:
                    peer.reset()
                    return
        except ConnectionError as error:
            raise Gone from error

    async def client(rig: Rig) -> None:
        connection = await rig.connect("inbound")
        try:
            for piece in (GET,) if rng.random() < 0.5 else (POST[:-1], POST[-1:]):
                await connection.send(piece)
                await asyncio.sleep(rng.choice((0, 0, 0.01)))
            async with asyncio.timeout(rng.choice((0.001, 0.015, 0.025, 0.06, 0.15))):
                await connection.reader.read(65536)
        except (TimeoutError, ConnectionError):
            pass
        connection.abort() if rng.random() < 0.5 else connection.close()

    async with (
        ScriptedUpstream(script) as app,
        Rig(app=app.address, upstream_timeout=0.2, listener={"idle_timeout": 0.2}) as rig,
    ):
        assert rig.inbound is not None
        rig.inbound.apply(Rules(faults=(rule,), concurrency=AdaptivePolicy(initial=20)))
        for _ in range(4):
            await asyncio.gather(*(client(rig) for _ in range(15)))
        await rig.settled()
        counts = rig.inbound.faults.counts
        assert sum(counts.values()) > 20
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
