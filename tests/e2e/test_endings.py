"""However a mesh ends, it leaves no process, no listener, no lock; and the next one starts."""

import functools
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.real_mesh import RealMesh, alive, listens, send, until, wait

pytestmark = pytest.mark.e2e


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[RealMesh]:
    real = RealMesh(tmp_path)
    yield real
    real.run("down")


def all_gone(mesh_leaders: list[int], ports: set[int]) -> bool:
    return not any(alive(pid) for pid in mesh_leaders) and not any(listens(port) for port in ports)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_gracefully(mesh: RealMesh, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and a closed terminal; exit code 0, and it does not take for ever."""
    with mesh.attached("star") as process, mesh.leaves_nothing():
        process.send_signal(number)
        assert process.wait(10) == 0
        _, err = process.communicate()
        assert err == ""


def test_a_second_ctrl_c_ends_it_at_once(mesh: RealMesh) -> None:
    """A program that does not listen to SIGTERM is waited for after the first, and not after the second."""
    deaf = 'trap "" TERM; exec python3 -m http.server {port} --bind 127.0.0.1'
    topology = mesh.directory / "deaf.yaml"
    topology.write_text(
        f"services:\n- name: deaf\n  isEntrypoint: true\n  command: [sh, -c, {json.dumps(deaf)}]\n"
    )
    took = []
    for times in (1, 2):
        with mesh.attached(str(topology), "--no-load") as process, mesh.leaves_nothing():
            began = time.monotonic()
            for _ in range(times):
                process.send_signal(signal.SIGINT)
                wait(0.1)  # two signals at once are one
            assert process.wait(10) == 0
            took.append(time.monotonic() - began)
    once, twice = took
    assert twice < once


def test_ctrl_c_while_it_starts_leaves_nothing(mesh: RealMesh) -> None:
    """At any moment of the start."""
    for delay in (0.15, 0.3, 0.5, 0.9):
        process = subprocess.Popen(
            [sys.executable, "-m", "mesh", "up", "shop", "--port", "0", "--control-port", "0"],
            cwd=mesh.directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            # what is started from a shell's background job would ignore it until our own handler is there
            preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler),
        )
        time.sleep(delay)
        leaders = mesh.leaders()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
        assert err == b""
        assert process.returncode in (0, 130, -signal.SIGINT)  # the last: before our first line ran
        until(lambda leaders=leaders: not any(leader.alive() for leader in leaders), 5)
        assert not mesh.state.lock_path.exists()
        assert not mesh.state.journal_path.exists()


def test_down_ends_it_and_may_be_said_twice(mesh: RealMesh) -> None:
    """And `status` then says so with exit code 1."""
    mesh.up("star", "--no-load")
    with mesh.leaves_nothing():
        assert mesh.ok("down") == "star is down\n"
    assert mesh.ok("down") == "no mesh is running here\n"
    ran = mesh.run("status")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "mesh status: no mesh is running here (start one with: mesh up)\n"


def test_after_sigkill_of_the_supervisor_everything_ends_by_itself(mesh: RealMesh) -> None:
    """The fork server's channel closes, and it takes all with it; `down` clears what is left of the state."""
    mesh.up("star")
    with mesh.leaves_nothing():
        pids = [leader.pid for leader in mesh.leaders()]
        ports = mesh.ports()
        send(mesh.status()["supervisor"]["pid"], signal.SIGKILL)
        until(lambda: all_gone(pids, ports), 5)
        assert mesh.run("status").code == 1
        mesh.ok("down")


def test_after_sigkill_of_supervisor_and_fork_server_down_finds_the_orphans(mesh: RealMesh) -> None:
    """Nobody is left who knows them but the journal."""
    mesh.up("star", "--no-load")
    with mesh.leaves_nothing():
        status = mesh.status()
        apps = [each["pids"]["app"] for each in status["instances"]]
        send(status["supervisor"]["forkserver"], signal.SIGSTOP)  # so that it cannot clean up
        send(status["supervisor"]["pid"], signal.SIGKILL)
        send(status["supervisor"]["forkserver"], signal.SIGKILL)
        until(lambda: not alive(status["supervisor"]["forkserver"]))
        assert all(alive(pid) for pid in apps)
        # three apps, three sidecars, the ingress and the registry
        assert mesh.ok("down") == "ended 8 processes that a killed mesh had left\n"


def test_after_both_were_killed_up_starts_anew(mesh: RealMesh) -> None:
    """The orphans of the last mesh end before the first of the new one starts."""
    mesh.up("star", "--no-load")
    old = mesh.leaders()
    status = mesh.status()
    send(status["supervisor"]["forkserver"], signal.SIGSTOP)
    send(status["supervisor"]["pid"], signal.SIGKILL)
    send(status["supervisor"]["forkserver"], signal.SIGKILL)
    until(lambda: not alive(status["supervisor"]["pid"]))
    mesh.up("chain")
    assert not any(leader.alive() for leader in old)
    assert mesh.status()["topology"] == "chain"
    with mesh.leaves_nothing():
        mesh.ok("down")


def test_the_death_of_the_fork_server_ends_the_mesh_with_a_word(mesh: RealMesh) -> None:
    """It is the parent of all: without it nothing could be started or reaped."""
    with mesh.attached("star", "--no-load") as process, mesh.leaves_nothing():
        send(mesh.status()["supervisor"]["forkserver"], signal.SIGKILL)
        _, err = process.communicate(timeout=10)
        assert process.returncode == 1
        assert err == "mesh up: the fork server died, and the mesh with it\n"


def test_a_detached_start_that_fails_says_why(mesh: RealMesh) -> None:
    """The one who waits gets the line and the exit code; the supervisor is gone."""
    ran = mesh.run("up", "nowhere.yaml", "--detach", "--port", "0", "--control-port", "0")
    assert ran.code == 2
    assert ran.err.startswith("mesh up: nowhere.yaml: no such file (")
    assert ran.err.count("\n") == 1
    assert list(mesh.directory.iterdir()) == []


def test_in_a_terminal_there_is_a_live_table_until_ctrl_c(mesh: RealMesh) -> None:
    """Progress, one line, the table; the terminal's own Ctrl-C reaches only the command, which ends all."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(mesh.directory)
        words = ["-m", "mesh", "up", "star", "--port", "0", "--control-port", "0"]
        os.execv(sys.executable, [sys.executable, *words])
    seen = b""

    def shows(words: bytes) -> bool:
        nonlocal seen
        if select.select([terminal], [], [], 0)[0]:
            seen += os.read(terminal, 65536)
        return words in seen

    until(lambda: shows(b"star is up: 3 instances healthy in "), 20)
    until(lambda: shows(b"breakers") and shows(b"req/s wanted"), 10)
    with mesh.leaves_nothing():
        os.write(terminal, b"\x03")
        until(lambda: shows(b"ending"), 5)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
