"""A hundred uploads of a byte a second cost nobody else anything: real sidecars, an app of four threads."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.real_mesh import http, real_mesh
from tests.security.clients import Client, ask

pytestmark = pytest.mark.e2e

UPLOADS = 100
HEAD = b"POST /upload HTTP/1.1\r\nHost: front\r\n"
LENGTH, CHUNKED = b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: front\r\n\r\n"

# What others send meanwhile, and what the app reads of it.
OTHERS = {
    GET: 0,
    HEAD + b"Content-Length: 4\r\n\r\nbody": 4,
    HEAD + CHUNKED + b"4\r\nbody\r\n0\r\n\r\n": 4,
    HEAD + b"Content-Length: 1000000\r\n\r\n" + bytes(1_000_000): 1_000_000,
}


@asynccontextmanager
async def program(*argv: str) -> AsyncIterator[bytes]:
    """A program of Python's, by the line that it begins with."""
    process = await asyncio.create_subprocess_exec(sys.executable, *argv, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield await asyncio.wait_for(process.stdout.readline(), 20)
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def callee(*flags: str) -> AsyncIterator[dict[str, str]]:
    """A sidecar with the app of four threads behind it: its addresses."""
    app_file = str(Path(__file__).with_name("four_threads.py"))
    async with (
        program(app_file) as port,
        program(
            *("-m", "sidecar", "--name", "front-1", "--inbound", "127.0.0.1:0", "--admin", "127.0.0.1:0"),
            *("--app", f"127.0.0.1:{port.decode().strip()}", *flags),
        ) as line,
    ):
        addresses = json.loads(line)
        assert isinstance(addresses, dict)
        yield addresses


async def upload(address: str, number: int) -> bytes:
    """A byte a second, of known length or in chunks; what was said to it in the end."""
    chunked = number % 2 == 1
    async with Client(address, HEAD + (CHUNKED if chunked else LENGTH)) as client:
        return await client.drips(b"1\r\na\r\n" if chunked else b"a")


async def measure(address: str, uploads: Sequence[asyncio.Task[bytes]]) -> int:
    """All that others send is answered, one after the other, while the uploads come; how much it was."""
    answered = 0
    while not any(each.done() for each in uploads):
        for request, size in OTHERS.items():
            assert await ask(address, request, 2.0) == (200, b"read %d" % size)
            answered += 1
        await asyncio.sleep(0.05)
    return answered


async def test_a_hundred_slow_uploads_cost_nobody_anything() -> None:
    """They are refused when they have missed the minimum rate for ten seconds, and are counted as that."""
    async with callee() as addresses, asyncio.TaskGroup() as tasks:
        uploads = [tasks.create_task(upload(addresses["inbound"], number)) for number in range(UPLOADS)]
        assert await measure(addresses["inbound"], uploads) > 50
        for each in uploads:
            said = await each
            assert said.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
            assert b"\r\nx-mesh-reason: SI: request body too slow\r\n" in said
        assert (await ask(addresses["inbound"], GET))[0] == 200
        metrics = http(f"http://{addresses['admin']}/metrics").body.decode()
    slow = [
        line
        for line in metrics.splitlines()
        if line.startswith("istio_requests_total{") and 'response_flags="SI"' in line
    ]
    assert len(slow) == 1
    assert 'response_code="408"' in slow[0]
    assert float(slow[0].rpartition(" ")[2]) == UPLOADS


async def test_without_the_rule_they_cost_everything() -> None:
    """The proof that the test above can fail: as many late uploads as like, and no minimum rate."""
    async with (
        callee("--max-late-uploads", "1000", "--min-upload-rate", "0") as addresses,
        asyncio.TaskGroup() as tasks,
    ):
        uploads = [tasks.create_task(upload(addresses["inbound"], number)) for number in range(UPLOADS)]
        await asyncio.sleep(1.0)
        with pytest.raises(TimeoutError):
            await ask(addresses["inbound"], GET, 3.0)
        for each in uploads:
            each.cancel()


async def test_an_upload_that_only_pauses_because_of_us_is_not_cut() -> None:
    """The app reads nothing for longer than the window: the client cannot send, and is not to blame."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    size = 20_000_000

    async def lazy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        begun.set()
        await go_on.wait()
        await reader.readexactly(size)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    app = await asyncio.start_server(lazy, "127.0.0.1", 0)
    port = app.sockets[0].getsockname()[1]
    sidecar = program(
        *("-m", "sidecar", "--name", "a-1", "--inbound", "127.0.0.1:0", "--app", f"127.0.0.1:{port}")
    )
    async with app, sidecar as line:
        head = HEAD + b"Content-Length: %d\r\n\r\n" % size
        async with Client(json.loads(line)["inbound"], head) as client:
            client.writer.write(bytes(size))
            await begun.wait()
            await asyncio.sleep(12.0)
            go_on.set()
            assert await asyncio.wait_for(client.answer(), 20) == (200, b"ok")


TOPOLOGY = """\
services:
- name: front
  isEntrypoint: true
  numReplicas: 2
policies:
- apiVersion: networking.istio.io/v1
  kind: DestinationRule
  metadata:
    name: front
    annotations: {mesh/concurrency: "{initial: 8, floor: 8, ceiling: 8}"}
  spec:
    host: front
    trafficPolicy: {connectionPool: {http: {http2MaxRequests: 8}}}
"""


async def test_the_entrypoint_of_a_mesh_serves_others_meanwhile(tmp_path: Path) -> None:
    """Through two sidecars, each with eight places: none of them is theirs for long, and no request fails."""
    topology = tmp_path / "front.yaml"
    topology.write_text(TOPOLOGY)
    with real_mesh(tmp_path, str(topology), "--no-load") as mesh:
        entrypoint = mesh.status()["entrypoint"].removeprefix("http://")
        async with asyncio.TaskGroup() as tasks:
            uploads = [tasks.create_task(upload(entrypoint, number)) for number in range(UPLOADS)]
            answered = 0
            while not all(each.done() for each in uploads):
                assert (await ask(entrypoint, GET, 5.0))[0] == 200
                answered += 1
                await asyncio.sleep(0.05)
            assert answered > 50
            assert {(await each)[:13] for each in uploads} == {b"HTTP/1.1 408 "}
