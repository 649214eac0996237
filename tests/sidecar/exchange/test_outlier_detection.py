"""outlierDetection of a rule, on real sockets: what ejects an endpoint, and what does not."""

from __future__ import annotations

import pytest

from sidecar.policy.machine import State
from tests.fakes.upstream import OK, ScriptedUpstream
from tests.sidecar.exchange.harness import Rig
from tests.sidecar.exchange.test_routes import replies, rule, service

POST = b"POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: 0\r\n\r\n"
TIMES = 40


def answer(status: int) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status


def policies(block: str) -> str:
    """Requests in turn, none repeated: what a client sees is what an endpoint said."""
    lb = "loadBalancer: {simple: ROUND_ROBIN}"
    once = service("{route: [{destination: {host: svc}}], retries: {attempts: 0}}")
    return once + rule(f"trafficPolicy: {{{lb}, outlierDetection: {{{block}, maxEjectionPercent: 50}}}}")


@pytest.mark.parametrize(
    ("block", "status", "seen"),
    [
        ("consecutiveGatewayErrors: 3, consecutive5xxErrors: 0", 503, 3),
        ("consecutiveGatewayErrors: 3, consecutive5xxErrors: 0", 500, TIMES // 2),
        ("consecutive5xxErrors: 4", 500, 4),
        ("consecutive5xxErrors: 4", 501, 4),
        ("consecutive5xxErrors: 4", 429, TIMES // 2),
        ("consecutive5xxErrors: 0", 500, TIMES // 2),
    ],
)
async def test_so_many_in_a_row_eject_it(block: str, status: int, seen: int) -> None:
    """And our own breaker, which would have opened, is off."""
    async with (
        ScriptedUpstream(replies(answer(status))) as bad,
        ScriptedUpstream(replies(OK)) as good,
        Rig({"svc": [bad.address, good.address]}, policies=policies(block)) as rig,
    ):
        for _ in range(TIMES):
            assert (await rig.ask(POST)).status in (200, status)
        assert len(bad.heads) == pytest.approx(seen, abs=1)
        states = {each.id: each.breaker.state for each in rig.upstream().endpoints.all}
        ejected = seen < TIMES // 2
        assert states == {"svc-1": State.OPEN if ejected else State.CLOSED, "svc-2": State.CLOSED}


async def test_an_ejected_endpoint_comes_back_at_a_sweep() -> None:
    """With all of its share, and is ejected anew for its first errors."""
    block = "consecutive5xxErrors: 2, interval: 100ms, baseEjectionTime: 200ms"
    async with (
        ScriptedUpstream(replies(*[answer(500)] * 2, OK)) as healed,
        ScriptedUpstream(replies(OK)) as good,
        Rig({"svc": [healed.address, good.address]}, policies=policies(block)) as rig,
    ):
        for _ in range(8):
            await rig.ask(POST)
        (endpoint, _) = rig.upstream().endpoints.all
        assert endpoint.breaker.state is State.OPEN
        rig.upstream()._clock = lambda: endpoint.breaker.until + 0.001
        statuses = [(await rig.ask(POST)).status for _ in range(8)]
        assert statuses == [200] * 8
        assert endpoint.breaker.ramp == 1.0
        assert len(healed.heads) > 2
