"""Keeps the logs of the parts at a stated size: ten megabytes in each of three files.

A program writes to the descriptor that it was given, so its file cannot be moved from under it: what it holds
is copied to `NAME.1`, and the file is emptied. Every writer appends, so it goes on at the beginning. What is
written between the end of the copy and the emptying, microseconds, is lost. Access logs are not touched: the
sidecar that writes one moves it by itself.
"""

import asyncio
import contextlib
import logging
import os
from itertools import pairwise

from mesh.errors import MeshError
from mesh.private_directory import PrivateDirectory
from mesh.state import ACCESS, StateDirectory

log = logging.getLogger("mesh.log_rotation")

LOG_BYTES = 10_000_000
LOG_FILES = 3  # the one that is written, and two before it
LOOK_EVERY_S = 1.0

BLOCK_BYTES = 1024 * 1024

FRESH = ".new"  # of a copy that is not whole yet, after the log's own name


def older_names(name: str) -> list[str]:
    """The names of what was in a log before, the newest first."""
    return [f"{name}.{number}" for number in range(1, LOG_FILES)]


class LogRotation:
    """`look` rotates what has become too long, `run` looks again and again."""

    def __init__(self, state: StateDirectory, limit: int = LOG_BYTES) -> None:
        self._state = state
        self._limit = limit
        self._said = ""

    async def run(self) -> None:
        """For ever; a folder that cannot be used is said once, and does not end the mesh."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await asyncio.to_thread(self.look)
            except (OSError, MeshError) as error:
                if str(error) != self._said:
                    log.warning("logs are not rotated: %s", error)
                self._said = str(error)

    def look(self) -> None:
        """Once over all logs."""
        with self._state.open_logs() as logs:
            for name in logs.files():
                part = name.removesuffix(".log").rpartition(".")[2]
                if name.endswith(".log") and part != ACCESS and logs.size(name) > self._limit:
                    self._rotate(logs, name)

    def _rotate(self, logs: PrivateDirectory, name: str) -> None:
        source = logs.open(name, os.O_RDWR)
        try:
            logs.remove(name + FRESH)
            target = logs.open(name + FRESH, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                _copy(source, target, self._limit)
            finally:
                os.close(target)
            # emptied first: a reader that sees the copy in its place knows that the file begins anew
            os.ftruncate(source, 0)
        finally:
            os.close(source)
        for newer, older in reversed(list(pairwise([name + FRESH, *older_names(name)]))):
            with contextlib.suppress(FileNotFoundError):
                logs.rename(newer, older)


def _copy(source: int, target: int, limit: int) -> None:
    """All of it; of one that grew by a whole file since the last look, its last lines, `limit` bytes."""
    size = os.fstat(source).st_size
    at = 0
    if size > 2 * limit:
        at = size - limit
        at += os.pread(source, BLOCK_BYTES, at).find(b"\n") + 1
    end = size + limit  # one that is written faster than it is copied has no end of its own
    while at < end and (block := os.pread(source, BLOCK_BYTES, at)):
        while block:
            written = os.write(target, block)
            at += written
            block = block[written:]
