"""A registry for tests: the embedded server in this process on a free port, stopped when the block ends."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from registry.server import Options, Server
from registry.store import Store

real_clock = time.monotonic  # noqa: TID251 - sockets live in real time


@asynccontextmanager
async def running_registry(
    *,
    port: int = 0,
    token: str = "",
    node: str = "testnode",
    store: Store | None = None,
    clock: Callable[[], float] = real_clock,
) -> AsyncIterator[Server]:
    """`async with running_registry() as registry:` then `registry.address` is HOST:PORT.

    The same `port` again is the same registry come back; without its `store` it comes back empty.
    """
    options = Options(port=port, token=token, node=node)
    async with Server(options, store=store, clock=clock, rng=random.Random(7)).running() as server:
        yield server
