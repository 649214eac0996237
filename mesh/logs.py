"""Reads the parts' logs: the last lines, the lines that come, and the one that says why a start failed."""

import os
from collections.abc import Iterator
from pathlib import Path

# From the end backwards, until enough lines are found or this much was read.
BLOCK_BYTES = 64 * 1024
MAX_TAIL_BYTES = 16 * 1024 * 1024


def tail(path: Path, lines: int) -> list[str]:
    """The last `lines` lines; none when there is no such file."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            data = b""
            start = end
            while start > 0 and data.count(b"\n") <= lines and end - start < MAX_TAIL_BYTES:
                start = max(0, start - BLOCK_BYTES)
                file.seek(start)
                data = file.read(end - start)
    except FileNotFoundError:
        return []
    found = data.decode(errors="replace").splitlines()
    return found[-lines:] if lines else []


def last_line(path: Path) -> str:
    """The last line that says something; for a traceback that is the error itself."""
    for line in reversed(tail(path, 20)):
        if line.strip():
            return line.strip()
    return ""


class Follower:
    """Gives the whole lines that were appended to a file since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0

    def lines(self) -> Iterator[str]:
        """What is new; a file that became shorter was emptied, and is read from its beginning."""
        try:
            with self._path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._offset:
                    self._offset = 0
                file.seek(self._offset)
                data = file.read(MAX_TAIL_BYTES)
        except FileNotFoundError:
            return
        whole = data.rfind(b"\n") + 1
        self._offset += whole
        yield from data[:whole].decode(errors="replace").splitlines()
