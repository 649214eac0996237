"""A VirtualService's fault at the caller, on real sockets: what the client sees, and nobody else does."""

from __future__ import annotations

from collections import Counter

import pytest

from sidecar.policy.machine import State
from tests.fakes.upstream import OK, ScriptedUpstream
from tests.sidecar.exchange.harness import Rig, clock
from tests.sidecar.exchange.test_routes import replies, service, slow

GET = b"GET / HTTP/1.1\r\nHost: svc\r\n\r\n"
TESTER = b"GET / HTTP/1.1\r\nHost: svc\r\nX-Tester: 1\r\n\r\n"
ROUTE = "route: [{destination: {host: svc}}]"


def fault(words: str, more: str = "") -> str:
    """For the tester alone; everybody else goes on."""
    match = 'match: [{headers: {x-tester: {exact: "1"}}}]'
    return service(f"{{{match}, fault: {{{words}}}, {ROUTE}{more}}}, {{{ROUTE}}}")


async def test_one_tester_s_aborts_are_the_tester_s_alone() -> None:
    """No retry, nothing for the breaker: the innocent are served by an endpoint that was never asked."""
    policies = fault("abort: {httpStatus: 503, percentage: {value: 100}}")
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}, policies=policies) as rig:
        for _ in range(40):
            answer = await rig.ask(TESTER)
            assert answer.status == 503
            assert answer["x-mesh-reason"] == "FI: fault svc/0: aborted"
            assert (await rig.ask(GET)).status == 200
        assert len(up.heads) == 40
        (endpoint,) = rig.upstream().endpoints.all
        assert (endpoint.breaker.state, endpoint.failures) == (State.CLOSED, 0)
        assert rig.upstream().budget.withdrawn == 0
        await rig.settled()


async def test_the_percentages_are_what_the_client_sees() -> None:
    """Not less by the retries that the route asks for."""
    policies = fault(
        "abort: {httpStatus: 500, percentage: {value: 50}}", ", retries: {attempts: 3, retryOn: 5xx}"
    )
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}, policies=policies) as rig:
        seen = Counter([(await rig.ask(TESTER)).status for _ in range(200)])
        assert set(seen) == {200, 500}
        assert seen[500] == pytest.approx(100, abs=30)


async def test_a_delay_comes_before_the_time_of_the_route() -> None:
    """200 ms of delay and 100 ms of timeout: the app has all of its time, as in Envoy."""
    policies = fault("delay: {fixedDelay: 200ms, percentage: {value: 100}}", ", timeout: 100ms")
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}, policies=policies) as rig:
        began = clock()
        assert (await rig.ask(TESTER)).status == 200
        assert clock() - began >= 0.2
        sent = up.heads[0].lower().partition(b"x-envoy-expected-rq-timeout-ms: ")[2]
        assert 50 < int(sent.split()[0]) <= 100
        assert len(up.heads) == 1
        await rig.settled()


async def test_the_time_of_the_route_runs_behind_the_delay() -> None:
    """All of it, and no more."""
    policies = fault("delay: {fixedDelay: 200ms, percentage: {value: 100}}", ", timeout: 100ms")
    async with ScriptedUpstream(slow(1.0)) as up, Rig({"svc": [up.address]}, policies=policies) as rig:
        began = clock()
        answer = await rig.ask(TESTER)
        assert (answer.status, answer["x-mesh-reason"][:6]) == (504, "DI,UT:")
        assert 0.3 <= clock() - began < 0.9
        await rig.settled()


async def test_an_answer_behind_a_delay_is_tried_again_as_any_other() -> None:
    """The delay is drawn once, not for each try."""
    fail = b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n"
    policies = fault(
        "delay: {fixedDelay: 50ms, percentage: {value: 100}}",
        ", retries: {attempts: 2, retryOn: 5xx, backoff: 10ms}",
    )
    async with (
        ScriptedUpstream(replies(fail, fail, OK)) as up,
        Rig({"svc": [up.address]}, policies=policies) as rig,
    ):
        assert (await rig.ask(TESTER)).status == 200
        assert len(up.heads) == 3
        await rig.settled()


async def test_a_delay_may_end_in_an_abort() -> None:
    always = "percentage: {value: 100}"
    both = f"delay: {{fixedDelay: 50ms, {always}}}, abort: {{httpStatus: 418, {always}}}"
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}, policies=fault(both)) as rig:
        assert (await rig.ask(TESTER)).status == 418
        assert not up.heads
        await rig.settled()


async def test_who_leaves_during_a_delay_is_forgotten() -> None:
    """No request reaches the app, and nothing is held."""
    policies = fault("delay: {fixedDelay: 5s, percentage: {value: 100}}")
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}, policies=policies) as rig:
        client = await rig.connect()
        await client.send(TESTER)
        client.abort()
        await rig.settled()
        assert not up.heads


async def test_a_body_that_comes_during_a_delay_is_passed_on_whole() -> None:
    policies = fault("delay: {fixedDelay: 100ms, percentage: {value: 100}}")
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}, policies=policies) as rig:
        client = await rig.connect()
        await client.send(b"POST / HTTP/1.1\r\nHost: svc\r\nX-Tester: 1\r\nContent-Length: 200000\r\n\r\n")
        await client.send(b"x" * 200_000)
        assert (await client.answer(b"POST")).status == 200
        assert len(up.heads) == 1
        client.close()
        await rig.settled()
