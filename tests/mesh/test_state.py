"""`.mesh/`: the lock dies with its holder, the journal outlives everybody, leftovers are found and ended."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mesh.errors import AlreadyRunning, NotRunning, StateRefused
from mesh.identity import identity, process_age, same_process
from mesh.leftovers import kill_leftovers
from mesh.proof import MARK
from mesh.state import Journal, Leader, Lock, StateDirectory, describe
from tests.fakes.clock import FakeClock

SLEEPER = [sys.executable, "-c", "import sys, time; print(flush=True); time.sleep(600)"]


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    directory = StateDirectory(tmp_path)
    directory.create()
    return directory


Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process that leads its group and sleeps, with these arguments of `Popen`."""
    with ExitStack() as ends:

        def begin(**more: object) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(SLEEPER, stdout=subprocess.PIPE, start_new_session=True, **more)  # type: ignore[call-overload]
            assert process.stdout is not None
            process.stdout.readline()
            for end in (process.stdout.close, process.wait, process.kill):
                ends.callback(end)
            return process

        yield begin


@pytest.fixture
def sleeper(start: Start) -> subprocess.Popen[bytes]:
    """A process that has nothing to do with any mesh."""
    return start()


@pytest.fixture
def part(start: Start, state: StateDirectory) -> subprocess.Popen[bytes]:
    """A process that a mesh of this directory started."""
    return start(env=os.environ | {MARK: state.mark})


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


def test_a_mesh_is_running_while_its_supervisor_lives(state: StateDirectory, start: Start) -> None:
    """mesh.json alone proves nothing: its supervisor must be that very process, and have the lock open."""
    with pytest.raises(NotRunning, match=r"^no mesh is running here \(start one with: mesh up\)$"):
        state.running_mesh()
    with state.lock_path.open("w") as lock:
        supervisor = start(stdin=lock)
    state.write_mesh({"supervisor": describe(supervisor.pid), "control": "http://127.0.0.1:1"})
    assert state.running_mesh()["control"] == "http://127.0.0.1:1"
    supervisor.kill()
    supervisor.wait()
    with pytest.raises(NotRunning):
        state.running_mesh()


def test_a_process_without_the_lock_is_no_supervisor(
    state: StateDirectory, sleeper: subprocess.Popen[bytes]
) -> None:
    """A pid and a start time that are right can be written down by anybody; nobody is asked by that alone."""
    state.lock_path.touch()
    state.write_mesh({"supervisor": describe(sleeper.pid), "control": "http://127.0.0.1:1"})
    with pytest.raises(NotRunning):
        state.running_mesh()


@pytest.mark.parametrize(
    "control",
    ["http://192.0.2.1:4200", "http://127.0.0.1:1@example.com:80", "https://127.0.0.1:1", "", None, ["x"]],
)
def test_the_command_talks_to_this_machine_alone(state: StateDirectory, control: object) -> None:
    """Whatever else stands in mesh.json as the control API."""
    lock = Lock(state.lock_path)
    lock.acquire()
    state.write_mesh({"supervisor": describe(os.getpid()), "control": control})
    with pytest.raises(StateRefused, match="names no control API of this machine"):
        state.running_mesh()
    lock.release()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"supervisor": 3}',
        b'{"supervisor": {"pid": 1}}',
        b'{"supervisor": {"pid": "1", "start": "1"}}',
        b'{"supervisor": {"pid": Infinity, "start": "1"}}',
        b'{"supervisor": {"pid": -1, "start": "1"}}',
        b'{"supervisor": {"pid": true, "start": "1"}}',
        b'{"supervisor": {"pid": %s, "start": "1"}}' % (b"9" * 5000),
        b'{"supervisor": {"pid": 99999999999, "start": "1"}}',
        b'{"forkserver": {"pid": 99999999999, "start": "1"}}',
        b'{"supervisor": {"pid": 2, "start": ["1"]}}',
    ],
)
def test_a_broken_mesh_file_is_as_good_as_none(state: StateDirectory, text: bytes) -> None:
    """A half-written or foreign file never becomes a traceback, and never a signal."""
    state.mesh_path.write_bytes(text)
    with pytest.raises(NotRunning):
        state.running_mesh()
    left = kill_leftovers(state, FakeClock(), lambda _: None)
    assert (left.killed, left.remarks) == ([], [])


