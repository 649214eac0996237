"""Whether an app is stopped, by what the system says of the processes that listen at its port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sidecar import app_process
from sidecar.app_process import AppProcess

PROC = Path("/proc")
needs_proc = pytest.mark.skipif(not (PROC / "net" / "tcp").exists(), reason="/proc is Linux'")

LISTEN = (
    "import os, socket, sys\n"
    "s = socket.create_server(('127.0.0.1', 0))\n"
    "child = os.fork() if sys.argv[1] == 'two' else 1\n"
    "print(s.getsockname()[1], os.getpid(), flush=True) if child else None\n"
    "s.accept()\n"
)


@contextmanager
def app(processes: str) -> Iterator[tuple[int, list[int]]]:
    """A program that listens, alone or with a child that inherits the socket: (its port, its pids)."""
    process = subprocess.Popen(
        [sys.executable, "-c", LISTEN, processes], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        port, pid = map(int, process.stdout.readline().split())
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        yield port, [pid, *map(int, children)]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


@needs_proc
def test_a_stopped_process_is_seen_and_so_is_its_return() -> None:
    with app("one") as (port, [pid]):
        looked_at = AppProcess(port)
        assert not looked_at.stopped()
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
        assert looked_at.stopped()
        os.kill(pid, signal.SIGCONT)
        os.waitid(os.P_PID, pid, os.WCONTINUED | os.WNOWAIT)
        assert not looked_at.stopped()


@needs_proc
def test_one_of_two_that_runs_is_enough() -> None:
    """A master and its worker share the socket."""
    with app("two") as (port, pids):
        assert len(pids) == 2
        looked_at = AppProcess(port)
        os.kill(pids[0], signal.SIGSTOP)
        os.waitid(os.P_PID, pids[0], os.WSTOPPED | os.WNOWAIT)
        assert not looked_at.stopped()


@needs_proc
def test_who_took_its_place_is_looked_for(tmp_path: Path) -> None:
    """A restarted app has another pid, and a pid that is used anew belongs to somebody else."""
    with app("one") as (port, [pid]):
        looked_at = AppProcess(port)
        looked_at._found = {pid: "another start", 2**22 + 1: "1"}
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
        assert looked_at.stopped()
        assert list(looked_at._found) == [pid]


@needs_proc
def test_who_cannot_be_seen_is_not_called_stopped() -> None:
    """Nobody listens there; a client's connection from that port is no listener."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        assert not AppProcess(client.getsockname()[1]).stopped()


def test_elsewhere_lsof_and_ps_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, where there is no /proc."""
    commands = []
    answers = {"lsof": ["12", "13"], "ps": ["T+", "T"]}

    def lines(*command: str) -> list[str]:
        commands.append(command)
        return answers[command[0]]

    monkeypatch.setattr(app_process, "_lines", lines)
    looked_at = AppProcess(9000, tmp_path)
    assert looked_at.stopped()
    assert commands == [
        ("lsof", "-nP", "-t", "-iTCP:9000", "-sTCP:LISTEN"),
        ("ps", "-o", "stat=", "-p", "12,13"),
    ]
    answers["ps"] = ["T+", "S"]
    assert not looked_at.stopped()
    answers["lsof"] = []
    assert not looked_at.stopped()


def test_a_program_that_is_not_there_says_nothing() -> None:
    assert app_process._lines("no-such-program-at-all") == []
    assert app_process._lines("sh", "-c", "echo one; echo two") == ["one", "two"]
