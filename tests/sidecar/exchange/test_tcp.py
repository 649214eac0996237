"""TCP services: relayed with discovery, balancing, breakers and metrics; a database works behind the mesh."""

from __future__ import annotations

import asyncio
import functools
import json
import random
import shutil
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from sidecar.io.tcp import TcpListener
from sidecar.io.timeouts import Timeouts
from sidecar.observe.tcp_metrics import TcpMetrics
from sidecar.policy.concurrency import BulkheadPolicy
from sidecar.policy.settings import UpstreamPolicy
from sidecar.tcp import TcpService
from tests.fakes.upstream import Gone, Peer, ScriptedUpstream
from tests.sidecar.wire.test_client_hello import hello

from .harness import Rig, clock, specs, until
from .test_rules import options


async def echo(peer: Peer) -> None:
    try:
        while data := await peer.reader.read(65536):
            peer.send(data)
            await peer.drain()
        peer.send(b"bye")
        await peer.drain()
    except ConnectionError as error:
        raise Gone from error


class TcpRig:
    """A rig with one TCP listener for the service `svc`."""

    def __init__(self, rig: Rig, listener: TcpListener, metrics: TcpMetrics, port: int) -> None:
        self.rig = rig
        self.listener = listener
        self.metrics = metrics
        self.port = port

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    def counts(self) -> dict[str, float]:
        """Of each metric the sum over its series, by name and flag."""
        found: dict[str, float] = {}
        for metric in self.metrics.collect():
            for sample in metric.samples:
                key = sample.name.removeprefix("istio_tcp_").removesuffix("_total")
                flag = sample.labels["response_flags"]
                found[f"{key} {flag}"] = found.get(f"{key} {flag}", 0) + sample.value
        return found


@asynccontextmanager
async def tcp_rig(
    *addresses: tuple[str, int], timeouts: Timeouts | None = None, policy: UpstreamPolicy | None = None
) -> AsyncIterator[TcpRig]:
    async with Rig({"svc": addresses}, policy=policy) as rig:
        metrics = TcpMetrics("test", "v1")
        service = TcpService(
            "source",
            "svc",
            functools.partial(rig.destinations.connect, "svc"),
            metrics,
            None,
            rig._spawn,
            rig.deadlines,
            timeouts or Timeouts(),
            clock,
            functools.partial(rig.destinations.asks_for_names, "svc"),
        )
        listener = TcpListener("tcp:svc", service.session, service.refused, 8, rig.outbox)
        address = await listener.open("127.0.0.1", 0)
        try:
            yield TcpRig(rig, listener, metrics, int(address.rpartition(":")[2]))
        finally:
            listener.stop_accepting()
            await listener.drained(0.0)
            await until(lambda: listener.connections == 0)


async def test_bytes_pass_both_ways_with_half_close_and_are_counted() -> None:
    """A megabyte there and back, then each end stops on its own."""
    payload = random.Random(3).randbytes(1_000_000)
    async with ScriptedUpstream(echo) as up, tcp_rig(up.address) as tcp:
        reader, writer = await tcp.connect()
        writer.write(payload)
        assert await asyncio.wait_for(reader.readexactly(len(payload)), 15) == payload
        assert tcp.counts()["sent_bytes -"] == len(payload), "counted while the connection is open"
        assert tcp.rig.taken() == {"svc active": 1}
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(-1), 15) == b"bye"
        await tcp.rig.settled()
        counts = tcp.counts()
        assert counts["connections_opened -"] == counts["connections_closed -"] == 1
        assert counts["received_bytes -"] == len(payload)
        writer.close()


async def test_a_refused_connect_goes_to_another_endpoint_and_opens_the_breaker() -> None:
    """Not a byte was sent, so every connection is rescued; after three nobody is sent there."""
    async with ScriptedUpstream(echo) as gone:
        dead = gone.address
    async with ScriptedUpstream(echo) as up, tcp_rig(dead, up.address) as tcp:
        for _ in range(12):
            reader, writer = await tcp.connect()
            writer.write(b"hello")
            assert await asyncio.wait_for(reader.readexactly(5), 15) == b"hello"
            writer.close()
        states = {one.port: one.breaker.state.name for one in tcp.rig.upstream().endpoints.all}
        assert states == {dead[1]: "OPEN", up.port: "CLOSED"}
        await tcp.rig.settled()


