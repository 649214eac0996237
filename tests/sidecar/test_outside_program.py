"""A sidecar of its own that leads out: ServiceEntries of a file, for HTTP, for TCP, for several workers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.fakes.upstream import OK, ScriptedUpstream, replies

from .test_program import Sidecar, leave_none  # noqa: F401 - a fixture that is used by itself

API = "apiVersion: networking.istio.io/v1"


def entry(name: str, port: int, protocol: str) -> str:
    return (
        f"{API}\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec: {{hosts: [{name}.example.com], "
        f"ports: [{{number: 80, name: p, protocol: {protocol}, targetPort: {port}}}], resolution: STATIC, "
        "endpoints: [{address: 127.0.0.1}]}\n---\n"
    )


def tls(name: str) -> str:
    return (
        f"{API}\nkind: DestinationRule\nmetadata: {{name: {name}}}\n"
        f"spec: {{host: {name}.example.com, trafficPolicy: {{tls: {{mode: SIMPLE}}}}}}\n---\n"
    )


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def said(address: str) -> bytes:
    try:
        reader, writer = await asyncio.open_connection(*address.rsplit(":", 1))
        writer.write(b"hello\n")
        found = await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""
    writer.close()
    return found


async def test_tcp_out_of_the_mesh(tmp_path: Path, echo: int) -> None:
    """Byte by byte; where a rule wants TLS nothing goes out in plain, for it is begun for HTTP only."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(entry("db", echo, "TCP") + entry("safe", echo, "TCP") + tls("safe"))
    sidecar = await Sidecar.start(
        *("--name", "a-1", "--policy", str(policy)),
        *("--tcp", "127.0.0.1:0=db.example.com", "--tcp", "127.0.0.1:0=safe.example.com"),
    )
    assert await said(sidecar.ready["tcp:db.example.com"]) == b"hello\n"
    assert await said(sidecar.ready["tcp:safe.example.com"]) == b""
    assert await sidecar.stop() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_http_out_of_the_mesh(tmp_path: Path, workers: str) -> None:
    """It is in every table; and its own admin listener is nobody's endpoint, whoever writes it."""
    policy = tmp_path / "policy.yaml"
    async with ScriptedUpstream(replies(OK)) as upstream, aiohttp.ClientSession() as session:

        async def ask(url: str, host: str) -> tuple[int, str]:
            async with session.get(url, headers={"Host": host} if host else {}) as answer:
                return answer.status, await answer.text()

        with_admin = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        port = with_admin.sockets[0].getsockname()[1]
        with_admin.close()  # a port that is free, and its own in a moment
        policy.write_text(entry("api", upstream.port, "HTTP") + entry("own", port, "HTTP"))
        sidecar = await Sidecar.start(
            *("--name", "a-1", "--policy", str(policy), "--outbound", "127.0.0.1:0"),
            *("--admin", f"127.0.0.1:{port}", "--workers", workers),
        )
        for _ in range(4):
            assert await ask(sidecar.url("outbound", "/"), "api.example.com") == (200, "ok")
        status, words = await ask(sidecar.url("outbound", "/snapshot"), "own.example.com")
        assert status == 503
        assert "is the mesh's own" in words
        _, text = await ask(sidecar.url("admin", "/clusters"), "")
        assert f"api.example.com::127.0.0.1:{upstream.port}::health_flags::healthy" in text
        _, text = await ask(sidecar.url("admin", "/config_dump"), "")
        assert json.loads(text)["policy"]["routes"]["hosts_outside"] == ["api.example.com", "own.example.com"]
        assert await sidecar.stop() == 0
