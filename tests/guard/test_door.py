"""The door before an aiohttp server, on real sockets: who comes in, who is sent away, and when."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from guard.door import MAX_HEAD_BYTES, Door

REQUEST = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class House:
    """A server that answers with its request's body; `/slow` answers when the test says so."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.door: Door
        self.at: tuple[str, int]
        self.pairs: list[Pair] = []

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/slow":
            await self.go_on.wait()
        return web.Response(text=f"{request.path} {(await request.read()).decode()}")

    async def visit(self, says: bytes = b"") -> Pair:
        pair = await asyncio.open_connection(*self.at)
        self.pairs.append(pair)
        pair[1].write(says)
        return pair


@asynccontextmanager
async def house(most: int = 10, head_s: float = 0.2, idle_s: float = 75.0) -> AsyncIterator[House]:
    house = House()
    runner = web.ServerRunner(
        web.Server(house.answer, access_log=None, keepalive_timeout=idle_s), shutdown_timeout=0.1
    )
    await runner.setup()
    house.door = Door(runner.server, most, head_s)
    house.at = await house.door.open("127.0.0.1", 0)
    try:
        async with asyncio.timeout(10):
            yield house
    finally:
        house.door.close()
        await runner.cleanup()
        for _, writer in house.pairs:
            writer.transport.abort()


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What comes until the end, however that comes."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return await reader.readexactly(length)


@pytest.mark.parametrize("cuts", [[], [5], [len(REQUEST) - 1], list(range(1, len(REQUEST)))])
async def test_a_head_comes_in_however_it_is_cut(cuts: list[int]) -> None:
    """And everything after it; the connection serves as many requests as its client likes."""
    async with house() as at_home:
        reader, writer = await at_home.visit()
        for begin, end in zip([0, *cuts], [*cuts, len(REQUEST)], strict=True):
            writer.write(REQUEST[begin:end])
            await asyncio.sleep(0.001)
        assert await answer(reader) == b"/a "
        writer.write(b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi" + REQUEST)
        assert await answer(reader) == b"/b hi"
        assert await answer(reader) == b"/a "
        assert not at_home.door.visitors


@pytest.mark.parametrize("says", [b"", b"GET / HTTP/1.1\r\nHost:", b"\x16\x03\x01\x02\x00\x01"])
async def test_who_sends_no_head_is_sent_away(says: bytes) -> None:
    """Silence, half a head, or another protocol; a byte now and then buys no time."""
    async with house() as at_home:
        reader, writer = await at_home.visit(says)
        for _ in range(3):
            await asyncio.sleep(0.03)
            if says:
                writer.write(b"x")
        heard = await rest(reader)
        assert heard[:13] == (b"HTTP/1.1 408 " if says else b"")
        assert not at_home.door.visitors


async def test_who_has_said_what_it_wants_may_wait_and_rest() -> None:
    """A long answer, and a pause between two requests, are longer than a head may take."""
    async with house(head_s=0.05) as at_home:
        reader, writer = await at_home.visit(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.2)
        at_home.go_on.set()
        assert await answer(reader) == b"/slow "
        await asyncio.sleep(0.2)
        writer.write(REQUEST)
        assert await answer(reader) == b"/a "


async def test_half_a_further_head_ends_with_the_idle_time() -> None:
    """aiohttp's own time, from the last answer on."""
    async with house(idle_s=0.2) as at_home:
        reader, writer = await at_home.visit(REQUEST)
        await answer(reader)
        writer.write(REQUEST[:9])
        assert await rest(reader) == b""


async def test_no_more_than_so_many_come_in() -> None:
    """Those who wait at the door count with those who are inside; who leaves makes room."""
    async with house(most=2, head_s=5.0) as at_home:
        inside, _ = await at_home.visit(REQUEST)
        await answer(inside)
        _, silent = await at_home.visit()
        refused, _ = await at_home.visit(REQUEST)
        assert await rest(refused) == b""
        silent.close()
        while at_home.door.visitors:  # noqa: ASYNC110 - the loop tells nobody
            await asyncio.sleep(0.01)
        again, _ = await at_home.visit(REQUEST)
        assert await answer(again) == b"/a "


async def test_half_of_the_descriptors_stay_for_the_program() -> None:
    """Whatever number was asked for."""
    async with house(most=10**9) as at_home:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert soft == hard, "it is raised as far as that goes"
        assert at_home.door.most == soft // 2


async def test_an_endless_head_is_aiohttps_to_refuse() -> None:
    """It is not collected here without end."""
    async with house(head_s=5.0) as at_home:
        reader, _ = await at_home.visit(b"GET /" + b"a" * MAX_HEAD_BYTES)
        assert (await rest(reader)).startswith(b"HTTP/1.0 400 ")


async def test_to_close_sends_away_who_waits() -> None:
    """Nothing is left of them."""
    async with house(head_s=5.0) as at_home:
        reader, _ = await at_home.visit(b"GET")
        while not at_home.door.visitors:  # noqa: ASYNC110 - the loop tells nobody
            await asyncio.sleep(0.01)
        at_home.door.close()
        assert await rest(reader) == b""
        assert not at_home.door.visitors
