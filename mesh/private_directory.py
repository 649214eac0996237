"""A directory that is ours alone, and the files in it: what others could have put there is not believed.

It says which processes are killed, whom the command talks to and where is written. So its owner must be who
runs the command, nobody else may write in it, and nothing is reached through a link, neither the directory
nor a file in it. A repository or an archive can bring such links along, owned by whoever unpacked it.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mesh.errors import StateRefused

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
# Of the supervisor and all that it starts of ours: what they write is for nobody else.
UMASK = 0o077

_OTHERS = 0o077
_OTHERS_WRITE = 0o022

# What opening a link (O_NOFOLLOW), a pipe that nobody reads, a socket or a folder says.
_NO_FILE = frozenset({errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EOPNOTSUPP, errno.EISDIR})


class PrivateDirectory:
    """An open directory that was found to be ours alone; its files are named by one word, not by a path."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd

    def open(self, name: str, flags: int) -> int:
        """A descriptor of a file; StateRefused when it is not ours alone, OSError as `os.open`."""
        return open_private(name, flags, dir_fd=self.fd, shown=self.path / name)

    def read(self, name: str, limit: int) -> bytes | None:
        """The file, or `limit` + 1 bytes of one that is longer; None when there is none."""
        try:
            fd = self.open(name, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as file:
            return file.read(limit + 1)

    def create(self, name: str, data: bytes) -> None:
        """Write a new file; FileExistsError when the name is taken, be it by a link to nowhere."""
        with os.fdopen(self.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            file.write(data)

    def replace(self, name: str, data: bytes) -> None:
        """Write a file in one step: a reader sees the old one or the new one."""
        fresh = f"{name}.new"
        self.remove(fresh)
        self.create(fresh, data)
        self.rename(fresh, name)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, instead of whatever has it."""
        try:
            os.replace(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except IsADirectoryError:
            raise StateRefused(f"{self.path / new} is a folder: remove it") from None

    def remove(self, name: str) -> None:
        """Remove a file, or a link and not what it leads to; there need not be one."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            pass
        except (IsADirectoryError, PermissionError):  # macOS says the second of a folder
            raise StateRefused(f"{self.path / name} is a folder: remove it") from None

    def size(self, name: str) -> int:
        """Of a file, in bytes."""
        return os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_size

    def files(self) -> list[str]:
        """The names of what is in it and no directory, links too."""
        with os.scandir(self.fd) as entries:
            return [entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)]


@contextmanager
def private_directory(
    path: Path, inside: PrivateDirectory | None = None, *, make: bool = False
) -> Iterator[PrivateDirectory]:
    """Open `path`, or with `inside` the directory of its name there; `make` it when there is none.

    One that is ours but readable by others, of an earlier version, is closed to them. Raises StateRefused for
    one that others may have written in, FileNotFoundError when there is none.
    """
    name, dir_fd = (str(path), None) if inside is None else (path.name, inside.fd)
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, DIRECTORY_MODE, dir_fd=dir_fd)
    found = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode):
        what = "a link" if stat.S_ISLNK(found.st_mode) else "no folder"
        raise StateRefused(
            f"{path} is {what}: remove it (the state of a mesh is kept in a folder of its own)"
        )
    _check_owner(found, path)  # before the open: one that we may not read is not ours either
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        _close_to_others(fd, path)
        yield PrivateDirectory(path, fd)
    finally:
        os.close(fd)


def open_private(
    name: str | Path, flags: int, *, dir_fd: int | None = None, shown: Path | None = None
) -> int:
    """`os.open` of an ordinary file that is ours and has this one name; a new one is for nobody else to read.

    Raises StateRefused for a link, a pipe, somebody else's file, and one that has another name elsewhere.
    """
    path = shown or name
    try:
        # a pipe would wait for its other end
        careful = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(name, flags & ~os.O_TRUNC | careful, FILE_MODE, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise StateRefused(f"{path} is a link or no file: remove it") from None
        raise
    try:
        found = os.fstat(fd)
        _check_owner(found, path)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise StateRefused(f"{path} is no file, or has another name elsewhere too: remove it")
        os.set_blocking(fd, True)
        if flags & os.O_TRUNC:  # only now: a file that is refused is left as it is
            os.ftruncate(fd, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_owner(found: os.stat_result, path: Path | str) -> None:
    if found.st_uid != os.geteuid():
        raise StateRefused(
            f"{path} belongs to {_user(found.st_uid)}, not to you: nothing in it is believed "
            "(move it away, or work in another folder)"
        )


def _close_to_others(fd: int, path: Path) -> None:
    found = os.fstat(fd)
    _check_owner(found, path)
    if found.st_mode & _OTHERS_WRITE:
        raise StateRefused(
            f"others may write in {path} (mode {stat.S_IMODE(found.st_mode):04o}): nothing in it is believed "
            "(remove it, or if all in it is yours: chmod 700)"
        )
    if found.st_mode & _OTHERS:
        os.fchmod(fd, DIRECTORY_MODE)


def _user(uid: int) -> str:
    import pwd

    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"
