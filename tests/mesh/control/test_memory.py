"""What all requests together take: bodies and unread answers have a bound, and who reads is answered."""

import asyncio
import io
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mesh.control.memory import LARGE_BYTES, MAX_BODIES_BYTES, MAX_UNREAD_BYTES, bounded

MAX_BODY = MAX_BODIES_BYTES // 4
LARGE = MAX_UNREAD_BYTES // 4


@dataclass
class Served:
    """A server whose handlers wait until they are let go."""

    session: aiohttp.ClientSession
    host: str = ""
    port: int = 0
    held: int = 0
    all_held: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.held += 1
        if self.held == 4:
            self.all_held.set()
        await self.let_go.wait()
        return web.Response(text=str(len(body)))

    async def give(self, request: web.Request) -> web.Response:
        return web.Response(body=b"x" * (LARGE if request.path == "/large" else LARGE_BYTES))

    async def post(self, body: bytes | AsyncIterator[bytes]) -> tuple[int, str]:
        data = io.BytesIO(body) if isinstance(body, bytes) else body
        async with self.session.post(f"http://{self.host}:{self.port}/", data=data) as answer:
            return answer.status, answer.headers.get("Retry-After", "")

    async def get(self, path: str) -> int:
        async with self.session.get(f"http://{self.host}:{self.port}{path}") as answer:
            await answer.read()
            return answer.status


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with aiohttp.ClientSession() as session:
        mine = Served(session)
        app = web.Application(middlewares=[bounded(MAX_BODY)], client_max_size=MAX_BODY)
        app.router.add_post("/", mine.take)
        app.router.add_get("/{any:.*}", mine.give)
        async with TestServer(app) as server:
            mine.host, mine.port = server.host, server.port or 0
            yield mine


async def unknown_length() -> AsyncIterator[bytes]:
    yield b"x"


async def test_bodies_are_bounded_together(served: Served) -> None:
    """What would be too much is refused at once, with when to come again, and taken when there is room."""
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        held = [tasks.create_task(served.post(b"x" * MAX_BODY)) for _ in range(4)]
        await served.all_held.wait()
        assert await served.post(b"one more") == (503, "1")
        assert await served.post(unknown_length()) == (503, "1")
        assert await served.get("/") == 200, "who sends no body is not concerned"
        served.let_go.set()
        assert [(await each)[0] for each in held] == [200] * 4
        assert (await served.post(b"x" * MAX_BODY))[0] == 200
        assert (await served.post(unknown_length()))[0] == 200


async def test_a_body_of_unknown_length_counts_as_the_longest(served: Served) -> None:
    """Else who does not say it could send any number of them."""
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        held = [tasks.create_task(served.post(unknown_length())) for _ in range(4)]
        await served.all_held.wait()
        assert (await served.post(b"one more"))[0] == 503
        served.let_go.set()
        assert [(await each)[0] for each in held] == [200] * 4


async def test_answers_that_nobody_reads_are_bounded_together(served: Served) -> None:
    """Clients that ask and do not read cost others the large answers only, and those only while they stay."""
    clients = []
    for _ in range(12):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((served.host, served.port))
        client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        clients.append(client)
        assert await served.get("/small") == 200  # and by then the server has seen the one before
    assert await served.get("/large") == 503
    assert await served.get("/small") == 200
    for client in clients:
        client.close()
    async with asyncio.timeout(10):
        while await served.get("/large") != 200:
            assert await served.get("/small") == 200
