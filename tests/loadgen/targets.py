"""A small HTTP server for the generator's tests, which behaves well or badly on request."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


class TargetServer:
    """Answers `answer` to every request; `mode` may be answer, hang, reset, close or half.

    While the loop's time is below `frozen_until`, answers wait for it, as those of a stopped process do.
    `arrivals` are the loop times of requests, `heads` their bytes, `connections` how many were accepted.
    """

    def __init__(self) -> None:
        self.answer = OK
        self.mode = "answer"
        self.frozen_until = 0.0
        self.arrivals: list[float] = []
        self.heads: list[bytes] = []
        self.connections = 0
        self.open: set[_Peer] = set()
        self.url = ""


class _Peer(asyncio.Protocol):
    def __init__(self, server: TargetServer) -> None:
        self._server = server
        self._seen = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._server.connections += 1
        self._server.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.open.discard(self)

    def data_received(self, data: bytes) -> None:
        self._seen += data
        while b"\r\n\r\n" in self._seen:
            head, _, self._seen = self._seen.partition(b"\r\n\r\n")
            loop = asyncio.get_running_loop()
            self._server.arrivals.append(loop.time())
            self._server.heads.append(head)
            wait = self._server.frozen_until - loop.time()
            if wait > 0:
                loop.call_later(wait, self._answer)
            else:
                self._answer()

    def _answer(self) -> None:
        match self._server.mode:
            case "answer":
                self.transport.write(self._server.answer)
            case "close":
                self.transport.close()
            case "half":
                self.transport.write(self._server.answer[:-2])
                self.transport.close()
            case "reset":
                sock = self.transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.transport.abort()


@asynccontextmanager
async def target_server() -> AsyncIterator[TargetServer]:
    """A running server on a free port of 127.0.0.1; `url` says where."""
    target = TargetServer()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Peer(target), "127.0.0.1", 0, backlog=1024)
    target.url = "http://{}:{}/".format(*server.sockets[0].getsockname()[:2])
    try:
        yield target
    finally:
        server.close()
        for peer in list(target.open):
            peer.transport.abort()
        await server.wait_closed()


def closed_url() -> str:
    """An address on this machine that refuses connections."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return "http://{}:{}/".format(*sock.getsockname())
