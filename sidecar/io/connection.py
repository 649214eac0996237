"""What the connections to clients and to backends have in common: a transport, and the way to write to it."""

from __future__ import annotations

import asyncio
from typing import cast

from .flow import HIGH_WATER, LOW_WATER
from .outbox import Outbox


class Connection(asyncio.Protocol):
    """A protocol that writes by the outbox of its loop; none of its methods raises, gone or not.

    With a `read_raw` it is one side of a tunnel (`tunnel.RawPeer`).
    """

    __slots__ = ("outbox", "transport")

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast(asyncio.Transport, transport)  # uvloop's is one by shape only
        transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)

    def end_of(self, name: str) -> tuple[str, int] | None:
        """(host, port) of our end (`sockname`) or the other one (`peername`)."""
        found = None if self.transport is None else self.transport.get_extra_info(name)
        return (found[0], found[1]) if isinstance(found, tuple) else None

    def write(self, pieces: list[bytes]) -> None:
        """Send; nothing happens on a connection that is gone, for its loss is told separately."""
        self.outbox.write(self.transport, pieces)

    def write_raw(self, data: bytes) -> None:
        self.outbox.write(self.transport, [data])

    def end_raw(self) -> None:
        """Send the end of the stream; the other direction goes on."""
        self.outbox.end(self.transport)

    def close_raw(self) -> None:
        """Close, after what was written has gone out."""
        self.outbox.close(self.transport)

    def abort_raw(self) -> None:
        """Cut: the other side must see that what it got is not whole."""
        self.outbox.reset(self.transport)
