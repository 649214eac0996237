"""A backend that does what a script says, byte by byte, on a real socket."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Gone(Exception):
    """The client closed the connection."""


class Peer:
    """One accepted connection, for the script."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number
        """Counts the upstream's connections from 1."""
        self.heads: list[bytes] = []

    async def head(self) -> bytes:
        """The next request's head.

        Raises:
            Gone: when there is none.
        """
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Gone from error
        self.heads.append(head)
        return head

    async def request(self) -> tuple[bytes, bytes]:
        """The next request's head and body (of known length or chunked)."""
        head = await self.head()
        low = head.lower()
        if b"transfer-encoding: chunked" in low:
            return head, await self.chunks()
        for line in low.split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return head, await self.exactly(int(line[15:]))
        return head, b""

    async def chunks(self) -> bytes:
        """A chunked body, put together."""
        body = b""
        while True:
            try:
                line = await self.reader.readuntil(b"\r\n")
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise Gone from error
            size = int(line, 16)
            piece = await self.exactly(size + 2)
            if not size:
                return body
            body += piece[:-2]

    async def exactly(self, count: int) -> bytes:
        try:
            return await self.reader.readexactly(count)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Gone from error

    async def gone(self) -> None:
        """Wait until the client has closed or reset the connection."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass

    def send(self, data: bytes) -> None:
        if self.writer.is_closing():  # uvloop would raise a RuntimeError
            raise Gone
        self.writer.write(data)

    async def drain(self) -> None:
        try:
            await self.writer.drain()
        except ConnectionError as error:
            raise Gone from error

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Close with RST."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport = self.writer.transport
        transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class ScriptedUpstream:
    """`async with ScriptedUpstream(script) as upstream:`; the script runs once for each connection.

    A connection is closed when its script ends. `heads` has every request head that came, in order.
    """

    def __init__(self, script: Script, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self.host = host
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.peers: list[Peer] = []
        self.errors: list[BaseException] = []

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def heads(self) -> list[bytes]:
        return [head for peer in self.peers for head in peer.heads]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for peer in self.peers:
            peer.writer.transport.abort()
        if error is None and self.errors:
            raise self.errors[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = Peer(reader, writer, len(self.peers) + 1)
        self.peers.append(peer)
        try:
            await self._script(peer)
        except (Gone, asyncio.CancelledError):
            pass
        except BaseException as failure:
            self.errors.append(failure)
        finally:
            self._tasks.discard(task)
            writer.close()


def replies(*answers: bytes) -> Script:
    """Answer each request, whatever it is, with the next of these; the last one again and again."""
    left = list(answers)

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            peer.send(left.pop(0) if len(left) > 1 else left[0])
            await peer.drain()

    return script
