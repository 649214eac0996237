"""Clients that say half of what they mean, or say it a byte a second; and those who must not notice."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

DRIP_S = 1.0


class Client:
    """One connection. `async with Client(address) as client`."""

    def __init__(self, address: str, says: bytes = b"") -> None:
        host, _, port = address.rpartition(":")
        self.at = host, int(port)
        self.says = says

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(*self.at)
        self.writer.write(self.says)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.transport.abort()

    async def hears(self) -> bytes:
        """Everything until the other side ends the connection, however it does."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    async def answer(self) -> tuple[int, bytes]:
        """The next answer: its status and a body of known length."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return int(head[9:12]), await self.reader.readexactly(int(length or b"0"))

    async def drips(self, piece: bytes) -> bytes:
        """Sends a piece a second until the other side ends it; what it says then."""
        hearing = asyncio.ensure_future(self.hears())
        while not hearing.done():
            self.writer.write(piece)
            await asyncio.wait([hearing], timeout=DRIP_S)
        return await hearing


async def ask(address: str, request: bytes, seconds: float = 15.0) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    async with asyncio.timeout(seconds), Client(address, request) as client:
        return await client.answer()
