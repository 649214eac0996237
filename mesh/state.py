"""The files under `.mesh/`: who runs the mesh, where its control API is, which processes it has, their logs.

`lock`           held (flock) by the supervisor for as long as it lives; the kernel lets go of it on any death
`mesh.json`      the supervisor, the fork server, the control URL and the processes as of the last change
`processes`      one line a process, written by the fork server at the moment of the fork, so that not even
                 the death of both leaves a process that the next `up` or `down` does not know
`topology.yaml`  what runs, as a topology file: a copy of the one that was asked for, and every change since
`token`          of the control API, for nobody else to read (`mesh.tokens`)
`logs/`          `<instance>.<part>.log`, kept after the mesh is down, emptied by the next `up`

All of it is for its owner alone, and believed only when it is (`private_directory.py`). What it says of a
process counts once the process itself shows that it belongs here (`proof.py`).
"""

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from mesh.errors import AlreadyRunning, NotRunning, StateRefused
from mesh.identity import identity, same_process
from mesh.private_directory import PrivateDirectory, open_private, private_directory
from mesh.proof import holds, marked

STATE_DIRECTORY = ".mesh"

# The "part" of a sidecar's access log, which is one JSON object a line and not what a process said.
ACCESS = "access"

# The part of the supervisor and the fork server in the names of their logs.
PROCESS = "process"
SUPERVISOR, FORK_SERVER = "supervisor", "forkserver"

# Far above what is ever written: mesh.json has 80 bytes a process, the journal at most 2,000 lines.
MESH_BYTES = 4 * 1024 * 1024
JOURNAL_BYTES = 1024 * 1024

# A start is clock ticks or, elsewhere, a date; a name is that of a log.
_RECORD = re.compile(rb"([1-9][0-9]{0,9})\t([ -~]{0,64})\t([a-z0-9][a-z0-9.-]{0,199})")
LARGEST_PID = 2**31 - 1

