"""JSON objects, one a line, both ways between the manager and a worker; each sees at once if the other dies.

manager -> {"config": TEXT}                              first of all, see `work.py`
        -> {"ask": 7, "what": "metrics"}                 or snapshot, config, explain, ready
        -> {"do": "drain"} {"do": "level", "value": 10}
        -> {"news": NEWS}                                see `breakers.py`
worker  -> {"ready": {"outbound": "127.0.0.1:15001"}}    or  {"refused": WORDS}: it cannot work so
        -> {"answer": 7, "what": "metrics", "value": …}
        -> {"event": {…}, "news": NEWS|null}
        -> {"counts": {"metrics": …, "snapshot": …}}     its last words
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

# The metrics of some thousand endpoints are a few megabytes.
LINE_BYTES = 64 * 1024 * 1024
# For a reader that stands still: more than this is not kept for it, and each question has a time limit.
BACKLOG_BYTES = 1024 * 1024

# For the last words to be read.
CLOSE_S = 1.0


class Channel:
    """One end of the socket pair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Channel:
        """Take a socket over; it is closed with the channel."""
        return cls(*await asyncio.open_unix_connection(sock=end, limit=LINE_BYTES))

    def send(self, message: dict[str, Any]) -> bool:
        """Queue a message; False if the other end has not read for long, or is gone."""
        transport = self._writer.transport
        if transport.is_closing() or transport.get_write_buffer_size() > BACKLOG_BYTES:
            return False
        self._writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        return True

    async def receive(self) -> dict[str, Any] | None:
        """The next message, None when the other end is gone."""
        try:
            line = await self._reader.readline()
        except (OSError, ValueError):  # ValueError: a line beyond LINE_BYTES
            return None
        if not line.endswith(b"\n"):
            return None
        message: dict[str, Any] = json.loads(line)
        return message

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """All messages until the other end is gone."""
        while (message := await self.receive()) is not None:
            yield message

    async def close(self) -> None:
        """Send what is queued, and end."""
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):  # it went first, or stands still
            async with asyncio.timeout(CLOSE_S):
                await self._writer.wait_closed()
