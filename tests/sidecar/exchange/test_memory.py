"""A large body with a slow reader, through two real sidecars: neither holds more than a little of it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.fakes.upstream import Peer, ScriptedUpstream

# 256 MiB shows the same as 1 GiB: what is held does not grow with what has passed.
SIZE = 256 * 1024 * 1024
PIECE = 1024 * 1024
HELD_AT_MOST = 2 * 1024 * 1024


@asynccontextmanager
async def sidecar(*argv: str) -> AsyncIterator[tuple[dict[str, str], int]]:
    """A sidecar process: (its addresses, its pid)."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar", *argv),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        yield json.loads(line), process.pid
    finally:
        process.terminate()
        await asyncio.wait_for(process.communicate(), 10)


def resident(pid: int) -> int:
    """Bytes in memory."""
    fields = Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()
    return int(fields[0]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
@pytest.mark.parametrize("direction", ["download", "upload"])
async def test_a_slow_reader_of_a_large_body_costs_little(direction: str) -> None:
    """Less than 2 MB more than before in either sidecar, while reading stops and goes."""

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")  # warms up both sidecars
        await peer.head()
        if direction == "download":
            peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            piece = b"%x\r\n%b\r\n" % (PIECE, bytes(PIECE))
            for _ in range(SIZE // PIECE):
                peer.send(piece)
                await peer.drain()
            peer.send(b"0\r\n\r\n")
        else:
            await slowly(peer.reader, SIZE)
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await peer.drain()
        await peer.gone()

    peak: dict[int, int] = {}

    def look() -> None:
        for pid in peak:
            peak[pid] = max(peak[pid], resident(pid))

    async def slowly(reader: asyncio.StreamReader, size: int) -> None:
        left, since = size, 0
        while left:
            data = await reader.read(min(left, PIECE))
            assert data
            left -= len(data)
            since += len(data)
            if since > 24 * PIECE:  # stop for a while now and then: everything before us fills up
                since = 0
                await asyncio.sleep(0.02)
                look()

    async with (
        ScriptedUpstream(script) as up,
        sidecar("--name", "b-1", "--inbound", "127.0.0.1:0", "--app", f"127.0.0.1:{up.port}") as (b, b_pid),
        sidecar("--name", "a-1", "--outbound", "127.0.0.1:0", "--upstream", f"svc={b['inbound']}") as (
            a,
            a_pid,
        ),
    ):
        host, _, port = a["outbound"].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=PIECE)
        writer.write(b"GET / HTTP/1.1\r\nHost: svc\r\n\r\n")
        await reader.readuntil(b"ok")
        before = {pid: resident(pid) for pid in (a_pid, b_pid)}
        peak.update(before)
        if direction == "download":
            writer.write(b"GET / HTTP/1.1\r\nHost: svc\r\n\r\n")
            await slowly(reader, SIZE)
        else:
            writer.write(b"POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: %d\r\n\r\n" % SIZE)
            for _ in range(SIZE // PIECE):
                writer.write(bytes(PIECE))
                await writer.drain()
            await reader.readuntil(b"ok")
        look()
        writer.transport.abort()
    grown = {pid: peak[pid] - before[pid] for pid in peak}
    assert max(grown.values()) < HELD_AT_MOST, grown
