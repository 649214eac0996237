"""Whether the app's processes are stopped (SIGSTOP): who listens at its port, and in which state they are.

Linux tells both in /proc; elsewhere `lsof` and `ps` do. What cannot be seen (in a container of its own, of
another user, without those programs) is not called stopped.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_LISTENS: Final = "0A"  # TCP_LISTEN in /proc/net/tcp
_STOPPED: Final = frozenset("Tt")  # by a signal, by a debugger
_COMMAND_S: Final = 2.0


class AppProcess:
    """`stopped` blocks for some milliseconds when it has to look for the processes: ask it off the loop."""

    def __init__(self, port: int, proc: Path = Path("/proc")) -> None:
        self._port = port
        self._proc = proc
        self._found: dict[int, str] = {}  # pid -> its start, lest a number that is used anew misleads us

    def stopped(self) -> bool:
        """Every process that listens there is."""
        if not (self._proc / "net" / "tcp").exists():
            return _stopped_by_commands(self._port)
        states = self._states()
        if states is None:
            self._found = {pid: seen[1] for pid in self._listeners() if (seen := self._stat(pid)) is not None}
            states = self._states()
        return states is not None and _STOPPED.issuperset(states)

    def _states(self) -> list[str] | None:
        """Of the processes that were found before; None when one of them is gone, or none was found."""
        states = []
        for pid, start in self._found.items():
            seen = self._stat(pid)
            if seen is None or seen[1] != start:
                return None
            states.append(seen[0])
        return states or None

    def _stat(self, pid: int) -> tuple[str, str] | None:
        """(state, start time), of proc(5)'s third and twenty-second field; a name may hold spaces and `)`."""
        try:
            fields = (self._proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return (fields[0], fields[19]) if len(fields) > 19 else None

    def _listeners(self) -> Iterator[int]:
        sockets = {f"socket:[{inode}]" for inode in self._inodes()}
        if not sockets:
            return
        for entry in self._proc.iterdir():
            if entry.name.isdigit() and any(link in sockets for link in _links(entry / "fd")):
                yield int(entry.name)

    def _inodes(self) -> Iterator[str]:
        for name in ("tcp", "tcp6"):
            try:
                lines = (self._proc / "net" / name).read_text().splitlines()[1:]
            except OSError:
                continue
            for line in lines:
                fields = line.split()
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == self._port:
                    yield fields[9]


def _links(directory: Path) -> Iterator[str]:
    try:
        names = os.listdir(directory)
    except OSError:  # it is another user's, or has just ended
        return
    for name in names:
        try:
            yield os.readlink(directory / name)
        except OSError:
            continue


def _stopped_by_commands(port: int) -> bool:
    pids = _lines("lsof", "-nP", "-t", f"-iTCP:{port}", "-sTCP:LISTEN")
    states = _lines("ps", "-o", "stat=", "-p", ",".join(pids)) if pids else []
    return bool(states) and all(state.strip()[:1] in _STOPPED for state in states)


def _lines(*command: str) -> list[str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.split("\n")[:-1]
