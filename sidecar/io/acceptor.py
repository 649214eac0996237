"""A listening socket and the connections that came by it, whatever they speak."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar

# For who is cut to take what it is told.
LAST_WORD_S = 0.1


class Cuttable(Protocol):
    """A client connection."""

    def cut(self) -> None:
        """End it now; whatever is under way gives back what it holds."""


C = TypeVar("C", bound=Cuttable)


class Acceptor(ABC, Generic[C]):
    """Accepts connections and owns them until they are closed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._connections: set[C] = set()
        self._server: asyncio.Server | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    @abstractmethod
    def _protocol(self) -> asyncio.Protocol:
        """What serves a new connection."""

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def open(self, host: str, port: int, *, reuse_port: bool = False) -> str:
        """Listen; returns the bound address as HOST:PORT.

        Raises:
            OSError: when the address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._protocol, host, port, backlog=1024, reuse_port=reuse_port or None
        )
        bound = self._server.sockets[0].getsockname()
        return f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"

    def stop_accepting(self) -> None:
        """Close the listening socket; open connections go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def drained(self, grace_s: float) -> tuple[int, int]:
        """Wait for open connections to end; returns (how many ended by themselves, how many were cut)."""
        before = len(self._connections)
        await self._emptied(grace_s)
        cut = list(self._connections)
        for connection in cut:
            connection.cut()
        await self._emptied(LAST_WORD_S)
        return before - len(cut), len(cut)

    async def _emptied(self, within_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._empty.wait()

    def _add(self, connection: C) -> None:
        self._connections.add(connection)
        self._empty.clear()

    def _remove(self, connection: C) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()