async def test_nobody_there_is_a_reset_and_counted() -> None:
    """TCP has no other word for it."""
    async with ScriptedUpstream(echo) as gone:
        dead = gone.address
    async with tcp_rig(dead) as tcp:
        reader, _ = await tcp.connect()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(-1), 15)
        assert tcp.counts()["connections_closed UF"] == 1
        await tcp.rig.settled()


async def test_a_backend_that_resets_resets_the_client() -> None:
    """A database that died in the middle must not look like the end of a result."""

    async def script(peer: Peer) -> None:
        await peer.exactly(5)
        peer.send(b"half")
        await peer.drain()
        await peer.exactly(1)
        peer.reset()

    async with ScriptedUpstream(script) as up, tcp_rig(up.address) as tcp:
        reader, writer = await tcp.connect()
        writer.write(b"query")
        assert await reader.readexactly(4) == b"half"
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(-1), 15)
        await until(lambda: tcp.counts().get("connections_closed UC") == 1)
        await tcp.rig.settled()


async def test_a_client_that_leaves_takes_its_backend_connection_with_it() -> None:
    """Before and after there is one."""
    ended = 0

    async def script(peer: Peer) -> None:
        nonlocal ended
        await peer.gone()
        ended += 1

    async with ScriptedUpstream(script) as up, tcp_rig(up.address) as tcp:
        for wait in (False, True):
            _, writer = await tcp.connect()
            if wait:
                await until(lambda: tcp.counts().get("connections_opened -") == 2)
            writer.transport.abort()
        await until(lambda: ended == 2)
        await tcp.rig.settled()


async def test_a_slow_reader_holds_the_writer() -> None:
    """Back-pressure by TCP itself; we hold no more than our marks."""
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        for _ in range(1000):
            peer.send(bytes(80_000))
            await peer.drain()
            sent += 80_000

    async with ScriptedUpstream(script) as up, tcp_rig(up.address) as tcp:
        reader, writer = await tcp.connect()
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        before = -1
        while before != sent or not sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 16_000_000
        writer.transport.abort()
        await tcp.rig.settled()


async def test_places_are_bounded() -> None:
    """By the destination's bulkhead and by the listener's number of connections."""
    policy = UpstreamPolicy(bulkhead=BulkheadPolicy(max_active=2, max_pending=1))
    async with ScriptedUpstream(echo) as up, tcp_rig(up.address, policy=policy) as tcp:
        held = [await tcp.connect() for _ in range(2)]
        await until(lambda: tcp.rig.taken().get("svc active") == 2)
        reader, _ = await tcp.connect()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(-1), 15)
        assert tcp.counts()["connections_closed UO"] == 1
        for _, writer in held:
            writer.transport.abort()
        await tcp.rig.settled()


async def test_an_idle_connection_is_cut_and_drain_cuts_what_stays() -> None:
    """Each is told apart from an orderly end."""
    async with ScriptedUpstream(echo) as up:
        async with tcp_rig(up.address, timeouts=Timeouts(tunnel_idle=0.1)) as tcp:
            reader, _ = await tcp.connect()
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(-1), 15)
            await tcp.rig.settled()
        async with tcp_rig(up.address) as tcp:
            reader, writer = await tcp.connect()
            writer.write(b"a")
            assert await reader.readexactly(1) == b"a"
            tcp.listener.stop_accepting()
            assert await tcp.listener.drained(0.05) == (0, 1)
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(-1), 15)
            await tcp.rig.settled()
            assert tcp.counts()["connections_closed LR"] == 1


def connections(spec: str) -> str:
    """A VirtualService of `svc`."""
    head = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: svc}\n"
    return f"{head}spec: {{hosts: [svc, '*.svc'], {spec}}}\n"


