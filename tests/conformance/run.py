"""One row through one proxy, and what came of it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from .backend import Backend, Seen
from .rows import ROWS, Row

SURPLUS_S = 0.1  # when all expected answers are here: for more than was asked for
LIMIT_S = 3.0  # for an answer that does not come


@dataclass
class Response:
    """A response as a client that knows its request would read it."""

    status: int
    head: bytes
    body: bytes
    complete: bool


@dataclass
class Result:
    """What a client and the backend saw."""

    raw: bytes
    responses: list[Response]
    interim: list[int]
    closed: bool
    reset: bool
    seen: Seen
    tunnel: bytes = b""

    @property
    def status(self) -> int:
        return self.responses[0].status if self.responses else 0


def read_responses(raw: bytes, methods: list[bytes], closed: bool) -> tuple[list[Response], list[int], bytes]:
    """(final responses, interim statuses, bytes behind a 101)."""
    found: list[Response] = []
    interim: list[int] = []
    while raw:
        head, mark, rest = raw.partition(b"\r\n\r\n")
        match = re.match(rb"HTTP/1\.[01] (\d{3})", head)
        if match is None or not mark:
            break
        status = int(match.group(1))
        low = head.lower()
        if status == 101:
            found.append(Response(101, head, b"", True))
            return found, interim, rest
        if status < 200:
            interim.append(status)
            raw = rest
            continue
        method = methods[len(found)] if len(found) < len(methods) else b"GET"
        complete = True
        length = re.search(rb"\r\ncontent-length: *(\d+)", low)
        if method == b"HEAD" or status in (204, 304):
            body, raw = b"", rest
        elif b"transfer-encoding: chunked" in low:
            body, raw, complete = read_chunks(rest)
        elif length is not None:
            size = int(length.group(1))
            body, raw, complete = rest[:size], rest[size:], len(rest) >= size
        else:
            body, raw, complete = rest, b"", closed
        found.append(Response(status, head, body, complete))
        if not complete:
            break
    return found, interim, b""


def read_chunks(raw: bytes) -> tuple[bytes, bytes, bool]:
    """(body, what is behind it, whether it is complete)."""
    body = b""
    while True:
        line, mark, rest = raw.partition(b"\r\n")
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError:
            return body, b"", False
        if not mark:
            return body, b"", False
        if size == 0:
            while True:  # trailers
                line, mark, rest = rest.partition(b"\r\n")
                if not mark:
                    return body, b"", False
                if not line:
                    return body, rest, True
        body += rest[:size]
        if len(rest) < size + 2:
            return body, b"", False
        raw = rest[size + 2 :]


async def run_row(row: Row, backend: Backend, host: str, port: int) -> Result:
    """Send the row's bytes on a connection of its own and read until the end, or until it is quiet."""
    reader, writer = await asyncio.open_connection(host, port)
    raw = b""
    closed = reset = False
    loop = asyncio.get_running_loop()
    end = loop.time() + LIMIT_S
    try:
        pieces = [row.raw] if isinstance(row.raw, bytes) else list(row.raw)
        writer.write(pieces.pop(0))
        while not closed and loop.time() < end:
            found, interim, _ = read_responses(raw, row.methods, False)
            done = not pieces and len(found) >= len(row.methods) and all(one.complete for one in found)
            if found and found[-1].status == 101:
                done = done and raw.endswith(b"HELLO")
            try:
                data = await asyncio.wait_for(reader.read(65536), SURPLUS_S if done else LIMIT_S)
            except TimeoutError:
                break
            closed = not data
            raw += data
            if pieces and not closed:
                writer.write(pieces.pop(0))
    except ConnectionError:
        closed = reset = True
    writer.transport.abort()
    found, interim, tunnel = read_responses(raw, row.methods, closed and not reset)
    return Result(raw, found, interim, closed, reset, backend.seen.get(row.number, Seen()), tunnel)


async def run_all(backend: Backend, host: str, port: int, at_once: int = 8) -> dict[int, str]:
    """The verdict of each row: `` = right, else a few words of what happened instead."""
    backend.seen.clear()
    places = asyncio.Semaphore(at_once)
    verdicts: dict[int, str] = {}

    async def one(row: Row) -> None:
        async with places:
            try:
                result = await run_row(row, backend, host, port)
            except OSError as error:
                verdicts[row.number] = f"no connection: {error}"
                return
        await asyncio.sleep(0.02)  # what was passed on may still be on its way to the backend
        result.seen = backend.seen.get(row.number, Seen())
        verdicts[row.number] = row.judge(result)

    await asyncio.gather(*(one(row) for row in ROWS))
    return verdicts
