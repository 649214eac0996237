"""Reads the parts' logs: the last lines, the lines that come, and the one that says why a start failed."""

import os
from collections.abc import Iterator
from pathlib import Path

from mesh.errors import NotRunning, UsageError
from mesh.state import ACCESS, StateDirectory
from mesh.words import unknown_name

# From the end backwards, until enough lines are found or this much was read: the ten thousand lines that can
# be asked for, at 400 bytes. One line may be longer than that: then its end is what there is.
BLOCK_BYTES = 64 * 1024
MAX_TAIL_BYTES = 4 * 1024 * 1024


def tail(path: Path, lines: int, errors: str = "replace") -> list[str]:
    """The last `lines` lines; none when there is no such file. `errors`: what is done with bytes that are no
    text, as `bytes.decode` has it.
    """
    blocks: list[bytes] = []
    try:
        with path.open("rb") as file:
            end = start = file.seek(0, os.SEEK_END)
            ends = 0
            while start > 0 and ends <= lines and end - start < MAX_TAIL_BYTES:
                before, start = start, max(0, start - BLOCK_BYTES)
                file.seek(start)
                blocks.append(file.read(before - start))
                ends += blocks[-1].count(b"\n")
    except FileNotFoundError:
        return []
    found = lines_of(b"".join(reversed(blocks)), errors)
    return found[-lines:] if lines else []


def lines_of(data: bytes, errors: str = "replace") -> list[str]:
    """Its lines. Only \\n ends one: what else `str.splitlines` takes for an end is somebody's text."""
    found = data.decode(errors=errors).split("\n")
    return found if found[-1] else found[:-1]


def last_line(path: Path) -> str:
    """The last line that says something; for a traceback that is the error itself, in a group of them too."""
    for line in reversed(tail(path, 20)):
        words = line.strip(" |+-")  # what stands around the errors of an ExceptionGroup
        if words:
            return words
    return ""


def log_files(state: StateDirectory, instance: str, part: str | None) -> dict[str, Path]:
    """Part -> file of an instance; raises UnknownName with the one that was perhaps meant."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(state.logs.glob("*.*.log")):
        name, of_part, _ = path.name.rsplit(".", 2)
        if of_part != ACCESS:
            found.setdefault(name, {})[of_part] = path
    if not found:
        raise NotRunning("no mesh has run here: there are no logs")
    if instance not in found:
        raise unknown_name("instance", instance, found)
    files = found[instance]
    if part is not None and part not in files:
        raise UsageError(f"{instance} has no {part} (it has only its {' and '.join(files)})")
    return files if part is None else {part: files[part]}


class Follower:
    """Gives the whole lines that were appended to a file since the last look; `errors` as for `tail`."""

    def __init__(self, path: Path, errors: str = "replace") -> None:
        self._path = path
        self._errors = errors
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
        # a line without end is given in pieces, or nothing behind it would ever be
        whole = data.rfind(b"\n") + 1 or (len(data) if len(data) == MAX_TAIL_BYTES else 0)
        self._offset += whole
        yield from lines_of(data[:whole], self._errors)