# All that a supervisor ever writes; the command talks to nobody else.
_CONTROL = re.compile(r"http://127\.0\.0\.1:[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True)
class Leader:
    """A process that leads its own group, as the journal knows it."""

    pid: int
    start: str
    name: str

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return same_process(self.pid, self.start)


@dataclass(frozen=True, slots=True)
class Records:
    """What a journal says: the processes, and the numbers of the lines that are no records of ours."""

    leaders: list[Leader]
    bad: list[int]


class StateDirectory:
    """The paths under `.mesh/` and what they hold; makes nothing until something is written.

    Every method that reads or writes raises StateRefused when the directory is not ours alone.
    """

    def __init__(self, beside: Path) -> None:
        self.path = beside / STATE_DIRECTORY
        self.lock_path = self.path / "lock"
        self.mesh_path = self.path / "mesh.json"
        self.journal_path = self.path / "processes"
        self.topology_path = self.path / "topology.yaml"
        self.token_path = self.path / "token"
        self.logs = self.path / "logs"

    @property
    def mark(self) -> str:
        """What the processes of this directory have in their environment (see `proof.py`)."""
        return str(self.path)

    def create(self) -> None:
        """Make the directories; `.gitignore` inside keeps state out of anybody's repository."""
        with private_directory(self.path, make=True) as here:
            with private_directory(self.logs, here, make=True):
                pass
            with contextlib.suppress(FileExistsError):
                here.create(".gitignore", b"*\n")

    def log_path(self, instance: str, part: str) -> Path:
        """Where a part's output goes."""
        return self.logs / f"{instance}.{part}.log"

    def access_log_path(self, instance: str) -> Path:
        """Where a sidecar's access log goes."""
        return self.log_path(instance, ACCESS)

    @contextlib.contextmanager
    def open_logs(self) -> Iterator[PrivateDirectory]:
        """The folder of the logs; FileNotFoundError when there is none."""
        with private_directory(self.path) as here, private_directory(self.logs, here) as logs:
            yield logs

    def clear_logs(self, keep: Iterable[Path] = ()) -> None:
        """Remove the logs of the last mesh, but not `keep`."""
        kept = {path.name for path in keep}
        with contextlib.suppress(FileNotFoundError), self.open_logs() as logs:
            for name in logs.files():
                if name not in kept:
                    logs.remove(name)

    def write_mesh(self, document: dict[str, Any]) -> None:
        """Replace mesh.json in one step: a reader sees the old one or the new one."""
        with private_directory(self.path) as here:
            here.replace(self.mesh_path.name, json.dumps(document, indent=1).encode() + b"\n")

    def write_topology(self, text: str) -> None:
        """Replace topology.yaml in one step."""
        with private_directory(self.path) as here:
            here.replace(self.topology_path.name, text.encode())

    def read_mesh(self) -> dict[str, Any] | None:
        """What the last supervisor wrote, or None; it may be dead (see `running_mesh`)."""
        data = self._read(self.mesh_path, MESH_BYTES) or b""
        if len(data) > MESH_BYTES:
            return None
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            return None
        return document if isinstance(document, dict) else None

    def running_mesh(self) -> dict[str, Any]:
        """mesh.json of a supervisor that is alive; raises NotRunning."""
        document = self.read_mesh()
        if document is None or not self.leads(leader(document, SUPERVISOR)):
            raise NotRunning("no mesh is running here (start one with: mesh up)")
        if not _CONTROL.fullmatch(str(document.get("control"))):
            raise StateRefused(f"{self.mesh_path} names no control API of this machine: remove it")
        return document

    def leads(self, supervisor: Leader) -> bool:
        """Whether this very process runs the mesh of this directory: only a supervisor has the lock open."""
        return supervisor.alive() and holds(supervisor.pid, self.lock_path)

    def started(self, process: Leader) -> bool:
        """Whether this very process runs, and shows that a mesh of this directory started it."""
        return process.alive() and (
            marked(process.pid, self.mark) or holds(process.pid, self.logs / f"{process.name}.log")
        )

    def journal(self) -> list[Leader]:
        """Every process that was started since the last clean end, dead ones too."""
        return self.records().leaders

    def records(self) -> "Records":
        """The journal with the numbers of its lines that are none; a torn last line is not counted as one."""
        found = Records([], [])
        data = self._read(self.journal_path, JOURNAL_BYTES) or b""
        *lines, _ = data[:JOURNAL_BYTES].split(b"\n")
        for number, line in enumerate(lines, 1):
            words = _RECORD.fullmatch(line)
            if words is None or not 1 < int(words[1]) <= LARGEST_PID:
                found.bad.append(number)
            elif words[2]:  # one that was gone before its start could be read needs no killing
                found.leaders.append(Leader(int(words[1]), words[2].decode(), words[3].decode()))
        if len(data) > JOURNAL_BYTES:
            found.bad.append(len(lines) + 1)
        return found

    def forget(self) -> None:
        """Remove what only a running mesh has."""
        with contextlib.suppress(FileNotFoundError), private_directory(self.path) as here:
            for path in (self.mesh_path, self.journal_path, self.topology_path, self.token_path):
                here.remove(path.name)

    def remove_if_unused(self) -> None:
        """Remove the directory again when it holds no words: nothing was started, nothing is left."""
        with contextlib.suppress(OSError, StateRefused):
            with self.open_logs() as logs:
                for name in logs.files():
                    if logs.size(name) == 0:
                        logs.remove(name)
            self.logs.rmdir()
            (self.path / ".gitignore").unlink(missing_ok=True)
            self.path.rmdir()

    def _read(self, path: Path, limit: int) -> bytes | None:
        try:
            with private_directory(self.path) as here:
                return here.read(path.name, limit)
        except FileNotFoundError:
            return None


class Journal:
    """The fork server's append-only record of its children; rewritten when mostly dead lines are in it."""

    REWRITE_AT_LINES = 2000  # ~60 bytes a line: a replica that crashes for a day stays under 150 kB

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None
        self._lines = 0

    def add(self, entry: Leader, living: Iterable[Leader]) -> None:
        """Record a child, in the page cache before the call returns: it outlives SIGKILL of the writer."""
        if self._file is None:
            self._file = self._open(self._path)
        if self._lines >= self.REWRITE_AT_LINES:
            self._rewrite(living)
        self._write(entry)

    def close(self) -> None:
        """Close the file; the next `add` opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _rewrite(self, living: Iterable[Leader]) -> None:
        self.close()
        fresh = self._path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        self._file = self._open(fresh)
        self._lines = 0
        for entry in living:
            self._write(entry)
        fresh.replace(self._path)

    @staticmethod
    def _open(path: Path) -> TextIO:
        return os.fdopen(open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "a")

    def _write(self, entry: Leader) -> None:
        assert self._file is not None
        self._file.write(f"{entry.pid}\t{entry.start}\t{entry.name}\n")
        self._file.flush()
        self._lines += 1


class Lock:
    """The right to run a mesh in a directory, as an flock that the kernel drops with its holder.

    The file is removed on release, so that a stopped mesh leaves none behind; an acquirer that got hold
    of a removed file sees that the path no longer leads to it, and tries again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock at once or raise AlreadyRunning."""
        while self._fd is None:
            # not inherited by exec; a forked child must close it (`abandon`), or it would hold it on
            fd = open_private(self._path, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                raise AlreadyRunning(
                    "a mesh is already running here (see it with: mesh status; stop it with: mesh down)"
                ) from None
            if self._is_current(fd):
                self._fd = fd
            else:
                os.close(fd)

    def release(self) -> None:
        """Remove the file and let go; harmless when the lock is not held."""
        if self._fd is not None:
            self._path.unlink(missing_ok=True)
            self.abandon()

    def abandon(self) -> None:
        """Close this process's handle without removing the file: another process holds the lock on."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _is_current(self, fd: int) -> bool:
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return False
        mine = os.fstat(fd)
        return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


def leader(document: dict[str, Any], name: str) -> Leader:
    """The process that mesh.json describes under `name` as {pid, start}, or one that never was."""
    entry = document.get(name)
    pid, start = (entry.get("pid"), entry.get("start")) if isinstance(entry, dict) else (None, None)
    if type(pid) is not int or not 1 < pid <= LARGEST_PID or not isinstance(start, str):
        return Leader(0, "", name)
    return Leader(pid, start, name)


def describe(pid: int) -> dict[str, Any]:
    """What `leader` reads back."""
    return {"pid": pid, "start": identity(pid) or ""}
