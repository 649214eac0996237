"""A transport that writes down what a protocol does to it."""

from __future__ import annotations

import asyncio
from typing import Any


class FakeTransport(asyncio.Transport):
    """`sent` has all bytes written; the rest are states. A closed one raises on a write, as uvloop's does.

    Args:
        capacity: bytes that the peer takes before writing blocks; None = any number.
    """

    def __init__(self, peer: str = "10.0.0.1", capacity: int | None = None) -> None:
        super().__init__({"peername": (peer, 12345)})
        self.sent = b""
        self.reading = True
        self.eof = False
        self.closed = False
        self.aborted = False
        self.limits: tuple[int | None, int | None] = (None, None)
        self.capacity = capacity
        self.unsent = 0
        self.blocked = False
        self.protocol: asyncio.Protocol | None = None

    def connect(self, protocol: asyncio.Protocol) -> None:
        """Attach and tell the protocol."""
        self.protocol = protocol
        protocol.connection_made(self)

    # -- what the test does as the peer ------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Bytes come in; a transport that is paused has none."""
        assert self.reading, "reading is paused"
        assert self.protocol is not None
        self.protocol.data_received(data)

    def end(self) -> None:
        """The peer sends the end of its stream."""
        assert self.protocol is not None
        if not self.protocol.eof_received():
            self.close()

    def lose(self, error: Exception | None = None) -> None:
        """The connection is gone."""
        self.closed = True
        assert self.protocol is not None
        self.protocol.connection_lost(error)

    def take(self) -> bytes:
        """What was sent since the last time; the peer read it, so writing goes on."""
        sent, self.sent = self.sent, b""
        self.unsent = 0
        if self.blocked:
            self.blocked = False
            assert self.protocol is not None
            self.protocol.resume_writing()
        return sent

    # -- asyncio.Transport -------------------------------------------------------------------------

    def write(self, data: Any) -> None:
        if self.closed:
            raise RuntimeError("write to a closed transport")
        assert not self.eof, "write after write_eof"
        self.sent += bytes(data)
        if self.capacity is not None:
            self.unsent += len(data)
            if self.unsent > self.capacity and not self.blocked:
                self.blocked = True
                assert self.protocol is not None
                self.protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        if self.closed:
            raise RuntimeError("write_eof on a closed transport")
        self.eof = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_reading(self) -> bool:
        return self.reading

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = high, low

    def get_write_buffer_size(self) -> int:
        return self.unsent
