"""The files under `.mesh/`: who runs the mesh, where its control API is, which processes it has, their logs.

`lock`           held (flock) by the supervisor for as long as it lives; the kernel lets go of it on any death
`mesh.json`      the supervisor, the fork server, the control URL and the processes as of the last change
`processes`      one line a process, written by the fork server at the moment of the fork, so that not even
                 the death of both leaves a process that the next `up` or `down` does not know
`topology.yaml`  what runs, as a topology file: a copy of the one that was asked for, and every change since
`token`          of the control API, for nobody else to read (`mesh.tokens`)
`logs/`          `<instance>.<part>.log`, kept after the mesh is down, emptied by the next `up`
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from mesh.errors import AlreadyRunning, NotRunning
from mesh.identity import identity, same_process

STATE_DIRECTORY = ".mesh"

# The "part" of a sidecar's access log, which is one JSON object a line and not what a process said.
ACCESS = "access"


@dataclass(frozen=True, slots=True)
class Leader:
    """A process that leads its own group, as the journal knows it."""

    pid: int
    start: str
    name: str

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return same_process(self.pid, self.start)


class StateDirectory:
    """The paths under `.mesh/` and what they hold; makes nothing until something is written."""

    def __init__(self, beside: Path) -> None:
        self.path = beside / STATE_DIRECTORY
        self.lock_path = self.path / "lock"
        self.mesh_path = self.path / "mesh.json"
        self.journal_path = self.path / "processes"
        self.topology_path = self.path / "topology.yaml"
        self.token_path = self.path / "token"
        self.logs = self.path / "logs"

    def create(self) -> None:
        """Make the directories; `.gitignore` inside keeps state out of anybody's repository."""
        self.logs.mkdir(parents=True, exist_ok=True)
        ignore = self.path / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")

    def log_path(self, instance: str, part: str) -> Path:
        """Where a part's output goes."""
        return self.logs / f"{instance}.{part}.log"

    def access_log_path(self, instance: str) -> Path:
        """Where a sidecar's access log goes."""
        return self.log_path(instance, ACCESS)

    def clear_logs(self, keep: Iterable[Path] = ()) -> None:
        """Remove the logs of the last mesh, but not `keep`."""
        with contextlib.suppress(FileNotFoundError):
            for file in self.logs.iterdir():
                if file not in keep:
                    file.unlink(missing_ok=True)

    def write_mesh(self, document: dict[str, Any]) -> None:
        """Replace mesh.json in one step: a reader sees the old one or the new one."""
        fresh = self.mesh_path.with_suffix(".new")
        fresh.write_text(json.dumps(document, indent=1) + "\n")
        fresh.replace(self.mesh_path)

    def write_topology(self, text: str) -> None:
        """Replace topology.yaml in one step."""
        fresh = self.topology_path.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self.topology_path)

    def read_mesh(self) -> dict[str, Any] | None:
        """What the last supervisor wrote, or None; it may be dead (see `running_mesh`)."""
        try:
            document = json.loads(self.mesh_path.read_text())
        except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
            return None
        return document if isinstance(document, dict) else None

    def running_mesh(self) -> dict[str, Any]:
        """mesh.json of a supervisor that is alive; raises NotRunning."""
        document = self.read_mesh()
        if document is None or not leader(document, "supervisor").alive():
            raise NotRunning("no mesh is running here (start one with: mesh up)")
        return document

    def journal(self) -> Iterator[Leader]:
        """Every process that was started since the last clean end, dead ones too; skips a torn last line."""
        try:
            lines = self.journal_path.read_text().splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return
        for line in lines:
            pid, start, name = [*line.split("\t"), "", "", ""][:3]
            if pid.isdigit() and start:
                yield Leader(int(pid), start, name)

    def forget(self) -> None:
        """Remove what only a running mesh has."""
        self.mesh_path.unlink(missing_ok=True)
        self.journal_path.unlink(missing_ok=True)
        self.topology_path.unlink(missing_ok=True)
        self.token_path.unlink(missing_ok=True)

    def remove_if_unused(self) -> None:
        """Remove the directory again when it holds no words: nothing was started, nothing is left."""
        with contextlib.suppress(OSError):
            for file in self.logs.iterdir():
                if file.stat().st_size == 0:
                    file.unlink()
            self.logs.rmdir()
            (self.path / ".gitignore").unlink(missing_ok=True)
            self.path.rmdir()


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
            self._file = self._path.open("a")
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
        self._file = fresh.open("w")
        self._lines = 0
        for entry in living:
            self._write(entry)
        fresh.replace(self._path)

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
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
    if not isinstance(entry, dict):
        return Leader(0, "", name)
    return Leader(int(entry.get("pid", 0)), str(entry.get("start", "")), name)


def describe(pid: int) -> dict[str, Any]:
    """What `leader` reads back."""
    return {"pid": pid, "start": identity(pid) or ""}
