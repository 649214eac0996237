"""Streams and long polls: each holds a place and a connection for as long as it lasts."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.io.files import raise_limit
from sidecar.policy.retry import RetryPolicy
from sidecar.policy.settings import ConnectionPolicy, UpstreamPolicy
from sidecar.wire.serialize import LAST_CHUNK, chunk
from tests.fakes.upstream import Peer, ScriptedUpstream

from .harness import Client, Rig, until
from .test_routes import GET, rule

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Streams:
    """An app that keeps every answer open, from its first event or before it, until `go` is set."""

    def __init__(self, first: bytes) -> None:
        self.open = 0
        self.go = asyncio.Event()
        self._first = first

    async def __call__(self, peer: Peer) -> None:
        await peer.request()
        self.open += 1
        peer.send(self._first)
        await self.go.wait()
        peer.send((b"" if self._first else HEAD) + chunk(b"data: last\n\n") + LAST_CHUNK)


def pool(**limits: int) -> str:
    """A rule with these limits. Who would wait for a connection does so for a moment only."""
    tcp = f"tcp: {{maxConnections: {limits['connections']}}}" if "connections" in limits else ""
    http = f"http: {{http2MaxRequests: {limits['requests']}}}" if "requests" in limits else ""
    limited = ", ".join(filter(None, (tcp, http)))
    return rule(f"trafficPolicy: {{connectionPool: {{{limited}}}}}", notes="mesh/max-wait: 100ms")


@pytest.mark.parametrize(
    ("policies", "count", "served"),
    [
        ("", 500, 500),
        (pool(connections=300), 303, 300),
        (pool(requests=300), 303, 300),
    ],
    ids=["no document", "connections", "requests"],
)
@pytest.mark.parametrize("first", [HEAD + chunk(b"data: 1\n\n"), b""], ids=["stream", "long poll"])
async def test_as_many_at_one_replica_as_the_rule_says(
    first: bytes, policies: str, count: int, served: int
) -> None:
    """Through both sidecars; by default as many as an app with event streams has. Those above are told UO."""
    raise_limit(4 * count)
    policy = UpstreamPolicy(  # the machine may be busy
        connection=ConnectionPolicy(connect_timeout_s=30.0), retry=RetryPolicy(max_attempts=1)
    )
    app = Streams(first)
    async with (
        ScriptedUpstream(app) as backend,
        Rig(app=backend.address, policy=policy, upstream_timeout=60) as callee,
        Rig(
            {"svc": [("127.0.0.1", callee.ports["inbound"])]},
            policy=policy,
            policies=policies,
            upstream_timeout=60,
        ) as caller,
    ):
        clients: list[Client] = []
        for _ in range(served):
            client = await caller.connect()
            await client.send(GET)
            clients.append(client)
        await until(lambda: app.open == served, 60.0, lambda: app.open)
        for _ in range(count - served):
            answer = await caller.ask(GET)
            assert (answer.status, answer["x-mesh-reason"][:3]) == (503, "UO:")
        app.go.set()
        answers = await asyncio.gather(*(client.answer(timeout=60.0) for client in clients))
        assert {answer.body[-6:] for answer in answers} == {b"last\n\n"}
        await caller.settled()
        await callee.settled()
