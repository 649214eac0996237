"""Work that takes longer than the page and the sidecars' polls may wait: done beside the loop, one at a
time.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from mesh.errors import ActionRefused

WAITING_MAX: Final = 8
"""Pieces of work that wait for the one under way; each may hold a body of 4 MiB and take a second."""

Result = TypeVar("Result")


class OffLoop:
    """One thread, made when it is needed first; what runs in it touches nothing that the loop changes."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "off the loop")
        self._waiting = 0

    async def run(self, work: Callable[[], Result]) -> Result:
        """Its result or its error. Who goes away while it runs leaves it running: then the next one waits."""
        if self._waiting > WAITING_MAX:
            raise ActionRefused("the policies of others are being checked: try again in a moment")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._waiting -= 1
