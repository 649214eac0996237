"""`mesh down`: ends the mesh of this directory, whatever state it is in."""

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

from mesh.client import ControlClient
from mesh.errors import AlreadyRunning, MeshError
from mesh.leftovers import kill_leftovers
from mesh.state import Leader, Lock, StateDirectory, leader
from mesh.tokens import kept_token

# The supervisor ends gracefully in under 3 s; then it is asked by SIGTERM, then not asked.
GRACEFUL_S = 6.0
TERM_S = 3.0
KILL_S = 2.0
POLL_S = 0.02


def down(state: StateDirectory, clock: Callable[[], float], sleep: Callable[[float], None]) -> str:
    """End it and return what was done, in words; that nothing ran is no error."""
    document = state.read_mesh() or {}
    supervisor = leader(document, "supervisor")
    ran = supervisor.alive()
    if ran:
        _end(supervisor, str(document.get("control", "")), state.token_path, clock, sleep)
    if not state.path.is_dir():
        return "no mesh is running here"
    lock = Lock(state.lock_path)
    _acquire(lock, clock, sleep)
    killed = kill_leftovers(state, clock, sleep)
    lock.release()
    if ran:
        return f"{document.get('topology', 'the mesh')} is down"
    if killed:
        return f"ended {len(killed)} processes that a killed mesh had left"
    return "no mesh is running here"


def _end(
    supervisor: Leader,
    control: str,
    token: Path,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    with contextlib.suppress(MeshError):
        ControlClient(control, kept_token(token)).shutdown()
        if _gone(supervisor, GRACEFUL_S, clock, sleep):
            return
    for number, seconds in ((signal.SIGTERM, TERM_S), (signal.SIGKILL, KILL_S)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(supervisor.pid, number)
        if _gone(supervisor, seconds, clock, sleep):
            return
    raise MeshError(f"the supervisor (pid {supervisor.pid}) cannot be ended")


def _gone(
    supervisor: Leader, seconds: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> bool:
    deadline = clock() + seconds
    while supervisor.alive():
        if clock() > deadline:
            return False
        sleep(POLL_S)
    return True


def _acquire(lock: Lock, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
    deadline = clock() + GRACEFUL_S
    while True:
        try:
            return lock.acquire()
        except AlreadyRunning:
            # one that is just starting: it holds the lock and has not said yet who it is
            if clock() > deadline:
                raise
            sleep(POLL_S)
