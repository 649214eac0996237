"""The files of a data directory are ordinary ones, for nobody else to read, and never reached through a link.

A link that somebody put there would have another file read as a journal, or cut off as a damaged one.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

STATE_DIRECTORY: Final = ".mesh"
"""Where the registry keeps its data unless told otherwise. A folder of that name may have come with a
repository or be somebody else's, so it is used only when it is ours; another one is the user's own choice."""

_DIRECTORY_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_OTHERS: Final = 0o077
_OTHERS_WRITE: Final = 0o022


class NotOurs(OSError):
    """A folder or file that is not used, with the reason."""


def make_directory(directory: Path) -> None:
    """Make the data directory unless it is there; OSError when it cannot be used."""
    ours = directory.parent.name == STATE_DIRECTORY
    if ours:
        _make_ours(directory.parent)
        _make_ours(directory)
    else:
        directory.mkdir(_DIRECTORY_MODE, parents=True, exist_ok=True)


def open_file(path: Path, flags: int) -> int:
    """`os.open` of an ordinary file that has this one name; a new one is for nobody else to read."""
    if path.is_symlink():  # said in words; what decides is the open itself
        raise NotOurs(f"{path} is a link: remove it")
    # a pipe would wait for its other end
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, _FILE_MODE)
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(fd)
        raise NotOurs(f"{path} is no file, or has another name elsewhere too: remove it")
    return fd


def read_file(path: Path) -> bytes:
    """The whole of it."""
    with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
        return file.read()


def write_new(path: Path, data: bytes) -> None:
    """Write a file anew, whatever had its name."""
    path.unlink(missing_ok=True)
    with os.fdopen(open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
        file.write(data)


def _make_ours(path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        path.mkdir(_DIRECTORY_MODE)
    if path.is_symlink():
        raise NotOurs(f"{path} is a link: remove it")
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if found.st_uid != os.geteuid() or found.st_mode & _OTHERS_WRITE:
            raise NotOurs(f"{path} is not yours, or others may write in it: move it away, or use --data")
        if found.st_mode & _OTHERS:
            os.fchmod(fd, _DIRECTORY_MODE)
    finally:
        os.close(fd)