@asynccontextmanager
async def two_backends() -> AsyncIterator[tuple[TcpRig, ScriptedUpstream, ScriptedUpstream]]:
    """`svc` leads to the first, `other` to the second."""
    async with ScriptedUpstream(echo) as one, ScriptedUpstream(echo) as two, tcp_rig(one.address) as tcp:
        tcp.rig.destinations.static("other", specs("other", [two.address]))
        yield tcp, one, two


async def test_connections_go_where_a_rule_says() -> None:
    """By the listener's port; counted for the service that they went to; without a rule to the service."""
    async with two_backends() as (tcp, one, two):
        rule = f"tcp: [{{match: [{{port: {tcp.port}}}], route: [{{destination: {{host: other}}}}]}}]"
        for policies, backend, name in (("", one, "svc"), (connections(rule), two, "other")):
            tcp.rig.apply(policies)
            reader, writer = await tcp.connect()
            writer.write(b"hi")
            assert await asyncio.wait_for(reader.readexactly(2), 15) == b"hi"
            assert len(backend.peers) == 1
            writer.close()
            await tcp.rig.settled()
            opened = {
                sample.labels["destination_workload"]
                for metric in tcp.metrics.collect()
                for sample in metric.samples
                if sample.name == "istio_tcp_connections_opened_total" and sample.value
            }
            assert name in opened


async def test_a_tls_client_goes_where_its_name_leads() -> None:
    """The hello may come in pieces; every byte of it reaches the backend. Other names go nowhere."""
    rules = (
        "tls: [{match: [{sniHosts: [a.svc]}], route: [{destination: {host: other}}]},"
        " {match: [{sniHosts: [svc]}], route: [{destination: {host: svc}}]}]"
    )
    async with two_backends() as (tcp, one, two):
        tcp.rig.apply(connections(rules))
        for name, backend in (("a.svc", two), ("svc", one)):
            first = hello(name)
            reader, writer = await tcp.connect()
            writer.write(first[:70])
            await until(lambda: tcp.listener.connections == 1)
            await asyncio.sleep(0)
            assert not backend.peers
            writer.write(first[70:])
            assert await asyncio.wait_for(reader.readexactly(len(first)), 15) == first
            assert len(backend.peers) == 1
            writer.close()
            await tcp.rig.settled()
            await until(lambda: tcp.listener.connections == 0)
        for first in (hello("b.svc"), hello(None), b"GET / HTTP/1.1\r\n\r\n"):
            reader, writer = await tcp.connect()
            writer.write(first)
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(-1), 15)
        assert tcp.counts()["connections_closed NR"] == 3
        assert (len(one.peers), len(two.peers)) == (1, 1)


async def test_who_says_nothing_where_names_decide() -> None:
    """A client that leaves, and one that ends its side, hold nothing."""
    rules = "tls: [{match: [{sniHosts: [svc]}], route: [{destination: {host: svc}}]}]"
    async with two_backends() as (tcp, one, _):
        tcp.rig.apply(connections(rules))
        reader, writer = await tcp.connect()
        writer.write_eof()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(-1), 15)
        _, writer = await tcp.connect()
        await until(lambda: tcp.listener.connections == 1)
        # by RST
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await until(lambda: tcp.counts().get("connections_closed DC") == 1)
        assert not one.peers
        await tcp.rig.settled()


async def test_a_clients_address_may_choose_the_endpoint() -> None:
    """`useSourceIp`: all connections of one client go to the same one."""
    by_address = (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: svc}\n"
        "spec: {host: svc, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}}}"
    )
    async with (
        ScriptedUpstream(echo) as one,
        ScriptedUpstream(echo) as two,
        tcp_rig(one.address, two.address) as tcp,
    ):
        tcp.rig.apply(by_address)
        for _ in range(10):
            reader, writer = await tcp.connect()
            writer.write(b"a")
            assert await asyncio.wait_for(reader.readexactly(1), 15) == b"a"
            writer.close()
        assert sorted((len(one.peers), len(two.peers))) == [0, 10]
        await tcp.rig.settled()