def test_leftovers_are_killed_and_strangers_are_not(
    state: StateDirectory, part: subprocess.Popen[bytes]
) -> None:
    """Only the very processes of the journal end: a pid that somebody else has now is left alone."""
    journal = Journal(state.journal_path)
    journal.add(Leader(os.getpid(), "another start", "b-1.app"), [])
    journal.add(as_leader(part), [])
    journal.close()
    state.write_mesh({"supervisor": {"pid": 0, "start": ""}})
    left = kill_leftovers(state, FakeClock(), lambda _: None)
    assert (left.killed, left.remarks) == (["a-1.app"], [])
    assert part.wait(5) == -9
    assert not state.mesh_path.exists()
    assert not state.journal_path.exists()
    assert kill_leftovers(state, FakeClock(), lambda _: None).killed == []


def test_what_only_the_journal_calls_ours_is_left_alone(
    state: StateDirectory, start: Start, tmp_path: Path
) -> None:
    """A right pid with its right start, without the mark; the mark of another folder; another one's log."""
    log = tmp_path / "somebody.log"
    with log.open("w") as theirs:
        victims = [start(), start(env={MARK: str(tmp_path / "other" / ".mesh")}), start(stderr=theirs)]
    state.log_path("a-2", "app").hardlink_to(log)
    journal = Journal(state.journal_path)
    for number, victim in enumerate(victims):
        journal.add(as_leader(victim, f"a-{number}.app"), [])
    journal.close()
    state.write_mesh({"forkserver": describe(victims[0].pid)})
    left = kill_leftovers(state, FakeClock(), lambda _: None)
    assert left.killed == []
    assert [victim.poll() for victim in victims] == [None, None, None]
    assert left.remarks[1:] == [
        f"a-{number}.app (pid {victim.pid}) is left alone: nothing but {state.journal_path} says that a mesh "
        f"started it (if it did: kill {victim.pid})"
        for number, victim in enumerate(victims)
    ]
    assert left.remarks[0].startswith(f"forkserver.process (pid {victims[0].pid}) is left alone: ")


def test_a_program_that_lost_its_mark_is_known_by_its_log(state: StateDirectory, start: Start) -> None:
    """nginx and redis write their title over their environment."""
    with state.log_path("a-1", "app").open("w") as log:
        process = start(env={}, stderr=log)
    journal = Journal(state.journal_path)
    journal.add(as_leader(process), [])
    journal.close()
    assert kill_leftovers(state, FakeClock(), lambda _: None).killed == ["a-1.app"]
    assert process.wait(5) == -9


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe\t1\ta-1.app",
        b"0\t1\ta-1.app",
        b"1\t1\ta-1.app",
        b"-1\t1\ta-1.app",
        "\u00b2\t1\ta-1.app".encode(),  # a digit to str.isdigit, and none to int
        b"9" * 5000 + b"\t1\ta-1.app",
        b"9999999999\t1\ta-1.app",
        b"2\t1\t../../elsewhere",
        b"2\t1\ta-1.app\x1b[2J",
        b"2\t1\ta-1.app\tmore",
        b"2\x00\t1\ta-1.app",
        b"",
        b"x" * 100_000,
    ],
)
def test_a_record_of_another_make_is_passed_over_with_its_number(state: StateDirectory, line: bytes) -> None:
    """Nothing that stands in the journal is an exception, nor hides the records after it."""
    state.journal_path.write_bytes(b"12\t345\ta-1.app\n" + line + b"\n13\t\ta-2.app\n14\t345\ta-3.app\n")
    assert state.journal() == [Leader(12, "345", "a-1.app"), Leader(14, "345", "a-3.app")]
    assert kill_leftovers(state, FakeClock(), lambda _: None).remarks == [
        f"{state.journal_path}: no record of a process, passed over: line 2"
    ]


