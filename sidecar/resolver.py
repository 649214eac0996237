"""Names to addresses, off the loop: bounded in number, in time and in what is taken of an answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from .io.pool import Spawn

# libuv has four threads for this, and nobody can tell one to stop: two stay for the registry's own name,
# however long a DNS server is silent.
LOOKUPS = 2
# glibc asks a silent server for 5 s before it asks the next one.
LOOKUP_S = 5.0
# Of one name. More are a mistake, and each would be an endpoint with a breaker and metrics.
ADDRESSES = 16

Lookup: TypeAlias = Callable[[str], Awaitable[list[str]]]


async def system_lookup(name: str) -> list[str]:
    """What the system says (/etc/hosts, DNS), in its order."""
    found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Resolver:
    """Looks names up. A lookup keeps its place until its thread is free, however soon its asker gave up."""

    def __init__(self, spawn: Spawn, lookup: Lookup = system_lookup) -> None:
        self._spawn = spawn
        self._lookup = lookup
        self._room = asyncio.Semaphore(LOOKUPS)

    async def addresses(self, name: str) -> list[str]:
        """Each once.

        Raises:
            OSError: with words, when there is none.
        """
        answer: asyncio.Future[list[str] | OSError] = asyncio.get_running_loop().create_future()
        self._spawn(self._ask(name, answer), f"look up {name}")
        try:
            async with asyncio.timeout(LOOKUP_S):
                found = await answer
        except TimeoutError:
            raise OSError(f"no answer within {LOOKUP_S:g} s") from None
        if isinstance(found, OSError):
            raise found
        if not found:
            raise OSError("has no address")
        return list(dict.fromkeys(found))[:ADDRESSES]

    async def _ask(self, name: str, answer: asyncio.Future[list[str] | OSError]) -> None:
        async with self._room:
            if answer.done():  # its asker gave up while it waited here
                return
            found: list[str] | OSError
            try:
                found = await self._lookup(name)
            except OSError as error:
                found = error
            except UnicodeError:
                found = OSError("is no name that DNS takes")
            if not answer.done():
                answer.set_result(found)
