"""Flow control's constants and the one way to write."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import struct

# uvloop's own low-water mark is 16 bytes (a missing factor of 1024), which makes every drained byte
# a resume; these give one pause and one resume for every 48 KiB.
HIGH_WATER = 64 * 1024
LOW_WATER = 16 * 1024

# Below this, one joined buffer is cheaper than a vectored write.
JOIN_BELOW = 64 * 1024


class Hold(enum.IntFlag):
    """Why reading is paused; it goes on when no reason is left. Separate booleans end in stuck reads."""

    NONE = 0
    SLOW_PEER = 1  # the other side cannot take more
    PIPELINED = 2  # a further request waits for the current one


def write_all(transport: asyncio.Transport | None, pieces: list[bytes]) -> None:
    """Send all pieces in one system call where that is possible.

    uvloop raises when a closed transport is written to, stock asyncio does not; here both do nothing,
    for the loss is told by `connection_lost`.
    """
    if transport is None or transport.is_closing():
        return
    if len(pieces) == 1:
        transport.write(pieces[0])
    elif sum(map(len, pieces)) < JOIN_BELOW:
        transport.write(b"".join(pieces))
    else:
        transport.writelines(pieces)


def end_writing(transport: asyncio.Transport | None) -> None:
    """Send the end of the stream after what was written; nothing happens on a connection that is gone."""
    if transport is not None and not transport.is_closing():
        transport.write_eof()


_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def reset(transport: asyncio.Transport | None) -> None:
    """Cut with RST: `abort` alone sends FIN, after which a body until close or a tunnel would look whole."""
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):  # it is gone already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
