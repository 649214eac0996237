"""Random requests under random documents: hedge, retry, split, mirror and fallback, all at once.

Both sides keep to HTTP here, so whatever a client finds wrong with an answer is the mesh's own fault:
each answer must be one whole answer of one backend, or one of the mesh's own.
"""

from __future__ import annotations

import asyncio
import random

import pytest

from sidecar.balance.endpoints import EndpointSpec
from sidecar.exchange import Exchange
from sidecar.io.timeouts import Timeouts
from sidecar.outbound import Outbound
from sidecar.policy.concurrency import BulkheadPolicy
from sidecar.policy.settings import UpstreamPolicy
from sidecar.wire.serialize import LAST_CHUNK, chunk
from tests.fakes.upstream import Peer, ScriptedUpstream

from .harness import Answer, Rig, Truncated, until
from .test_routes import rule, service

CLIENTS = 12
ROUNDS = 100  # requests of one client
REFRESH_S = 0.6  # what is usual is measured twice a second; a hedge needs to know

ARM = "{{destination: {{host: svc, subset: {}}}, weight: {}}}"
SPLIT = f"route: [{ARM.format('v1', 60)}, {ARM.format('v2', 40)}]"
PLAIN = "route: [{destination: {host: svc}}]"
RETRIES = "retries: {attempts: 2, retryOn: '5xx,reset,connect-failure', perTryTimeout: 60ms}"
MIRROR = "mirror: {host: shadow}"
RULES = ", ".join(
    f"{{match: [{{uri: {{prefix: {path}}}}}], {fields}}}"
    for path, fields in (
        ("/mirror/split", f"{SPLIT}, {MIRROR}, {RETRIES}"),
        ("/mirror", f"{PLAIN}, {MIRROR}, {RETRIES}"),
        ("/split", f"{SPLIT}, {RETRIES}"),
        ("/short", f"{PLAIN}, timeout: 30ms"),
        ("/", PLAIN),
    )
)
HEDGE = "mesh/hedge: '{quantile: 50, minDelay: 1ms}'"
CALM = "mesh/breaker: '{enabled: false}'"
TOUCHY = "mesh/breaker: '{openTime: 20ms, maxOpenTime: 100ms, permits: 2, probeDeadline: 50ms}'"
BUDGET = "trafficPolicy: {retryBudget: {percent: 100, minRetryConcurrency: 1000}}"  # or there were few hedges
FALLBACKS = ("{host: spare}", "{static: {status: 203, body: sorry}}", "{lastGood: 1m}")
DOCUMENTS = [
    service(RULES) + rule(BUDGET, f"{notes}, mesh/fallback: {fallback!r}")
    for notes in (f"{HEDGE}, {CALM}", f"{HEDGE}, {CALM}", f"{HEDGE}, {TOUCHY}", TOUCHY)
    for fallback in FALLBACKS
]


class Backend:
    """Answers as it likes, but each body says which answer it is of, and how long it should be."""

    def __init__(self, name: str, rng: random.Random) -> None:
        self._name = name
        self._rng = rng
        self._answers = 0

    async def __call__(self, peer: Peer) -> None:
        rng = self._rng
        while True:
            await peer.request()
            await asyncio.sleep(rng.choice((0, 0, 0, 0.003, 0.02, 0.1)))
            self._answers += 1
            status = rng.choices((b"200 OK", b"503 Busy", b"500 Bad", b"429 Many"), (60, 20, 15, 5))[0]
            body = written(f"{self._name}-{self._answers}", rng.choice((0, 10, 400, 40_000)))
            if rng.random() < 0.4:
                framing, pieces = b"Transfer-Encoding: chunked", [chunk(body)] if body else []
                pieces.append(LAST_CHUNK)
            else:
                framing, pieces = b"Content-Length: %d" % len(body), [body[:200], body[200:]]
            peer.send(b"HTTP/1.1 %b\r\n%b\r\n\r\n" % (status, framing))
            for piece in pieces:
                if rng.random() < 0.2:
                    await asyncio.sleep(rng.choice((0, 0.01)))
                peer.send(piece)
                if rng.random() < 0.03:
                    peer.reset()
                    return
            await peer.drain()
            if rng.random() < 0.1:
                return


