"""What the way through several sidecars must not change: how much a head may hold, where no Host leads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sidecar.wire.limits import Limits
from tests.fakes.upstream import OK, Peer, ScriptedUpstream, replies

from .harness import Rig
from .test_routes import service

MOST = 20
LIMITS = Limits(header_count=MOST, head_bytes=4096)


@asynccontextmanager
async def way_in(upstream: ScriptedUpstream, policies: str = "") -> AsyncIterator[Rig]:
    """An ingress before the sidecar of an app."""
    async with (
        Rig(app=upstream.address, limits=LIMITS) as callee,
        Rig(
            {"svc": [("127.0.0.1", callee.ports["inbound"])]},
            default_service="svc",
            policies=policies,
            limits=LIMITS,
        ) as ingress,
    ):
        yield ingress


def fields(count: int) -> bytes:
    return b"".join(b"X-%d: y\r\n" % number for number in range(count))


ADDED = ", ".join(f"x-added-{number}: '{'z' * 20}'" for number in range(30))


@pytest.mark.parametrize(
    "policies",
    ["", service(f"{{headers: {{request: {{add: {{{ADDED}}}}}}}, route: [{{destination: {{host: svc}}}}]}}")],
)
async def test_what_the_ingress_may_take_the_next_hop_takes_too(policies: str) -> None:
    """With all that was added on the way; one field more than a client may send is refused at the ingress."""
    async with ScriptedUpstream(replies(OK)) as up, way_in(up, policies) as ingress:
        ask = b"GET / HTTP/1.1\r\nHost: svc\r\n"
        assert (await ingress.ask(ask + fields(MOST - 1) + b"\r\n")).status == 200
        assert b"x-%d: y" % (MOST - 2) in up.heads[0].lower()
        answer = await ingress.ask(ask + fields(MOST) + b"\r\n")
        assert (answer.status, answer["x-mesh-reason"]) == (431, f"DPE: more than {MOST} header fields")
        room = 4096 - len(ask) - 4 - len(b"X-Long: ")
        assert (await ingress.ask(ask + b"X-Long: " + b"l" * room + b"\r\n\r\n")).status == 200
        assert (await ingress.ask(ask + b"X-Long: " + b"l" * (room + 1) + b"\r\n\r\n")).status == 431


async def test_what_an_app_may_answer_its_caller_takes_too() -> None:
    """Each sidecar adds its word to it."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + fields(MOST - 1) + b"\r\n"
    more = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + fields(MOST) + b"\r\n"
    async with ScriptedUpstream(replies(answer, more)) as up, way_in(up) as ingress:
        ask = b"GET / HTTP/1.1\r\nHost: svc\r\n\r\n"
        assert (await ingress.ask(ask))[f"x-{MOST - 2}"] == "y"
        assert (await ingress.ask(ask)).status == 502


@pytest.mark.parametrize("line", [b"Host:\r\n", b"Host: \t\r\n"])
async def test_an_empty_host_is_no_host_but_no_fault(line: bytes) -> None:
    """RFC 9112 section 3.2: it goes where a listener leads by itself, and nowhere if only a host leads on."""
    ask = b"GET /x HTTP/1.1\r\n" + line + b"\r\n"
    async with ScriptedUpstream(replies(OK)) as up:
        async with way_in(up) as ingress:
            assert (await ingress.ask(ask)).status == 200
        async with Rig({"svc": [up.address]}, app=up.address) as rig:
            assert (await rig.ask(ask, "inbound")).status == 200
            answer = await rig.ask(ask)
            assert (answer.status, answer["x-mesh-reason"]) == (400, "DPE: no Host, so no destination")
            absolute = await rig.ask(b"GET http://svc/x HTTP/1.1\r\n" + line + b"\r\n")
            assert absolute.status == 200
    assert [head.lower().count(b"host: ") for head in up.heads] == [2, 1, 1]  # the first has x-forwarded-host


@pytest.mark.parametrize(
    ("how", "first", "words"),
    [
        ("close", True, "the endpoint closed the connection, which was kept alive, as the request came"),
        ("reset", True, "the endpoint reset the connection, which was kept alive, as the request came"),
        ("close", False, "the endpoint closed the connection before it answered"),
        ("reset", False, "the endpoint reset the connection before it answered"),
        ("half", True, "the endpoint closed the connection before the answer was complete"),
    ],
)
async def test_a_post_that_is_lost_says_who_ended_the_connection(how: str, first: bool, words: str) -> None:
    """It is not sent again, for it may have been acted on; so it matters what happened."""

    async def script(peer: Peer) -> None:
        if first:
            await peer.request()
            peer.send(OK)
        await peer.request()
        if how == "reset":
            peer.reset()
        elif how == "half":
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Le")

    post = b"POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: 1\r\n\r\nx"
    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        if first:
            assert (await rig.ask(post)).status == 200
        answer = await rig.ask(post)
        assert answer.status == 503
        assert answer["x-mesh-reason"].startswith(f"UC: svc-1: {words}")
        assert len(up.peers) == 1
        await rig.settled()
