"""The fork server with real processes: what it starts, reports and signals; nothing is left behind."""

import asyncio
import json
import os
import signal
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.errors import ForkServerLost, SpawnFailed
from mesh.identity import identity
from mesh.launch import Launched, launch
from mesh.processes import Process, Processes, ProcessSpec
from mesh.state import StateDirectory

FAKE = "tests.mesh.fake_program"
WAIT_S = 10.0  # far above what any of it takes, so that a busy machine does not fail a test


class Watch:
    """Lets a test wait until a process has reached a state, by the watcher's calls."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()

    def __call__(self, process: Process) -> None:
        self.changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def fork_server(
    directory: Path, *preload: str, umask: int = -1
) -> AsyncIterator[tuple[Launched, Processes]]:
    state = StateDirectory(directory)
    state.create()
    launched = launch(preload, state.log_path("forkserver", "process"), state.journal_path, umask)
    processes = await Processes.connect(launched.channel)
    try:
        yield launched, processes
    finally:
        processes.close()
        await asyncio.to_thread(launched.end)


def spec(directory: Path, *argv: str, name: str = "a-1.app", module: str = FAKE) -> ProcessSpec:
    return ProcessSpec(name=name, log=directory / f"{name}.log", module=module, argv=argv)


async def gone(pid: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while identity(pid) is not None:  # noqa: ASYNC110 - a process that is not ours sends no event
            await asyncio.sleep(0.005)


async def test_a_module_runs_in_its_own_group_with_what_it_was_given(tmp_path: Path) -> None:
    """argv, environment, directory and session are the child's own; no descriptor of others is open in it."""
    async with fork_server(tmp_path, FAKE) as (_, processes):
        watch = Watch()
        process = await processes.spawn(
            replace(spec(tmp_path, "--ignore-term"), env={"COLOUR": "red"}, cwd=tmp_path), watch
        )
        await watch.until(lambda: process.ready_line)
        report = json.loads(process.ready_line or "")
        assert report["pid"] == report["group"] == report["session"] == process.pid
        assert report["argv"] == ["--ignore-term"]
        assert report["colour"] == "red"
        assert report["cwd"] == str(tmp_path)
        # 3 is the descriptor of the listing itself
        assert report["fds"] == [0, 1, 2, 3]
        assert identity(process.pid) == process.start


async def test_output_after_the_ready_line_goes_to_the_log(tmp_path: Path) -> None:
    """Standard output and the traceback of a failure are both in the part's log; the exit is reported."""
    async with fork_server(tmp_path, FAKE) as (_, processes):
        watch = Watch()
        process = await processes.spawn(spec(tmp_path, "--raise"), watch)
        await watch.until(lambda: process.exit)
        assert str(process.exit) == "exited with 1"
        log = process.spec.log.read_text()
        assert "second line" in log
        assert "RuntimeError: as asked" in log


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--exit", "0"), "exited with 0"),
        (("--exit", "7"), "exited with 7"),
        (("--crash",), "killed by SIGABRT"),
    ],
)
async def test_an_end_is_reported_with_its_cause(tmp_path: Path, argv: tuple[str, ...], words: str) -> None:
    """An exit code is told from a signal."""
    async with fork_server(tmp_path, FAKE) as (_, processes):
        watch = Watch()
        process = await processes.spawn(spec(tmp_path, *argv), watch)
        await watch.until(lambda: process.exit)
        assert str(process.exit) == words
        assert processes.running() == ()


async def test_stop_and_continue_are_seen(tmp_path: Path) -> None:
    """A frozen process is known to be frozen, whoever froze it."""
    async with fork_server(tmp_path, FAKE) as (_, processes):
        watch = Watch()
        process = await processes.spawn(spec(tmp_path), watch)
        await watch.until(lambda: process.ready_line)
        processes.signal(process, signal.SIGSTOP)
        await watch.until(lambda: process.stopped)
        os.kill(process.pid, signal.SIGCONT)
        await watch.until(lambda: not process.stopped)
        processes.signal(process, signal.SIGTERM)
        await watch.until(lambda: process.exit)
        assert str(process.exit) == "exited with 0"


async def test_a_command_is_run_by_exec(tmp_path: Path) -> None:
    """Any program runs; its output is its log."""
    async with fork_server(tmp_path) as (_, processes):
        watch = Watch()
        command = ("sh", "-c", "echo $COLOUR; exit 3")
        process = await processes.spawn(
            ProcessSpec("b-1.app", tmp_path / "b.log", command=command, env={"COLOUR": "blue"}), watch
        )
        await watch.until(lambda: process.exit)
        assert str(process.exit) == "exited with 3"
        assert (tmp_path / "b.log").read_text() == "blue\n"


