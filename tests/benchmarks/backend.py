"""The upstream of the benchmarks: as little work as Python can do for an answer.

`python -m tests.benchmarks.backend PORT… [--bytes N]`
"""

from __future__ import annotations

import argparse
import asyncio
import re
from typing import Any

import uvloop

LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class Static(asyncio.Protocol):
    """Answers each request head with the same bytes; reads a body of known length away."""

    answer = b""

    def __init__(self) -> None:
        self.missing = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.missing:
            self.missing -= len(data)
            if self.missing <= 0:
                self.missing = 0
                self.transport.write(self.answer)
            return
        heads = data.count(b"\r\n\r\n")
        length = LENGTH.search(data) if heads == 1 and data.startswith(b"P") else None
        if length is not None:
            self.missing = int(length.group(1)) - (len(data) - data.index(b"\r\n\r\n") - 4)
            if self.missing > 0:
                return
            self.missing = 0
        self.transport.write(self.answer * heads)


async def serve(ports: list[int], size: int) -> None:
    Static.answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (
        size,
        b"x" * size,
    )
    loop = asyncio.get_running_loop()
    for port in ports:
        await loop.create_server(Static, "127.0.0.1", port, backlog=1024)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int, nargs="+")
    parser.add_argument("--bytes", type=int, default=128)
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.bytes))