def test_a_journal_without_end_is_read_to_a_limit(state: StateDirectory) -> None:
    """And its bad lines are a number, not a page."""
    with state.journal_path.open("wb") as file:
        file.write(b"x\n" * 9)
        file.truncate(64 * 1024 * 1024)
    assert kill_leftovers(state, FakeClock(), lambda _: None).remarks == [
        f"{state.journal_path}: no record of a process, passed over: line 1, 2, 3, 4, 5 and 5 more"
    ]


@pytest.mark.parametrize(
    "name", ["lock", "mesh.json", "mesh.json.new", "processes", "topology.yaml", ".gitignore"]
)
@pytest.mark.parametrize("kind", ["link", "link to nothing", "pipe"])
def test_nothing_is_read_or_written_through_what_was_planted(
    state: StateDirectory, tmp_path: Path, name: str, kind: str
) -> None:
    """A link leads nowhere, and a pipe is not waited for: refused by name or replaced, never followed."""
    victim = tmp_path / "victim"
    if kind == "link":
        victim.write_text("precious\n")
    planted = state.path / name
    planted.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(planted)
    else:
        planted.symlink_to(victim)
    journal = Journal(state.journal_path)
    lock = Lock(state.lock_path)
    refused: list[str] = []
    for act in (
        state.create,
        state.read_mesh,
        state.records,
        lock.acquire,
        lambda: state.write_mesh({"control": "x"}),
        lambda: state.write_topology("services: []\n"),
        lambda: journal.add(Leader(12, "345", "a-1.app"), []),
    ):
        try:
            act()
        except StateRefused as error:
            refused.append(str(error))
    journal.close()
    lock.abandon()
    assert victim.exists() == (kind == "link")
    if kind == "link":
        assert victim.read_text() == "precious\n"
    # what is only ever replaced needs no word
    assert bool(refused) == (name in ("lock", "mesh.json", "processes"))
    assert all(words.startswith(f"{planted} is ") and words.endswith(": remove it") for words in refused)


def test_logs_that_lead_elsewhere_are_refused(state: StateDirectory, tmp_path: Path) -> None:
    """Nothing there is removed."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("")
    state.logs.rmdir()
    state.logs.symlink_to(elsewhere)
    for act in (state.create, state.clear_logs):
        with pytest.raises(StateRefused, match=r"/\.mesh/logs is a link: remove it"):
            act()
    state.remove_if_unused()
    assert (elsewhere / "precious").exists()


def test_a_link_in_the_logs_is_removed_and_not_what_it_leads_to(
    state: StateDirectory, tmp_path: Path
) -> None:
    """By the next `mesh up`, before anything is written there."""
    victim = tmp_path / "victim"
    victim.write_text("precious\n")
    log = state.log_path("a-1", "app")
    log.symlink_to(victim)
    state.clear_logs()
    assert not log.is_symlink()
    assert victim.read_text() == "precious\n"


def test_what_is_made_is_for_nobody_else(state: StateDirectory) -> None:
    """Whatever the umask is."""
    before = os.umask(0)
    try:
        state.write_mesh({})
        state.write_topology("")
        journal, lock = Journal(state.journal_path), Lock(state.lock_path)
        journal.add(Leader(12, "345", "a-1.app"), [])
        lock.acquire()
    finally:
        os.umask(before)
    journal.close()
    lock.abandon()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.path.iterdir()}
    assert modes == {
        ".gitignore": 0o600,
        "lock": 0o600,
        "logs": 0o700,
        "mesh.json": 0o600,
        "processes": 0o600,
        "topology.yaml": 0o600,
    }
    assert stat.S_IMODE(state.path.stat().st_mode) == 0o700


def test_a_torn_journal_line_is_skipped(state: StateDirectory) -> None:
    """The writer may have been killed in the middle of a line."""
    state.journal_path.write_text("12\t345\ta-1.app\n13")
    assert list(state.journal()) == [Leader(12, "345", "a-1.app")]


def test_the_journal_stays_small(state: StateDirectory) -> None:
    """A replica that crashes all day long does not fill it: it is rewritten with the living."""
    journal = Journal(state.journal_path)
    living = [Leader(5000, "1", "a-1.app")]
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