async def test_only_a_command_has_the_umask_of_the_person(
    tmp_path: Path,
) -> None:
    """What our own programs write is for nobody else; so is the log of both, from its beginning."""
    mine = os.umask(0o077)  # as `mesh up` has it
    try:
        async with fork_server(tmp_path, FAKE, umask=0o002) as (_, processes):
            watch = Watch()
            command = ("sh", "-c", "umask; : > theirs")
            theirs = await processes.spawn(
                ProcessSpec("b-1.app", tmp_path / "b.log", command=command, cwd=tmp_path), watch
            )
            ours = await processes.spawn(spec(tmp_path), watch)
            await watch.until(lambda: theirs.exit and ours.ready_line)
    finally:
        os.umask(mine)
    assert (tmp_path / "b.log").read_text() == "0002\n"
    assert json.loads(ours.ready_line or "")["umask"] == 0o077
    modes = {
        name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("theirs", "b.log", "a-1.app.log")
    }
    assert modes == {"theirs": 0o664, "b.log": 0o600, "a-1.app.log": 0o600}


async def test_a_log_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    """Nothing is started, and nothing is written there."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "a-1.app.log").symlink_to(victim)
    async with fork_server(tmp_path, FAKE) as (_, processes):
        with pytest.raises(
            SpawnFailed, match=r"^a-1\.app: .*/a-1\.app\.log is a link or no file: remove it$"
        ):
            await processes.spawn(spec(tmp_path), Watch())
    assert victim.read_text() == "precious"


async def test_a_command_that_does_not_exist_is_one_clear_error(tmp_path: Path) -> None:
    """The fork server says so before it forks, and goes on."""
    async with fork_server(tmp_path) as (_, processes):
        with pytest.raises(SpawnFailed, match=r"^c-1\.app: there is no program 'nod'$"):
            await processes.spawn(ProcessSpec("c-1.app", tmp_path / "c.log", command=("nod",)), Watch())
        watch = Watch()
        process = await processes.spawn(ProcessSpec("c-1.app", tmp_path / "c.log", command=("true",)), watch)
        await watch.until(lambda: process.exit)


async def test_a_kill_takes_the_children_of_the_process_with_it(tmp_path: Path) -> None:
    """A signal goes to the whole process group, and a leader's end ends the group."""
    async with fork_server(tmp_path, FAKE) as (_, processes):
        watch = Watch()
        process = await processes.spawn(spec(tmp_path, "--child"), watch)
        await watch.until(lambda: process.ready_line)
        grandchild = json.loads(process.ready_line or "")["child"]
        assert identity(grandchild) is not None
        os.kill(process.pid, signal.SIGKILL)  # only the leader, from outside
        await watch.until(lambda: process.exit)
        await gone(grandchild)


async def test_closing_the_channel_leaves_no_process(tmp_path: Path) -> None:
    """Also none that ignores SIGTERM or is frozen."""
    async with fork_server(tmp_path, FAKE) as (launched, processes):
        watch = Watch()
        one = await processes.spawn(spec(tmp_path, "--ignore-term", name="a-1.app"), watch)
        two = await processes.spawn(spec(tmp_path, "--child", name="a-2.app"), watch)
        await watch.until(lambda: one.ready_line and two.ready_line)
        processes.signal(two, signal.SIGSTOP)
        await watch.until(lambda: two.stopped)
        grandchild = json.loads(two.ready_line or "")["child"]
        processes.close()
        await asyncio.to_thread(launched.end)
        assert [identity(pid) for pid in (one.pid, two.pid, launched.process.pid)] == [None, None, None]
        await gone(grandchild)


async def test_the_death_of_the_fork_server_is_noticed(tmp_path: Path) -> None:
    """`lost` is set, later spawns fail with words, and the orphans can still be killed from the journal."""
    state = StateDirectory(tmp_path)
    async with fork_server(tmp_path, FAKE) as (launched, processes):
        watch = Watch()
        process = await processes.spawn(spec(tmp_path), watch)
        await watch.until(lambda: process.ready_line)
        launched.process.kill()
        async with asyncio.timeout(WAIT_S):
            await processes.lost.wait()
        with pytest.raises(ForkServerLost):
            await processes.spawn(spec(tmp_path), watch)
        [entry] = state.journal()
        assert (entry.pid, entry.name) == (process.pid, "a-1.app")
        assert entry.alive()
        processes.signal(process, signal.SIGKILL)
        await gone(process.pid)
        assert not entry.alive()


async def test_a_module_that_cannot_be_imported_fails_alone(tmp_path: Path) -> None:
    """A broken preload does not end the fork server; the child that needs it says why in its log."""
    async with fork_server(tmp_path, "tests.mesh.no_such_module", FAKE) as (_, processes):
        watch = Watch()
        bad = await processes.spawn(spec(tmp_path, module="tests.mesh.no_such_module"), watch)
        good = await processes.spawn(spec(tmp_path, name="a-2.app"), watch)
        await watch.until(lambda: bad.exit and good.ready_line)
        assert str(bad.exit) == "exited with 1"
        assert "No module named 'tests.mesh.no_such_module'" in bad.spec.log.read_text()
