"""`.mesh/` against people who try: planted by others or by an archive, it kills, writes and tells nothing.

The real command in a real folder. What needs a second user is run as root, as in the gate.
"""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.identity import identity
from mesh.proof import MARK, holds, marked
from tests.e2e.real_mesh import RealMesh, alive, listens, real_mesh, send, until

pytestmark = pytest.mark.e2e

OTHER = 65534  # "nobody", on every system
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as a second user")

# Every command that looks at the state directory.
COMMANDS = [
    ["status"],
    ["status", "--json"],
    ["kill", "a-1"],
    ["heal", "a-1"],
    ["scale", "a", "3"],
    ["load", "--rate", "5"],
    ["get"],
    ["fault", "list"],
    ["explain", "1" * 32],
    ["record", "--for", "1s"],
    ["logs", "a-1"],
    ["down"],
    ["up", "star", "--no-load", "--port", "0", "--control-port", "0"],
    ["up", "star", "--detach", "--no-load", "--port", "0", "--control-port", "0"],
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that other users reach, which pytest's own are not."""
    path = Path(tempfile.mkdtemp(prefix="mesh-state-"))
    path.chmod(0o755)
    yield path
    RealMesh(path).run("down")
    shutil.rmtree(path)


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """Somebody's process that leads its group, as parts of a mesh do."""
    process = subprocess.Popen(["sleep", "600"], start_new_session=True, stderr=subprocess.DEVNULL)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def ear() -> Iterator[socket.socket]:
    """Where a planted control address leads."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        yield listener


def heard(ear: socket.socket) -> bool:
    try:
        ear.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def plant(folder: Path, victim: subprocess.Popen[bytes], ear: socket.socket) -> Path:
    """A state directory that names the victim wherever a process can be named, with its right start time."""
    state = folder / ".mesh"
    (state / "logs").mkdir(parents=True)
    start = identity(victim.pid)
    process = {"pid": victim.pid, "start": start}
    document = {
        "topology": "star",
        "control": f"http://127.0.0.1:{ear.getsockname()[1]}",
        "supervisor": process,
        "forkserver": process,
        "processes": [{"name": "a-1.app", **process}],
    }
    (state / "mesh.json").write_text(json.dumps(document))
    (state / "processes").write_text(f"{victim.pid}\t{start}\ta-1.app\n")
    (state / "lock").touch()
    (state / "logs" / "a-1.app.log").write_text("words\n")
    return state


def picture(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything below a folder: mode, owner, content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = os.readlink(path).encode() if path.is_symlink() else b""
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else content
        found[str(path.relative_to(folder))] = (stat.S_IMODE(status.st_mode), status.st_uid, content)
    return found


def one_line(err: str, begins: str) -> bool:
    return err.startswith(begins) and err.count("\n") == 1


# who owns it


@as_root
def test_one_that_another_user_planted_is_refused_before_anything_is_read(
    folder: Path, victim: subprocess.Popen[bytes], ear: socket.socket
) -> None:
    """Every command says so in one line; nobody is killed or asked, and nothing is written."""
    state = plant(folder, victim, ear)
    state.chmod(0o700)
    for path in (state, *state.rglob("*")):
        os.chown(path, OTHER, OTHER)
    before = picture(folder)
    mesh = RealMesh(folder)
    for words in COMMANDS:
        ran = mesh.run(*words)
        assert (ran.code, ran.out) == (1, ""), (words, ran)
        assert one_line(ran.err, f"mesh {words[0]}: {state} belongs to "), (words, ran)
        assert (
            ", not to you: nothing in it is believed (move it away, or work in another folder)\n" in ran.err
        )
    assert picture(folder) == before
    assert victim.poll() is None
    assert not heard(ear)


@as_root
def test_a_file_of_another_user_in_our_own_is_refused(folder: Path) -> None:
    """One that was left open to them once."""
    state = folder / ".mesh"
    state.mkdir(mode=0o700)
    for name in ("mesh.json", "lock", "processes"):
        file = state / name
        file.write_text("{}")
        os.chown(file, OTHER, OTHER)
        ran = RealMesh(folder).run("down")
        assert (ran.code, ran.out) == (1, "")
        assert one_line(ran.err, f"mesh down: {file} belongs to "), ran
        file.unlink()


@pytest.mark.parametrize("mode", [0o770, 0o1777])
def test_one_that_others_may_write_in_is_refused(
    folder: Path, victim: subprocess.Popen[bytes], ear: socket.socket, mode: int
) -> None:
    """Whoever it was that wrote what is in it."""
    state = plant(folder, victim, ear)
    state.chmod(mode)
    before = picture(folder)
    for words in (["status"], ["logs", "a-1"], ["down"], ["up", "star"]):
        ran = RealMesh(folder).run(*words)
        assert (ran.code, ran.out) == (1, ""), (words, ran)
        assert one_line(ran.err, f"mesh {words[0]}: others may write in {state} (mode {mode:04o}): "), ran
    assert picture(folder) == before
    assert victim.poll() is None
    assert not heard(ear)


# what came with a repository or an archive: ours by its owner


def test_one_of_an_archive_kills_nobody_and_is_not_asked(
    folder: Path, victim: subprocess.Popen[bytes], ear: socket.socket
) -> None:
    """Pid and start time of a foreign process are right: it has neither our mark nor a file of ours open."""
    state = plant(folder, victim, ear)
    mesh = RealMesh(folder)
    for words in (["status"], ["kill", "a-1"], ["load", "--rate", "5"], ["record", "--for", "1s"]):
        ran = mesh.run(*words)
        line = f"mesh {words[0]}: no mesh is running here (start one with: mesh up)\n"
        assert (ran.code, ran.out, ran.err) == (1, "", line)
    ran = mesh.run("down")
    assert (ran.code, ran.out) == (0, "no mesh is running here\n")
    assert f"a-1.app (pid {victim.pid}) is left alone: nothing but {state}/processes says that " in ran.err
    assert victim.poll() is None
    shutil.rmtree(state)
    plant(folder, victim, ear)
    out = mesh.up("star", "--no-load")
    assert f"a-1.app (pid {victim.pid}) is left alone: nothing but {state}/processes says that " in out
    with mesh.leaves_nothing():
        mesh.ok("down")
    assert victim.poll() is None
    assert not heard(ear)


def test_a_copy_of_a_running_one_does_not_end_the_original(folder: Path, tmp_path: Path) -> None:
    """`cp -r project other`: what it says of processes is right, and they are not of that folder."""
    with real_mesh(folder, "star", "--no-load") as mesh:
        shutil.copytree(folder / ".mesh", tmp_path / ".mesh")
        copy = RealMesh(tmp_path)
        assert copy.run("status").err == "mesh status: no mesh is running here (start one with: mesh up)\n"
        ran = copy.run("down")
        assert (ran.code, ran.out) == (0, "no mesh is running here\n")
        assert "is left alone" in ran.err
        assert all(leader.alive() for leader in mesh.leaders())
        assert {each["state"] for each in mesh.status()["instances"]} == {"healthy"}


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe\xfd",
        b"9" * 5000 + b"\t1\ta-1.app",
        b"-1\t1\ta-1.app",
        "\u00b2\t1\ta-1.app".encode(),
        b"1\t1\ta-1.app",
        b"0\t1\t../../../etc/passwd",
    ],
)
def test_records_that_nobody_wrote_do_not_prevent_the_start(folder: Path, line: bytes) -> None:
    """They are passed over by number."""
    state = folder / ".mesh"
    state.mkdir(mode=0o700)
    (state / "processes").write_bytes(b"\n".join([b"999999\t1\ta-1.app", line, line, line, line, b""]))
    mesh = RealMesh(folder)
    out = mesh.up("star", "--no-load")
    assert f"{state}/processes: no record of a process, passed over: line 2, 3, 4, 5\n" in out
    with mesh.leaves_nothing():
        mesh.ok("down")


Plant = Callable[[Path, Path], Any]

# Where something of a running mesh would have to be read or kept: refused.
READ: dict[str, Plant] = {
    "the directory": lambda state, elsewhere: state.symlink_to(elsewhere),
    "the logs": lambda state, elsewhere: _in(state, "logs").symlink_to(elsewhere),
    "mesh.json": lambda state, elsewhere: _in(state, "mesh.json").symlink_to(elsewhere / "victim"),
    "the lock": lambda state, elsewhere: _in(state, "lock").symlink_to(elsewhere / "victim"),
    "the journal": lambda state, elsewhere: _in(state, "processes").symlink_to(elsewhere / "victim"),
    "a pipe": lambda state, elsewhere: os.mkfifo(_in(state, "mesh.json")),
}

# What is written anew in any case, or left alone.
REPLACED = [
    "mesh.json.new",
    "topology.yaml",
    "topology.yaml.new",
    "logs/orders-1.app.log",
    "logs/orders-1.app.log.1",
    "logs/orders-2.access.log",
    "logs/supervisor.process.log",
    "logs/forkserver.process.log",
]


def _in(state: Path, name: str) -> Path:
    path = state / name
    path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    return path


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """Where planted links lead; it is as it was, whatever the mesh does."""
    path = tmp_path / "elsewhere"
    path.mkdir()
    (path / "victim").write_text("precious\n")
    (path / "empty").write_text("")
    before = picture(path)
    yield path
    assert picture(path) == before


@pytest.mark.parametrize("what", READ)
def test_nothing_is_read_through_a_link(folder: Path, elsewhere: Path, what: str) -> None:
    """It is refused in a line, and a pipe is not waited for."""
    READ[what](folder / ".mesh", elsewhere)
    mesh = RealMesh(folder)
    for detach in ([], ["--detach"]):
        ran = mesh.run("up", "star", "--port", "0", "--control-port", "0", *detach)
        assert (ran.code, ran.out) == (1, ""), ran
        assert one_line(ran.err, f"mesh up: {folder / '.mesh'}"), ran
        assert ": remove it" in ran.err
    mesh.run("down")


@pytest.mark.parametrize("detached", [True, False])
def test_nothing_is_written_or_removed_through_a_link(folder: Path, elsewhere: Path, detached: bool) -> None:
    """The link is removed, and not what it leads to."""
    state = folder / ".mesh"
    for name in REPLACED:
        _in(state, name).symlink_to(elsewhere / "victim")
    (state / ".gitignore").symlink_to(elsewhere / "new")
    (state / "logs" / "orders-3.app.log").hardlink_to(elsewhere / "victim")
    mesh = RealMesh(folder)
    if detached:
        mesh.up("star")
        mesh.ok("kill", "orders-1")
        mesh.ok("heal", "orders-1")
        with mesh.leaves_nothing():
            mesh.ok("down")
    else:
        with mesh.attached("star") as process:
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
    assert [name for name in REPLACED if (state / name).is_symlink()] == []


# what a running mesh gives away

PROGRAM = """\
services:
- name: web
  isEntrypoint: true
  command: [sh, -c, "umask > umask.txt; echo a word; exec python3 -m http.server {port} --bind 127.0.0.1"]
"""


@pytest.fixture
def running(folder: Path) -> Iterator[RealMesh]:
    """A mesh that was started by a person who keeps nothing from anybody."""
    (folder / "web.yaml").write_text(PROGRAM)
    before = os.umask(0)
    try:
        with real_mesh(folder, "web.yaml", "--rate", "50") as mesh:
            os.umask(before)
            yield mesh
    finally:
        os.umask(before)


def test_all_that_a_mesh_writes_is_for_its_owner_alone(running: RealMesh) -> None:
    """Whatever the umask is that it was started with; a program of the person keeps that one."""
    access = running.state.access_log_path("web-1")
    until(lambda: access.exists() and access.stat().st_size > 0)
    running.ok("scale", "web", "2")
    running.ok("kill", "web-1")
    running.ok("heal", "web-1")
    running.ok("fault", "web", "--delay", "1ms", "--for", "5s")
    paths = [running.state.path, *running.state.path.rglob("*")]
    open_ones = {str(path): oct(path.lstat().st_mode) for path in paths if path.lstat().st_mode & 0o077}
    assert open_ones == {}
    assert {path.lstat().st_uid for path in paths} == {os.geteuid()}
    assert len(paths) > 12
    assert [path for path in paths if stat.S_ISSOCK(path.lstat().st_mode)] == []
    assert int((running.directory / "umask.txt").read_text(), 8) == 0


@as_root
def test_another_user_can_read_nothing_of_it(running: RealMesh) -> None:
    """Neither the list of files, nor a log, nor where the control API is."""
    for words in (
        ["ls", ".mesh"],
        ["cat", ".mesh/mesh.json"],
        ["cat", ".mesh/logs/web-1.app.log"],
        ["cat", ".mesh/logs/web-1.access.log"],
        ["cat", ".mesh/topology.yaml"],
        ["sh", "-c", "echo 1 > .mesh/new"],
        ["sh", "-c", "echo 1 > .mesh/mesh.json"],
        ["rm", "-r", ".mesh/logs"],
    ):
        ran = subprocess.run(
            words,
            cwd=running.directory,
            user=OTHER,
            group=OTHER,
            extra_groups=[],
            capture_output=True,
            text=True,
        )
        assert ran.returncode != 0, words
        assert ran.stdout == ""
        assert "Permission denied" in ran.stderr, ran


def test_one_of_an_earlier_version_is_closed_and_used(folder: Path) -> None:
    """Ours and 0755: logs of the last mesh can still be read, and the next one starts."""
    state = folder / ".mesh"
    (state / "logs").mkdir(parents=True)
    (state / "logs" / "a-1.app.log").write_text("a word\n")
    for path in (state, state / "logs"):
        path.chmod(0o755)
    mesh = RealMesh(folder)
    assert mesh.ok("logs", "a-1") == "a word\n"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (state, state / "logs")] == [0o700, 0o700]
    mesh.up("star", "--no-load")
    with mesh.leaves_nothing():
        mesh.ok("down")


def test_a_mesh_goes_on_when_its_folder_is_opened_to_others(folder: Path) -> None:
    """Somebody's chmod: what it writes there it writes no more, and commands say why until it is undone."""
    with real_mesh(folder, "star", "--no-load") as mesh:
        pid = mesh.status()["instances"][0]["pids"]["app"]
        mesh.state.path.chmod(0o770)
        send(pid, signal.SIGKILL)
        until(lambda: not alive(pid))
        ran = mesh.run("status")
        assert (ran.code, ran.out) == (1, "")
        assert one_line(ran.err, f"mesh status: others may write in {mesh.state.path} (mode 0770): "), ran
        mesh.state.path.chmod(0o700)
        log = mesh.state.log_path("supervisor", "process")
        until(lambda: "the state is not kept: others may write in" in log.read_text())
        mesh.ok("heal", mesh.status()["instances"][0]["name"])


# what a mesh that was killed left behind

QUIET = "exec python3 -m http.server {port} --bind 127.0.0.1 > /dev/null 2>&1"
LEFT = {
    # writes its title over its environment: no mark any more, and our log is open
    "redis": ["redis-server", "--port", "{port}", "--save", "", "--bind", "127.0.0.1"],
    # closes the log that it was given: the mark is all that shows whose it is
    "quiet": ["sh", "-c", QUIET],
}


def kill_both(mesh: RealMesh) -> None:
    """The supervisor and the fork server, so that nobody is left who knows the others but the journal."""
    status = mesh.status()["supervisor"]
    send(status["forkserver"], signal.SIGSTOP)  # so that it cannot clean up
    send(status["pid"], signal.SIGKILL)
    send(status["forkserver"], signal.SIGKILL)
    until(lambda: not alive(status["forkserver"]))


def one_service(folder: Path, command: list[str]) -> str:
    """A topology with this program alone."""
    file = folder / "one.yaml"
    file.write_text(f"services:\n- name: one\n  isEntrypoint: true\n  command: {json.dumps(command)}\n")
    return str(file)


@pytest.mark.parametrize("program", LEFT)
def test_programs_that_hide_what_they_are_are_ended_too(folder: Path, program: str) -> None:
    """One of the two proofs is enough."""
    if shutil.which(LEFT[program][0]) is None:
        pytest.skip(f"{program} is not installed")
    mesh = RealMesh(folder)
    mesh.up(one_service(folder, LEFT[program]), "--no-load")
    instance = mesh.status()["instances"][0]
    app, port = instance["pids"]["app"], instance["ports"]["app"]
    log = mesh.state.log_path("one-1", "app")
    assert (marked(app, mesh.state.mark), holds(app, log)) == (
        (False, True) if program == "redis" else (True, False)
    )
    kill_both(mesh)
    assert alive(app)
    # the app, two sidecars and the registry
    assert mesh.ok("down") == "ended 4 processes that a killed mesh had left\n"
    until(lambda: not alive(app) and not listens(port))


def test_a_mesh_started_inside_another_one_is_told_apart(folder: Path, tmp_path: Path) -> None:
    """A program of a mesh that starts a mesh: each folder ends its own."""
    with real_mesh(folder, "star", "--no-load") as outer:
        inner = RealMesh(tmp_path)
        words = ["up", one_service(tmp_path, LEFT["quiet"]), "--detach", "--no-load", "--port", "0"]
        subprocess.run(
            [sys.executable, "-m", "mesh", *words, "--control-port", "0"],
            cwd=tmp_path,
            env=os.environ | {MARK: outer.state.mark},
            capture_output=True,
            check=True,
        )
        with inner.leaves_nothing():
            kill_both(inner)
            assert inner.ok("down") == "ended 4 processes that a killed mesh had left\n"
        assert {each["state"] for each in outer.status()["instances"]} == {"healthy"}
