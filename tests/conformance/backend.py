"""The server behind each proxy: notes what reaches it for each row, and answers as the row says."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass, field

ROW = re.compile(rb"/r(\d+)(-[a-z0-9-]*)?")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Seen:
    """What reached the backend for one row."""

    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    raw: bytes = b""
    hidden: bool = False
    """A request that was hidden in another one's bytes came out as a request."""


@dataclass
class Reply:
    """Bytes to answer with; then maybe the end."""

    data: bytes = OK
    close: bool = False
    reset: bool = False
    before_body: bool = False
    tunnel: bool = False


class Backend:
    """Serves any number of connections; `replies` by row number."""

    def __init__(self, replies: dict[int, Reply]) -> None:
        self._replies = replies
        self._server: asyncio.Server | None = None
        self.seen: dict[int, Seen] = {}
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()  # takes the reset that ended it, or asyncio would complain

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        found = ROW.search(head.split(b"\r\n", 1)[0])
        number = int(found.group(1)) if found else -1
        seen = self.seen.setdefault(number, Seen())
        seen.heads.append(head)
        seen.raw += head
        if b"hidden" in head.split(b"\r\n", 1)[0]:
            seen.hidden = True
        reply = self._replies.get(number, Reply())
        if reply.before_body:
            writer.write(reply.data)
        low = head.lower()
        if b"expect: 100-continue" in low and not reply.before_body:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = b""
        if b"transfer-encoding:" in low:
            body = await self._chunks(reader, seen)
        elif (length := re.search(rb"\r\ncontent-length: *(\d+)", low)) is not None:
            body = await reader.readexactly(int(length.group(1)))
            seen.raw += body
        seen.bodies.append(body)
        if reply.tunnel:
            writer.write(reply.data)
            while data := await reader.read(65536):
                writer.write(data.upper())
            return False
        if not reply.before_body:
            writer.write(reply.data)
        await writer.drain()
        if reply.reset:
            await asyncio.sleep(0.05)
            writer.transport.abort()
            return False
        return not reply.close

    async def _chunks(self, reader: asyncio.StreamReader, seen: Seen) -> bytes:
        body = b""
        while True:
            line = await reader.readuntil(b"\r\n")
            seen.raw += line
            size = int(line.split(b";")[0], 16)
            if size == 0:
                while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
                    seen.raw += line
                seen.raw += line
                return body
            data = await reader.readexactly(size + 2)
            seen.raw += data
            body += data[:-2]
