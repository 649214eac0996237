"""What shows that a process is ours; and that a signal does not reach a later one with its pid."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh import proof
from mesh.identity import identity, signal_checked
from mesh.proof import MARK, holds, marked

SLEEPER = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "a-1.app.log"


@pytest.fixture
def sleeper(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("w") as errors:
        process = subprocess.Popen(
            SLEEPER,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            env={MARK: "/a folder/.mesh"},
        )
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_mark_is_the_whole_value(sleeper: subprocess.Popen[bytes]) -> None:
    """Neither a part of it nor another one; a process that is gone has none."""
    assert marked(sleeper.pid, "/a folder/.mesh")
    assert not marked(sleeper.pid, "/a folder/.mes")
    assert not marked(sleeper.pid, "folder/.mesh")
    assert not marked(sleeper.pid, "/a")
    sleeper.kill()
    sleeper.wait()
    assert not marked(sleeper.pid, "/a folder/.mesh")


def test_a_process_holds_what_it_has_open(sleeper: subprocess.Popen[bytes], log: Path) -> None:
    """The very file, not another of that name, nor one that has a name elsewhere."""
    assert holds(sleeper.pid, log)
    assert not holds(os.getpid(), log)
    assert not holds(sleeper.pid, log.with_name("none"))
    other = log.with_name("other")
    other.hardlink_to(log)
    assert not holds(sleeper.pid, log)
    log.unlink()
    log.write_text("")
    assert not holds(sleeper.pid, log)


@pytest.mark.skipif(shutil.which("lsof") is None, reason="elsewhere than on Linux, lsof says it")
def test_lsof_says_the_same(
    sleeper: subprocess.Popen[bytes], log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS, which has no /proc."""
    monkeypatch.setattr(proof.sys, "platform", "darwin")
    assert holds(sleeper.pid, log)
    assert not holds(os.getpid(), log)


def test_a_signal_is_sent_only_when_the_check_holds(sleeper: subprocess.Popen[bytes]) -> None:
    """To the group or to the process alone."""
    assert not signal_checked(sleeper.pid, signal.SIGKILL, lambda: False, group=True)
    assert sleeper.poll() is None
    assert signal_checked(sleeper.pid, signal.SIGKILL, lambda: True, group=True)
    assert sleeper.wait(5) == -signal.SIGKILL
    assert not signal_checked(sleeper.pid, signal.SIGKILL, lambda: True, group=True)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux has handles of processes")
@pytest.mark.parametrize("group", [False, True])
def test_a_process_that_gets_the_pid_after_the_check_is_not_reached(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, group: bool
) -> None:
    """The handle was taken of the one that was there before."""
    dead = subprocess.Popen(SLEEPER, stdout=subprocess.DEVNULL, start_new_session=True)
    handle = os.pidfd_open(dead.pid)
    dead.kill()
    dead.wait()
    # as if the dead one had had the sleeper's pid, and had ended while the check looked
    monkeypatch.setattr(os, "pidfd_open", lambda pid: handle)
    assert not signal_checked(sleeper.pid, signal.SIGKILL, lambda: True, group=group)
    assert identity(sleeper.pid) is not None


@pytest.mark.parametrize("words", [OSError(38, "Function not implemented"), PermissionError()])
def test_without_handles_it_is_as_before(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, words: OSError
) -> None:
    """An old kernel, a sandbox, macOS."""

    def refuse(pid: int) -> int:
        raise words

    monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    assert signal_checked(sleeper.pid, signal.SIGKILL, lambda: True, group=True)
    assert sleeper.wait(5) == -signal.SIGKILL
