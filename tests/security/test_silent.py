"""Connections that say nothing, or half of what they mean, end on every listener; those that wait do not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.tokens import Scope
from tests.e2e.real_mesh import real_mesh
from tests.security.clients import Client

pytestmark = pytest.mark.e2e

# A head has ten seconds, and so has a body that is read whole, or that comes at no rate; the rest is for a
# busy machine.
SECONDS = 13.0
# A scripted service waits for a body piece by piece, and knows no rate.
APP_BODY_SECONDS = 34.0

TOPOLOGY = """\
services:
- name: front
  isEntrypoint: true
  latency: 1ms
load: {rate: 5/s}
"""


@pytest.fixture(scope="module")
def listeners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Every listener of a mesh: its kind, its address."""
    directory: Path = tmp_path_factory.mktemp("silent")
    topology = directory / "front.yaml"
    topology.write_text(TOPOLOGY)
    with real_mesh(directory, str(topology)) as mesh:
        status = mesh.status()
        ports = mesh.instance("front-1")["ports"]
        urls = {
            "entrypoint": status["entrypoint"],
            "control": status["control"],
            "registry": status["registry"],
            "loadgen": status["load"]["url"],
        }
        found = {name: url.removeprefix("http://") for name, url in urls.items()}
        found |= {name: f"127.0.0.1:{ports[name]}" for name in ("app", "inbound", "outbound", "admin")}
        yield found | {"token": mesh.tokens.of(Scope.CONTROL)}


def target(name: str) -> bytes:
    """A method and a path whose handler reads a body."""
    return {
        "control": b"PUT /api/load",
        "registry": b"PUT /v1/kv/half",
        "loadgen": b"PUT /rate",
        "admin": b"POST /logging?level=info",
    }.get(name, b"POST /")


def half_sent(name: str, address: str) -> dict[str, bytes]:
    """What is begun and never ended."""
    host = b"Host: front" if name in ("app", "inbound", "outbound") else f"Host: {address}".encode()
    head = target(name) + b" HTTP/1.1\r\n" + host + b"\r\n"
    return {
        "nothing": b"",
        "a byte": b"P",
        "half a head": head + b"X-Half: ",
        "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "half a body": head + b'Content-Length: 20\r\n\r\n{"rate',
        "half the head of a chunk": head + b"Transfer-Encoding: chunked\r\n\r\n5",
        "half a chunk": head + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    }


async def ends(address: str, says: bytes, seconds: float) -> bool:
    """Whether the other side ends the connection in time."""
    async with Client(address, says) as client:
        try:
            await asyncio.wait_for(client.hears(), seconds)
        except TimeoutError:
            return False
    return True


async def test_every_listener_ends_what_is_never_said(listeners: dict[str, str]) -> None:
    """All kinds on all listeners at once; each by itself would take as long."""
    assert len(listeners) == 9
    assert all(listeners.values()), listeners
    waits = {}
    async with asyncio.TaskGroup() as tasks:
        for name in listeners.keys() - {"token"}:
            address = listeners[name]
            for kind, says in half_sent(name, address).items():
                slow = name == "app" and kind.endswith(("body", "chunk"))
                limit = APP_BODY_SECONDS if slow else SECONDS
                waits[f"{name}: {kind}"] = tasks.create_task(ends(address, says, limit))
    still_open = [what for what, wait in waits.items() if not wait.result()]
    assert not still_open, "\n".join(still_open)


async def test_who_waits_or_rests_is_left_alone(listeners: dict[str, str]) -> None:
    """A blocking query, server-sent events, and connections that idle between two requests."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_blocks(listeners["registry"]))
        tasks.create_task(_streams(listeners["admin"], b"/events"))
        token = listeners["token"]
        tasks.create_task(_streams(listeners["control"], b"/api/stream", token))
        for name, path in (
            *(("control", b"/api/status"), ("registry", b"/v1/status/leader"), ("loadgen", b"/status")),
            *(("admin", b"/ready"), ("app", b"/health"), ("inbound", b"/"), ("entrypoint", b"/")),
        ):
            tasks.create_task(_rests(name, listeners[name], path, token if name == "control" else ""))


def get(address: str, path: bytes, token: str = "") -> bytes:
    bearer = b"Authorization: Bearer %b\r\n" % token.encode() if token else b""
    return b"GET %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (path, address.encode(), bearer)


async def _blocks(address: str) -> None:
    loop = asyncio.get_running_loop()
    async with Client(address, get(address, b"/v1/kv/nobody")) as client:
        head = await client.reader.readuntil(b"\r\n\r\n")
        index = head.lower().partition(b"x-consul-index: ")[2].partition(b"\r\n")[0]
        began = loop.time()
        client.writer.write(get(address, b"/v1/kv/nobody?index=%b&wait=%ds" % (index, SECONDS + 2)))
        assert (await asyncio.wait_for(client.answer(), 30))[0] == 404
        assert loop.time() - began > SECONDS


async def _streams(address: str, path: bytes, token: str = "") -> None:
    async with Client(address, get(address, path, token)) as client:
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        hearing = asyncio.ensure_future(client.hears())
        await asyncio.wait([hearing], timeout=SECONDS + 2)
        assert not hearing.done(), "the stream ended"
        hearing.cancel()


async def _rests(name: str, address: str, path: bytes, token: str) -> None:
    async with Client(address, get(address, path, token)) as client:
        for pause in (SECONDS + 2, 0.0):
            assert (await asyncio.wait_for(client.answer(), 5))[0] == 200, name
            await asyncio.sleep(pause)
            if pause:
                client.writer.write(get(address, path, token))