def written(name: str, more: int) -> bytes:
    return f"{name}:{more}:".encode() + (name.encode() * (more // len(name) + 1))[:more]


def is_whole(body: bytes) -> bool:
    """Whether it is one whole body that a backend wrote."""
    name, size, _ = body.split(b":", 2)
    return body == written(name.decode(), int(size))


def request(rng: random.Random) -> tuple[bytes, bytes]:
    """(method, the whole request)."""
    path = rng.choice((b"/mirror/split", b"/mirror", b"/split", b"/short", b"/"))
    method = rng.choice((b"GET", b"GET", b"GET", b"PUT", b"POST"))
    head = b"%b %b HTTP/1.1\r\nHost: svc\r\n" % (method, path)
    if method == b"GET":
        return method, head + b"\r\n"
    body = bytes(rng.choice((1, 1000, 90_000)))
    if rng.random() < 0.5:
        return method, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(body) + LAST_CHUNK
    return method, head + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Records:
    """Every exchange that ended, judged by what must hold for each."""

    def __init__(self, outbound: Outbound, monkeypatch: pytest.MonkeyPatch) -> None:
        self.retried = self.hedged = self.copies_due = self.fell_back = 0
        self.wrong: list[str] = []
        ended = outbound.ended

        def judge(exchange: Exchange) -> None:
            self._judge(exchange)
            ended(exchange)

        monkeypatch.setattr(outbound, "ended", judge)

    def _judge(self, exchange: Exchange) -> None:
        attempts = exchange.attempts
        numbers = sorted(attempt.number for attempt in attempts)
        if numbers != list(range(1, len(attempts) + 1)):
            self.wrong.append(f"attempts are numbered {numbers}")
        if not all(attempt.ended for attempt in attempts):
            self.wrong.append(f"an attempt of {len(attempts)} has no end")
        hedges = sum(attempt.reason == "hedge" for attempt in attempts)
        self.hedged += hedges
        self.retried += len(attempts) > 1 + hedges
        self.fell_back += exchange.answer.committed and bool(attempts) and exchange.target_name == "spare"
        if attempts and exchange.head.target.startswith(b"/mirror") and exchange._complete:
            self.copies_due += 1


@pytest.mark.parametrize("seed", [1, 2])
async def test_random_documents(
    seed: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One answer for each request and nothing of another's in it; one copy of each that is to be mirrored."""
    rng = random.Random(seed)
    truncated = 0

    async def ask(rig: Rig) -> None:
        nonlocal truncated
        client = await rig.connect()
        for _ in range(ROUNDS):
            method, raw = request(rng)
            try:
                await client.send(raw)
                answer = await client.answer(method)
            except (Truncated, ConnectionError):  # a backend was cut in the middle of a long body
                truncated += 1
                client = await rig.connect()
                continue
            check(answer)
            if answer["connection"] == "close":
                client = await rig.connect()

    def check(answer: Answer) -> None:
        if answer["x-mesh-fallback"] == "static":
            assert answer.body == b"sorry"
        elif not answer["x-mesh-reason"]:
            assert is_whole(answer.body), answer

    backends = [ScriptedUpstream(Backend(name, rng)) for name in ("a", "b", "c", "d", "spare", "shadow")]
    policy = UpstreamPolicy(bulkhead=BulkheadPolicy(max_active=10, max_pending=4, max_wait_s=0.02))
    async with backends[0], backends[1], backends[2], backends[3], backends[4], backends[5]:
        endpoints = [
            EndpointSpec(f"svc-{number}", *backend.address, version="v1" if number < 3 else "v2")
            for number, backend in enumerate(backends[:4], 1)
        ]
        upstreams = {"svc": endpoints, "spare": [backends[4].address], "shadow": [backends[5].address]}
        timeouts = Timeouts(stream_idle=0.3)
        async with Rig(
            upstreams, policy=policy, policies=DOCUMENTS[0], timeouts=timeouts, upstream_timeout=0.5
        ) as rig:
            records = Records(rig.outbound, monkeypatch)
            clients = asyncio.gather(*(ask(rig) for _ in range(CLIENTS)))
            while not clients.done():
                await asyncio.wait([clients], timeout=REFRESH_S)
                rig.apply(rng.choice(DOCUMENTS))
            await clients
            await rig.settled()
            mirrored = rig.outbound.mirrored
            await until(lambda: sum(mirrored.values()) >= records.copies_due, 1.0, lambda: mirrored)
    assert records.wrong == []
    assert sum(mirrored.values()) == records.copies_due
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    assert truncated < CLIENTS * ROUNDS / 10
    # What it is all about did happen.
    assert records.hedged > 50
    assert records.retried > 20
    assert records.copies_due > 50
