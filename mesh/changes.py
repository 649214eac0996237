"""Tells whoever waits that something about the mesh has changed."""

import asyncio
from collections.abc import Callable


class Changes:
    """`notify` wakes every waiter; each looks for itself whether what it waits for has come."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Something changed."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_for(self, condition: Callable[[], object], seconds: float | None) -> bool:
        """Wait until `condition()` holds; False when it still does not after `seconds` (None: no limit)."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._next()
        except TimeoutError:
            return bool(condition())
        return True

    async def _next(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
