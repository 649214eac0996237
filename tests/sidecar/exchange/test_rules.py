"""What a DestinationRule asks of connections and endpoints, on real sockets."""

from __future__ import annotations

import asyncio
import socket

from sidecar.balance.endpoints import EndpointSpec
from tests.fakes.upstream import OK, Peer, ScriptedUpstream, replies

from .harness import Rig, until
from .test_routes import GET, rule


async def test_a_new_endpoint_begins_with_its_part_of_the_warmup() -> None:
    """A tenth of the weight of the one that was there: 9 of 100 requests."""
    warm = "trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 600s, aggression: 2}}}"
    async with (
        ScriptedUpstream(replies(OK)) as old,
        ScriptedUpstream(replies(OK)) as new,
        Rig({"svc": [old.address]}, policies=rule(warm)) as rig,
    ):
        specs = [EndpointSpec("svc-1", *old.address), EndpointSpec("svc-2", *new.address)]
        rig.upstream().update(specs)
        client = await rig.connect()
        for _ in range(300):
            await client.send(GET)
            assert (await client.answer()).status == 200
        assert 10 <= len(new.heads) <= 50


def options(sock: socket.socket) -> list[int]:
    """(probes or not, how many, seconds before the first, seconds between them)."""
    numbers = socket.TCP_KEEPCNT, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL
    on = sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    return [on, *(sock.getsockopt(socket.IPPROTO_TCP, number) for number in numbers)]


async def test_probes_of_silent_connections() -> None:
    """`tcpKeepalive`: what is not given stays the system's; connections that are there stay as they are."""
    probes = "trafficPolicy: {connectionPool: {tcp: {tcpKeepalive: {time: 90s, interval: 1500ms}}}}"

    def idle(rig: Rig) -> list[int]:
        transport = rig.pools()[0]._idle[0].transport
        assert transport is not None
        return options(transport.get_extra_info("socket"))

    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}) as rig:
        assert (await rig.ask(GET)).status == 200
        before = idle(rig)
        assert before[0] == 0
        rig.apply(rule(probes))
        assert idle(rig) == before
        up.peers[0].close()
        await until(lambda: not rig.pools()[0].idle)
        assert (await rig.ask(GET)).status == 200
        assert idle(rig) == [1, before[1], 90, 2]


async def test_a_port_has_limits_of_its_own() -> None:
    """At 9080 one request is under way, one waits as long as it takes, one is refused; at 80 all pass."""
    limits = "connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}"
    ports = rule(f"trafficPolicy: {{portLevelSettings: [{{port: {{number: 9080}}, {limits}}}]}}")
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await go_on.wait()
            peer.send(OK)

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}, policies=ports) as rig:
        for port, passing in ((b"9080", 1), (b"80", 3)):
            go_on.clear()
            before = len(up.heads)
            clients = [await rig.connect() for _ in range(3)]
            for number, client in enumerate(clients, 1):
                await client.send(b"GET / HTTP/1.1\r\nHost: svc:%b\r\n\r\n" % port)
                least = before + min(number, passing)
                await until(lambda least=least: len(up.heads) == least)  # type: ignore[misc]  # one argument
            answers = asyncio.gather(*(client.answer() for client in clients))
            if passing == 1:
                await until(lambda: rig.outbound.in_flight == 2)
            go_on.set()
            assert sorted(answer.status for answer in await answers) == [
                200,
                200,
                503 if passing == 1 else 200,
            ]
        await rig.settled()
        assert rig.destinations.get("svc||9080") is not None
        rig.apply(rule())
        assert rig.destinations.get("svc||9080") is None
        assert (await rig.ask(b"GET / HTTP/1.1\r\nHost: svc:9080\r\n\r\n")).status == 200
