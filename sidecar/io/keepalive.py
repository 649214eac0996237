"""TCP's own probes of a silent connection, as a document asks for them (`tcpKeepalive`)."""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol

# What macOS calls the idle time before the first probe.
_IDLE = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", 0))


class KeepAlive(Protocol):
    """Seconds and a number; 0 = as the system has it."""

    @property
    def probes(self) -> int:
        """Without an answer, before the connection is taken for dead."""

    @property
    def time_s(self) -> int:
        """Of silence before the first."""

    @property
    def interval_s(self) -> int:
        """Between them."""


def keep_alive(transport: asyncio.BaseTransport, wanted: KeepAlive) -> None:
    """Switch the probes on for a connection."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPCNT, wanted.probes),
        (_IDLE, wanted.time_s),
        (socket.TCP_KEEPINTVL, wanted.interval_s),
    ):
        if value:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
