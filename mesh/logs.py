"""Reads the parts' logs: the last lines, the lines that come, and the one that says why a start failed.

A log is several files, the newest without a number (`log_rotation.py`); to a reader they are one.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mesh.errors import NotRunning, UsageError
from mesh.log_rotation import FRESH, older_names
from mesh.state import ACCESS, StateDirectory
from mesh.words import unknown_name

_LOG = re.compile(r"([a-z0-9-]+)\.([a-z]+)\.log")  # instance, part; nothing else is printed as a name

# From the end backwards, until enough lines are found or this much was read: the ten thousand lines that can
# be asked for, at 400 bytes. One line may be longer than that: then its end is what there is.
BLOCK_BYTES = 64 * 1024
MAX_TAIL_BYTES = 16 * 1024 * 1024


def tail(path: Path, lines: int, errors: str = "replace") -> list[str]:
    """The last `lines` lines; none when there is no such file. `errors`: what is done with bytes that are no
    text, as `bytes.decode` has it.
    """
    blocks: list[bytes] = []  # the last first
    found = size = 0
    for file in (path, *older(path)):
        for block in _backwards(file):
            if found > lines or size >= MAX_TAIL_BYTES:
                break
            blocks.append(block)
            found += block.count(b"\n")
            size += len(block)
    words = lines_of(b"".join(reversed(blocks)), errors)
    return words[-lines:] if lines else []


def older(path: Path) -> list[Path]:
    """Where what was in a log before is, the newest first."""
    return [path.with_name(name) for name in older_names(path.name)]


def _backwards(path: Path) -> Iterator[bytes]:
    fd = _open(path)
    if fd is None:
        return
    with os.fdopen(fd, "rb") as file:
        start = file.seek(0, os.SEEK_END)
        while start > 0:
            end, start = start, max(0, start - BLOCK_BYTES)
            file.seek(start)
            yield file.read(end - start)


def _open(path: Path) -> int | None:
    try:
        # a link leads out of the folder, and a pipe would be waited for
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None


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
    with contextlib.suppress(FileNotFoundError), state.open_logs() as logs:
        for file in sorted(logs.files()):
            name = _LOG.fullmatch(file)
            if name is not None and name[2] != ACCESS:
                found.setdefault(name[1], {})[name[2]] = state.logs / file
    if not found:
        raise NotRunning("no mesh has run here: there are no logs")
    if instance not in found:
        raise unknown_name("instance", instance, found)
    files = found[instance]
    if part is not None and part not in files:
        raise UsageError(f"{instance} has no {part} (it has only its {' and '.join(files)})")
    return files if part is None else {part: files[part]}


class Follower:
    """Gives the whole lines that were appended to a log since the last look, through rotations too;
    `errors` as for `tail`.
    """

    def __init__(self, path: Path, errors: str = "replace") -> None:
        self._path = path
        self._errors = errors
        self._before = older(path)[0]
        self._rotated = _inode(self._before)
        self._offset = _size(path)
        self._half = b""  # the beginning of a line

    def lines(self) -> Iterator[str]:
        """What is new; a file that became shorter was emptied, and is read from its beginning."""
        data = self._half
        if self._was_rotated():
            self._rotated = _inode(self._before)
            data += self._read(self._before)
            self._offset = 0
        elif _size(self._path) < self._offset:
            if self._path.with_name(self._path.name + FRESH).exists() or self._was_rotated():
                return  # just now: what is missing stands in its older file at the next look
            self._offset = 0
            data = b""
        data += self._read(self._path)
        # a line without end is given in pieces, or nothing behind it would ever be
        whole = data.rfind(b"\n") + 1 or (len(data) if len(data) >= MAX_TAIL_BYTES else 0)
        self._half = data[whole:]
        yield from lines_of(data[:whole], self._errors)

    def _was_rotated(self) -> bool:
        now = _inode(self._before)
        return now is not None and now != self._rotated

    def _read(self, path: Path) -> bytes:
        fd = _open(path)
        if fd is None:
            return b""
        with os.fdopen(fd, "rb") as file:
            # of one that grew too fast only the end was kept
            file.seek(self._offset if self._offset <= os.fstat(fd).st_size else 0)
            data = file.read(MAX_TAIL_BYTES)
            self._offset = file.tell()
        return data


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
