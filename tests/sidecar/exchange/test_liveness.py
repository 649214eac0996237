"""Slow or dead: what a caller makes of an endpoint that answers nobody, on real sockets."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from sidecar.balance.endpoints import EndpointSpec
from sidecar.io.timeouts import DEFAULT_TIMEOUTS
from sidecar.liveness import ANSWER_S, PATH
from sidecar.routing.compile import compile_documents
from sidecar.routing.compiled import Identity
from sidecar.routing.documents import parse_text
from tests.fakes.upstream import OK, Peer, ScriptedUpstream
from tests.sidecar.exchange.harness import Rig, until
from tests.sidecar.exchange.test_routes import service

GET = b"GET / HTTP/1.1\r\nHost: svc\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: svc\r\n\r\n"
SLOW_S = 2 * ANSWER_S + 0.5  # later than any give-up
WARM = 60  # requests until the caller knows what is usual


class App:
    """Answers at once, but for `/slow` where it takes `SLOW_S`; counts those."""

    def __init__(self) -> None:
        self.slow = 0
        self.hangs = False

    async def __call__(self, peer: Peer) -> None:
        while True:
            head = await peer.head()
            if b"/slow" in head:
                self.slow += 1
                await asyncio.sleep(SLOW_S)
            if self.hangs:
                await peer.gone()
                return
            peer.send(OK)


@dataclass
class Pair:
    """A caller and the sidecars of two replicas, with what counts their slow requests."""

    caller: Rig
    callees: list[Rig]
    apps: list[App]

    @property
    def runs(self) -> int:
        return sum(app.slow for app in self.apps)

    def busy(self) -> int:
        """Which replica has the slow request."""
        return next(number for number, app in enumerate(self.apps) if app.slow)


def spec(number: int, port: int, *, sidecar: bool = True) -> EndpointSpec:
    return EndpointSpec(
        f"svc-{number}", "127.0.0.1", port, meta={"app_address": "127.0.0.1:1"} if sidecar else {}
    )


@asynccontextmanager
async def pair() -> AsyncIterator[Pair]:
    apps = [App(), App()]
    async with (
        ScriptedUpstream(apps[0]) as one,
        ScriptedUpstream(apps[1]) as two,
        Rig(app=one.address, upstream_timeout=60) as first,
        Rig(app=two.address, upstream_timeout=60) as second,
        Rig(
            {"svc": [spec(1, first.ports["inbound"]), spec(2, second.ports["inbound"])]}, upstream_timeout=60
        ) as caller,
    ):
        for _ in range(WARM):
            assert (await caller.ask(GET)).status == 200
        yield Pair(caller, [first, second], apps)
        await caller.settled()


async def test_a_slow_answer_is_no_dead_endpoint() -> None:
    """Its sidecar says that the app is at work: the GET is run once."""
    async with pair() as mesh:
        assert (await mesh.caller.ask(SLOW)).status == 200
        assert mesh.runs == 1


async def test_an_app_that_is_stopped_is_left() -> None:
    """Its sidecar says so, and the request is run by the other one, long before the slow answer."""
    async with pair() as mesh:
        for callee in mesh.callees:
            callee.app_stopped = True
        asked = asyncio.create_task(mesh.caller.ask(SLOW))  # noqa: TID251 - awaited below
        await until(lambda: mesh.runs > 0)
        mesh.callees[1 - mesh.busy()].app_stopped = False
        assert (await asked).status == 200
        assert mesh.runs == 2


HANG = """
apiVersion: mesh/v1
kind: Fault
metadata: {name: stuck}
spec: {host: test, action: hang, percentage: 100}
"""


async def test_an_app_that_a_fault_makes_hang_is_left_as_one_that_does() -> None:
    """The request is rescued at the other replica; and what the fault holds is given back."""
    async with pair() as mesh:
        callee = mesh.callees[0].inbound
        assert callee is not None
        callee.apply(compile_documents(parse_text(HANG), Identity("test")).inbound)
        answers = await asyncio.gather(*(mesh.caller.ask(GET) for _ in range(6)))
        assert {answer.status for answer in answers} == {200}
        assert callee.faults.injector.injected["stuck"] >= 1
        await until(lambda: callee.faults.hanging == 0)


async def test_a_sidecar_that_says_nothing_is_left() -> None:
    """The whole endpoint hangs, with the kernel still accepting: as SIGSTOP of sidecar and app."""
    app = App()
    async with (
        ScriptedUpstream(app) as frozen,
        ScriptedUpstream(App()) as well,
        Rig(app=well.address) as callee,
        Rig({"svc": [spec(1, frozen.port), spec(2, callee.ports["inbound"])]}, upstream_timeout=60) as caller,
    ):
        for _ in range(WARM):
            assert (await caller.ask(GET)).status == 200
        app.hangs = True
        answers = await asyncio.gather(*(caller.ask(GET) for _ in range(10)))
        assert {answer.status for answer in answers} == {200}
        assert any(PATH in head for head in frozen.heads)
        await caller.settled()


async def test_who_has_no_sidecar_is_not_asked_and_not_left() -> None:
    """Nothing is known of it, so a slow answer is waited for; its app sees no request of ours."""
    apps = [App(), App()]
    async with (
        ScriptedUpstream(apps[0]) as one,
        ScriptedUpstream(apps[1]) as two,
        Rig({"svc": [spec(1, one.port, sidecar=False), spec(2, two.port, sidecar=False)]}) as caller,
    ):
        for _ in range(WARM):
            assert (await caller.ask(GET)).status == 200
        assert (await caller.ask(SLOW)).status == 200
        assert sum(app.slow for app in apps) == 1
        assert not any(PATH in head for head in one.heads + two.heads)


async def test_who_answers_the_question_in_another_way_is_asked_once() -> None:
    """Registered as ours is, but no sidecar of ours: a 404 says nothing about the app."""

    async def plain(peer: Peer) -> None:
        while True:
            head = await peer.head()
            if PATH in head:
                peer.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nlost")
                continue
            if b"/slow" in head:
                await asyncio.sleep(2.5)
            peer.send(OK)

    async with (
        ScriptedUpstream(plain) as one,
        ScriptedUpstream(plain) as two,
        Rig({"svc": [spec(1, one.port), spec(2, two.port)]}, upstream_timeout=60) as caller,
    ):
        for _ in range(WARM):
            assert (await caller.ask(GET)).status == 200
        assert (await caller.ask(SLOW)).status == 200
        heads = one.heads + two.heads
        assert len([head for head in heads if b"/slow" in head]) == 1
        assert len([head for head in heads if PATH in head]) == 1
        await caller.settled()


@pytest.mark.parametrize(
    ("stopped", "word"), [(False, b"working"), (True, b"stopped")], ids=["working", "stopped"]
)
async def test_a_sidecar_speaks_for_its_app(stopped: bool, word: bytes) -> None:
    """On its inbound listener, without asking the app, without counting a request, on a kept connection."""
    async with ScriptedUpstream(App()) as app, Rig(app=app.address) as callee:
        callee.app_stopped = stopped
        client = await callee.connect("inbound")
        for method in (b"GET", b"HEAD", b"GET"):
            await client.send(b"%b %b HTTP/1.1\r\nHost: x\r\n\r\n" % (method, PATH))
            answer = await client.answer(method)
            assert (answer.status, answer["x-mesh-liveness"]) == (200, word.decode())
        assert not app.heads
        assert callee.inbound is not None
        assert not callee.inbound.window.snapshot()["rps"]
        await client.send(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n" % PATH)
        assert (await client.answer(b"POST"))["connection"] == "close"


async def test_what_truly_hangs_ends_by_the_idle_time_of_a_stream() -> None:
    """Not by a total or a try's time: nobody named one. 504, as Envoy's; and it is asked for once."""
    app = App()
    app.hangs = True
    timeouts = replace(DEFAULT_TIMEOUTS, stream_idle=0.3)
    async with (
        ScriptedUpstream(app) as up,
        Rig({"svc": [up.address]}, timeouts=timeouts, upstream_timeout=math.inf) as caller,
    ):
        answer = await caller.ask(GET)
        assert (answer.status, answer["x-mesh-reason"]) == (504, "SI: no answer for 0.3 s")
        assert len(up.heads) == 1
        await caller.settled()


async def test_no_deadline_of_our_own_is_told_to_the_callee() -> None:
    """Or its sidecar would cut a stream there; a document's is told, and covers the whole answer."""
    async with ScriptedUpstream(App()) as up, Rig({"svc": [up.address]}, upstream_timeout=15) as caller:
        await caller.ask(GET)
        assert b"x-envoy-expected-rq-timeout-ms" not in up.heads[0]
        caller.apply(service("{route: [{destination: {host: svc}}], timeout: 9s}"))
        await caller.ask(GET)
        assert b"x-envoy-expected-rq-timeout-ms: 8" in up.heads[1] or b": 9000" in up.heads[1]
