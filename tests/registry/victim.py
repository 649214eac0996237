"""A registry made to be killed: its own process, a journal that is replaced by snapshots all the time."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import uvloop

from registry.journal import Journal, journal
from registry.server import Options, Server

SNAPSHOT_BYTES = 20_000
"""Some fifty writes: most kills then fall into, or right after, the making of a snapshot."""


def serve(directory: str, port: int) -> None:
    """Serve until killed."""
    journal.FSYNC_EVERY = 0.002
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(Path(directory), port))


async def _serve(directory: Path, port: int) -> None:
    kept = Journal(directory, snapshot_bytes=SNAPSHOT_BYTES)
    options = Options(port=port, node="testnode")
    server = Server(options, journal=kept, clock=time.monotonic, rng=random.Random())  # noqa: TID251
    async with server.running():
        await asyncio.Event().wait()
