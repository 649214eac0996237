"""One JSON line for each exchange, written in batches so that a request costs no system call."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

# A second's lines at most, or this many bytes, are lost if the process is killed.
FLUSH_BYTES = 64 * 1024
FLUSH_S = 1.0


class AccessLog:
    """Buffers lines; `flush` is called by the owner each second and at the end.

    Args:
        target: a file's path, or `-` for standard error.
        wall_clock: seconds since the epoch, for the time stamps.
    """

    def __init__(self, target: str, wall_clock: Callable[[], float]) -> None:
        self._file: IO[str] = sys.stderr if target == "-" else Path(target).open("a", encoding="utf-8")
        self._wall_clock = wall_clock
        self._lines: list[str] = []
        self._size = 0

    def write(self, fields: dict[str, object]) -> None:
        """Queue one line; `fields` must be ready for JSON."""
        line = (
            json.dumps({"start_time": round(self._wall_clock(), 6), **fields}, separators=(",", ":")) + "\n"
        )
        self._lines.append(line)
        self._size += len(line)
        if self._size > FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._lines:
            self._file.write("".join(self._lines))
            self._file.flush()
            self._lines.clear()
            self._size = 0

    def close(self) -> None:
        self.flush()
        if self._file is not sys.stderr:
            self._file.close()