async def test_a_document_says_how_long_a_connection_may_be_silent() -> None:
    """And that the other end is probed meanwhile, and how long a connect may take."""
    pool = "{connectTimeout: 3s, idleTimeout: 0.1s, tcpKeepalive: {probes: 3, time: 60s}}"
    policies = (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: svc}\n"
        f"spec: {{host: svc, trafficPolicy: {{connectionPool: {{tcp: {pool}}}}}}}"
    )
    async with ScriptedUpstream(echo) as up, tcp_rig(up.address) as tcp:
        tcp.rig.apply(policies)
        asked: list[list[int]] = []
        async with asyncio.timeout(15):
            reader, writer = await tcp.connect()
            writer.write(b"a")
            assert await reader.readexactly(1) == b"a"
            (client,) = tcp.listener._connections
            assert client.tunnel is not None
            transport = client.tunnel.upstream.transport  # type: ignore[attr-defined]  # RawPeer hides it
            asked.append(options(transport.get_extra_info("socket")))
            with pytest.raises(ConnectionResetError):
                await reader.read(-1)
        assert asked[0][:3] == [1, 3, 60]
        await tcp.rig.settled()


async def test_who_has_no_backend_yet_when_a_drain_ends_did_not_leave() -> None:
    """LR, as for those that have one."""
    with socket.socket() as nobody:  # takes no connection: its queue is full
        nobody.bind(("127.0.0.1", 0))
        nobody.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(nobody.getsockname())
        async with tcp_rig(nobody.getsockname()) as tcp:
            reader, _ = await tcp.connect()
            await until(lambda: tcp.listener.connections == 1)
            tcp.listener.stop_accepting()
            await tcp.listener.drained(0.0)
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(-1), 15)
            assert tcp.counts()["connections_closed LR"] == 1
            await tcp.rig.settled()
        for filler in fillers:
            filler.close()


@asynccontextmanager
async def program(*argv: str, ready: Callable[[bytes], bool]) -> AsyncIterator[bytes]:
    """A process; gives the first line for which `ready` says yes."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            line = await process.stdout.readline()
            while line and not ready(line):
                line = await process.stdout.readline()
        yield line
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.communicate(), 10)


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs Debian's redis-server")
async def test_redis_behind_two_sidecars(tmp_path: Path, unused_tcp_port: int) -> None:
    """SET, GET and a pipeline, from a client through both sidecars; both count."""

    def any_line(line: bytes) -> bool:
        return True

    redis = ("redis-server", "--port", str(unused_tcp_port), "--save", "", "--dir", str(tmp_path))
    sidecar = (sys.executable, "-m", "sidecar", "--admin", "127.0.0.1:0")
    async with (
        program(*redis, ready=lambda line: b"Ready to accept" in line),
        program(
            *(*sidecar, "--name", "redis-1", "--inbound", "127.0.0.1:0", "--inbound-protocol", "tcp"),
            *("--app", f"127.0.0.1:{unused_tcp_port}"),
            ready=any_line,
        ) as inbound_line,
    ):
        inbound = json.loads(inbound_line)
        async with program(
            *(*sidecar, "--name", "shop-1", "--tcp", "127.0.0.1:0=redis", "--upstream"),
            f"redis={inbound['inbound']}",
            ready=any_line,
        ) as outbound_line:
            outbound = json.loads(outbound_line)
            host, _, port = outbound["tcp:redis"].rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            value = b"x" * 100_000
            writer.write(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n" + value + b"\r\n")
            assert await asyncio.wait_for(reader.readline(), 15) == b"+OK\r\n"
            writer.write(b"GET k\r\n" * 3)
            for _ in range(3):
                assert await reader.readline() == b"$100000\r\n"
                assert await reader.readexactly(100_002) == value + b"\r\n"
            writer.write(b"QUIT\r\n")
            assert await reader.read(-1) == b"+OK\r\n"
            writer.close()
            async with aiohttp.ClientSession() as session:
                for name, side in (("source", outbound), ("destination", inbound)):
                    async with session.get(f"http://{side['admin']}/metrics") as answer:
                        text = await answer.text()
                    opened = [
                        line
                        for line in text.splitlines()
                        if line.startswith("istio_tcp_connections_opened_total{")
                        and f'reporter="{name}"' in line
                    ]
                    assert len(opened) == 1
                    assert opened[0].endswith(" 1.0")
                    assert 'destination_workload="redis"' in opened[0]
