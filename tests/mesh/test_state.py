"""`.mesh/`: the lock dies with its holder, the journal outlives everybody, leftovers are found and ended."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.errors import AlreadyRunning, NotRunning
from mesh.identity import identity, process_age, same_process
from mesh.leftovers import kill_leftovers
from mesh.state import Journal, Leader, Lock, StateDirectory, describe
from tests.fakes.clock import FakeClock

SLEEPER = [sys.executable, "-c", "import sys, time; print(flush=True); time.sleep(600)"]


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    directory = StateDirectory(tmp_path)
    directory.create()
    return directory


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(SLEEPER, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def as_leader(process: subprocess.Popen[bytes], name: str = "a-1.app") -> Leader:
    return Leader(process.pid, identity(process.pid) or "", name)


def test_an_identity_tells_a_process_from_a_later_one_with_its_pid(sleeper: subprocess.Popen[bytes]) -> None:
    """Same while it lives; gone when it is dead, already as a zombie."""
    start = identity(sleeper.pid)
    assert start is not None
    assert same_process(sleeper.pid, start)
    assert not same_process(sleeper.pid, start + "0")
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # dead, not reaped
    assert identity(sleeper.pid) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says it cheaply")
def test_process_age_is_in_seconds(sleeper: subprocess.Popen[bytes]) -> None:
    """A young process is seconds old at most; a pid that nobody has has no age."""
    age = process_age(sleeper.pid)
    assert age is not None
    assert 0 <= age < 60
    assert process_age(2**22 + 1) is None


def test_a_second_lock_is_refused_until_the_first_lets_go(state: StateDirectory) -> None:
    """One mesh a directory; a released lock leaves no file."""
    first, second = Lock(state.lock_path), Lock(state.lock_path)
    first.acquire()
    with pytest.raises(AlreadyRunning, match="a mesh is already running here"):
        second.acquire()
    first.release()
    assert not state.lock_path.exists()
    second.acquire()
    second.release()


def test_a_lock_on_a_removed_file_counts_for_nothing(state: StateDirectory) -> None:
    """Whoever waited with the old file open does not share the mesh with the one who made the new file."""
    first, second = Lock(state.lock_path), Lock(state.lock_path)
    first.acquire()
    state.lock_path.unlink()
    second.acquire()
    assert state.lock_path.exists()
    second.release()
    first.abandon()


def test_the_lock_of_a_killed_holder_is_free(state: StateDirectory) -> None:
    """The kernel lets go of it; the file that is left does not matter."""
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from mesh.state import Lock\n"
            "Lock(Path(sys.argv[1])).acquire(); print(flush=True); time.sleep(600)",
            str(state.lock_path),
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    mine = Lock(state.lock_path)
    with pytest.raises(AlreadyRunning):
        mine.acquire()
    holder.kill()
    holder.wait()
    holder.stdout.close()
    mine.acquire()
    mine.release()


def test_a_mesh_is_running_while_its_supervisor_lives(
    state: StateDirectory, sleeper: subprocess.Popen[bytes]
) -> None:
    """mesh.json alone proves nothing: its supervisor must be that very process."""
    with pytest.raises(NotRunning, match=r"^no mesh is running here \(start one with: mesh up\)$"):
        state.running_mesh()
    state.write_mesh({"supervisor": describe(sleeper.pid), "control": "http://127.0.0.1:1"})
    assert state.running_mesh()["control"] == "http://127.0.0.1:1"
    sleeper.kill()
    sleeper.wait()
    with pytest.raises(NotRunning):
        state.running_mesh()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"supervisor": 3}', '{"supervisor": {"pid": 1}}'])
def test_a_broken_mesh_file_is_as_good_as_none(state: StateDirectory, text: str) -> None:
    """A half-written or foreign file never becomes a traceback."""
    state.mesh_path.write_text(text)
    with pytest.raises(NotRunning):
        state.running_mesh()


def test_leftovers_are_killed_and_strangers_are_not(
    state: StateDirectory, sleeper: subprocess.Popen[bytes]
) -> None:
    """Only the very processes of the journal end: a pid that somebody else has now is left alone."""
    journal = Journal(state.journal_path)
    journal.add(Leader(os.getpid(), "another start", "b-1.app"), [])
    journal.add(as_leader(sleeper), [])
    journal.close()
    state.write_mesh({"supervisor": {"pid": 0, "start": ""}})
    assert kill_leftovers(state, FakeClock(), lambda _: None) == ["a-1.app"]
    assert sleeper.wait(5) == -9
    assert not state.mesh_path.exists()
    assert not state.journal_path.exists()
    assert kill_leftovers(state, FakeClock(), lambda _: None) == []


def test_a_torn_journal_line_is_skipped(state: StateDirectory) -> None:
    """The writer may have been killed in the middle of a line."""
    state.journal_path.write_text("12\t345\ta-1.app\n13")
    assert list(state.journal()) == [Leader(12, "345", "a-1.app")]


def test_the_journal_stays_small(state: StateDirectory) -> None:
    """A replica that crashes all day long does not fill it: it is rewritten with the living."""
    journal = Journal(state.journal_path)
    living = [Leader(1, "1", "a-1.app")]
    for number in range(Journal.REWRITE_AT_LINES + 5):
        journal.add(Leader(number + 2, "1", "b-1.app"), living)
    journal.close()
    entries = list(state.journal())
    assert len(entries) == 6
    assert entries[0] == living[0]
    assert entries[-1].pid == Journal.REWRITE_AT_LINES + 6


def test_an_unused_directory_is_removed_again(tmp_path: Path) -> None:
    """What started nothing leaves nothing; logs of a mesh that ran stay."""
    state = StateDirectory(tmp_path)
    state.create()
    state.log_path("a-1", "app").write_text("words")
    state.remove_if_unused()
    assert state.log_path("a-1", "app").exists()
    state.clear_logs()
    state.remove_if_unused()
    assert list(tmp_path.iterdir()) == []
