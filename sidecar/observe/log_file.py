"""A file that lines are appended to, kept at a stated size: ten megabytes in each of three files.

What is too long becomes `NAME.1`, what that was `NAME.2`. Several processes (the workers of one sidecar) may
append to the same file: one of them moves it, the others see that the name leads elsewhere and follow. So it
may also be moved by somebody else, such as logrotate.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
from itertools import pairwise
from pathlib import Path

log = logging.getLogger("sidecar.log_file")

LOG_BYTES = 10_000_000
LOG_FILES = 3  # the one that is written, and two before it


class LogFile:
    """`write` appends whole lines at once; a disk that takes none costs the lines, not the sidecar.

    What is no ordinary file (a pipe, a terminal, a link such as /dev/stdout) is written and never moved.

    Raises:
        OSError: when it cannot be opened.
    """

    def __init__(self, path: Path, limit: int = LOG_BYTES) -> None:
        self._path = path
        self._limit = limit
        self._said = ""
        self._fd = self._open()
        self._moves = stat.S_ISREG(path.lstat().st_mode)

    def write(self, data: bytes) -> None:
        """Append; how long the file is, and where the name leads, is looked up once a batch."""
        try:
            if self._moves:
                self._make_room(len(data))
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            if str(error) != self._said:
                log.warning("%s: lines are lost: %s", self._path, error)
            self._said = str(error)

    def close(self) -> None:
        """No more lines."""
        os.close(self._fd)

    def _open(self) -> int:
        # its mode is the user's choice, by umask
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)

    def _make_room(self, size: int) -> None:
        if not self._leads_here():
            self._reopen()
        length = os.fstat(self._fd).st_size
        if not length or length + size <= self._limit:
            return
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another process is just doing it
        try:
            if self._leads_here():
                self._move()
        except OSError as error:
            # a folder where nothing can be renamed: longer than stated is better than no log
            log.warning("%s grows without end, it cannot be renamed: %s", self._path, error)
            self._moves = False
        self._reopen()

    def _leads_here(self) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        mine = os.fstat(self._fd)
        return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)

    def _move(self) -> None:
        names = [self._path, *(Path(f"{self._path}.{number}") for number in range(1, LOG_FILES))]
        for newer, older in reversed(list(pairwise(names))):
            with contextlib.suppress(FileNotFoundError):
                newer.replace(older)

    def _reopen(self) -> None:
        fresh = self._open()
        os.close(self._fd)
        self._fd = fresh
