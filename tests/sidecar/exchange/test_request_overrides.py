"""What an app asks for with one request, in Envoy's headers, on real sockets."""

from __future__ import annotations

import pytest

from tests.fakes.upstream import ScriptedUpstream
from tests.sidecar.exchange.harness import Rig
from tests.sidecar.exchange.test_routes import replies, service, slow

BAD = b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n"
LOST = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def request(*fields: str, method: str = "GET") -> bytes:
    length = "Content-Length: 0\r\n" if method == "POST" else ""
    lines = "".join(f"{field}\r\n" for field in fields)
    return f"{method} / HTTP/1.1\r\nHost: svc\r\n{length}{lines}\r\n".encode()


async def test_a_request_has_its_own_timeout() -> None:
    """Above the route's, for both; 0 is none."""
    policies = service("{route: [{destination: {host: svc}}], timeout: 100ms, retries: {attempts: 0}}")
    async with ScriptedUpstream(slow(0.3)) as up, Rig({"svc": [up.address]}, policies=policies) as rig:
        assert (await rig.ask(request())).status == 504
        assert (await rig.ask(request("x-envoy-upstream-rq-timeout-ms: 2000"))).status == 200
        assert (await rig.ask(request("x-envoy-upstream-rq-timeout-ms: 0"))).status == 200
        assert (await rig.ask(request("x-envoy-upstream-rq-timeout-ms: soon"))).status == 504
        sent = up.heads[1].lower()
        assert b"x-envoy-upstream-rq-timeout-ms" not in sent, "it is for the sidecar alone"
        assert 1500 < int(sent.partition(b"x-envoy-expected-rq-timeout-ms: ")[2].split()[0]) <= 2000
        await rig.settled()


@pytest.mark.parametrize(
    ("fields", "method", "answer", "tries"),
    [
        ((), "POST", BAD, 1),
        (("x-envoy-retry-on: 5xx",), "POST", BAD, 3),
        (("x-envoy-retry-on: 5xx", "x-envoy-max-retries: 4"), "POST", BAD, 5),
        (("x-envoy-max-retries: 0",), "GET", BAD, 1),
        (("x-envoy-retry-on: 404",), "GET", LOST, 3),
        (("x-envoy-retry-on: nonsense",), "GET", BAD, 1),
        (("x-envoy-max-retries: many",), "GET", BAD, 3),
    ],
)
async def test_a_request_has_its_own_retries(
    fields: tuple[str, ...], method: str, answer: bytes, tries: int
) -> None:
    """How often, on what, and of any method."""
    policies = service("{route: [{destination: {host: svc}}], retries: {attempts: 2, backoff: 1ms}}")
    async with ScriptedUpstream(replies(answer)) as up, Rig({"svc": [up.address]}, policies=policies) as rig:
        assert (await rig.ask(request(*fields, method=method))).status == int(answer.split()[1])
        assert len(up.heads) == tries
        await rig.settled()


async def test_a_try_has_its_own_time() -> None:
    async with ScriptedUpstream(slow(0.5)) as up, Rig({"svc": [up.address]}) as rig:
        answer = await rig.ask(
            request("x-envoy-upstream-rq-per-try-timeout-ms: 50", "x-envoy-max-retries: 1")
        )
        assert (answer.status, answer["x-mesh-reason"][:4]) == (504, "UT: ")
        assert len(up.heads) == 2
        await rig.settled()


async def test_a_stranger_s_wishes_are_dropped_at_the_edge() -> None:
    async with (
        ScriptedUpstream(replies(BAD)) as up,
        Rig({"svc": [up.address]}, default_service="svc") as rig,
    ):
        await rig.ask(request("x-envoy-retry-on: 5xx", "x-envoy-max-retries: 9", method="POST"))
        assert len(up.heads) == 1
        await rig.ask(request("x-envoy-upstream-rq-timeout-ms: 0"))
        assert not any(b"x-envoy-upstream-rq" in head.lower() for head in up.heads)
