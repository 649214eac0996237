"""SIGTERM under load: a real sidecar, clients that never stop asking, and not one request lost."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.fakes.upstream import OK, Peer, ScriptedUpstream, replies

from .harness import Client, until

GET = b"GET / HTTP/1.1\r\nHost: svc\r\n\r\n"


async def test_sigterm_under_load_loses_no_request() -> None:
    """Each request on an open connection is answered, the last with `close`; the program ends with 0."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.head()
            await asyncio.sleep(0.005)
            peer.send(OK)
            await peer.drain()

    answered = 0
    told = 0
    lost: list[str] = []
    stopping = asyncio.Event()

    async def ask(port: int) -> None:
        """Keep-alive requests one after the other until told to close; nothing new once it is stopping."""
        nonlocal answered, told
        while not stopping.is_set():
            client = Client(*await asyncio.open_connection("127.0.0.1", port))
            while True:
                try:
                    await client.send(GET)
                    answer = await client.answer()
                except Exception as error:
                    lost.append(repr(error))
                    break
                assert answer.status == 200
                answered += 1
                if answer["connection"] == "close":
                    told += 1
                    break
            client.close()

    async with ScriptedUpstream(script) as up:
        sidecar = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sidecar", "--name", "a-1", "--outbound", "127.0.0.1:0"),
            *("--upstream", f"svc=127.0.0.1:{up.port}"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            assert sidecar.stdout is not None
            line = await asyncio.wait_for(sidecar.stdout.readline(), 20)
            port = int(json.loads(line)["outbound"].rpartition(":")[2])
            async with asyncio.TaskGroup() as clients:
                for _ in range(16):
                    clients.create_task(ask(port), name="client")
                idle = Client(*await asyncio.open_connection("127.0.0.1", port))
                await idle.send(GET)
                await idle.answer()
                await until(lambda: answered >= 200)
                stopping.set()
                sidecar.send_signal(signal.SIGTERM)
                assert await idle.closed() == b""
                idle.close()
            _, errors = await asyncio.wait_for(sidecar.communicate(), 20)
        finally:  # a failure on the way must not leave it, for the loop would wait for its end
            if sidecar.returncode is None:
                sidecar.kill()
    assert lost == []
    assert told == 16
    assert sidecar.returncode == 0
    assert re.search(rb"outbound: \d+ connections ended, 0 cut", errors)


@asynccontextmanager
async def running(*flags: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, str]]]:
    """A real sidecar and its addresses."""
    sidecar = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar", "--name", "a-1", "--outbound", "127.0.0.1:0", *flags),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert sidecar.stdout is not None
        yield sidecar, json.loads(await asyncio.wait_for(sidecar.stdout.readline(), 20))
    finally:
        if sidecar.returncode is None:
            sidecar.kill()
        await sidecar.communicate()


async def connect(address: str) -> Client:
    host, _, port = address.rpartition(":")
    return Client(*await asyncio.open_connection(host, int(port)))


async def test_the_way_out_stays_open_for_what_came_in() -> None:
    """An app that is at a request when SIGTERM comes may still call others for it, on a new connection."""
    stopping = asyncio.Event()
    outbound = ""

    async def app(peer: Peer) -> None:
        await peer.head()
        await stopping.wait()
        await asyncio.sleep(0.6)  # by then the inbound listener is closed
        call = await connect(outbound)
        await call.send(GET)
        answer = await call.answer()
        call.close()
        peer.send(OK if answer.status == 200 else b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")

    async with ScriptedUpstream(app) as behind, ScriptedUpstream(replies(OK)) as other:
        flags = ("--inbound", "127.0.0.1:0", "--app", f"127.0.0.1:{behind.port}")
        async with running(*flags, "--upstream", f"svc=127.0.0.1:{other.port}") as (sidecar, bound):
            outbound = bound["outbound"]
            client = await connect(bound["inbound"])
            await client.send(GET)
            await until(lambda: bool(behind.heads))
            sidecar.send_signal(signal.SIGTERM)
            stopping.set()
            assert (await client.answer()).status == 200
            with pytest.raises(ConnectionRefusedError):
                await connect(bound["inbound"])
            client.close()
            assert await asyncio.wait_for(sidecar.wait(), 20) == 0


async def test_the_limit_runs_from_the_begin_of_the_drain() -> None:
    """Whoever was told to drain a while ago and then to end, ends soon; what is under way is told why."""

    async def silent(peer: Peer) -> None:
        await peer.gone()

    async with ScriptedUpstream(silent) as up:
        flags = ("--admin", "127.0.0.1:0", "--upstream", f"svc=127.0.0.1:{up.port}")
        async with running(*flags, "--drain-timeout", "2s") as (sidecar, bound):
            client = await connect(bound["outbound"])
            await client.send(GET)
            await until(lambda: bool(up.peers))
            admin = await connect(bound["admin"])
            await admin.send(b"POST /drain_listeners?graceful HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert (await admin.answer(b"POST")).status == 200
            admin.close()
            await asyncio.sleep(2.2)
            assert sidecar.returncode is None
            began = asyncio.get_running_loop().time()
            sidecar.send_signal(signal.SIGTERM)
            answer = await client.answer()
            assert (answer.status, answer["x-mesh-reason"][:3]) == (503, "LR:")
            assert asyncio.get_running_loop().time() - began < 1.9
            client.close()
            assert await asyncio.wait_for(sidecar.wait(), 20) == 0
