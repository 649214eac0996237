"""SIGTERM under load: a real sidecar, clients that never stop asking, and not one request lost."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys

from tests.fakes.upstream import OK, Peer, ScriptedUpstream

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
