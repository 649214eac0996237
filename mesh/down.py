"""`mesh down`: ends the mesh of this directory, whatever state it is in."""

import contextlib
import signal
from collections.abc import Callable
from typing import Any

from mesh.client import ControlClient
from mesh.errors import AlreadyRunning, MeshError, NotRunning
from mesh.identity import signal_checked
from mesh.leftovers import kill_leftovers
from mesh.state import SUPERVISOR, Leader, Lock, StateDirectory, leader
from mesh.tokens import kept_token

# With nothing under way the supervisor ends in under 3 s, else in at most this more than the mesh's limit for
# that (`mesh up --drain-timeout`); then it is asked by SIGTERM, which ends it at once, then not asked.
GRACEFUL_S = 6.0
TERM_S = 3.0
KILL_S = 2.0
POLL_S = 0.02


def down(
    state: StateDirectory,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    remark: Callable[[str], None],
) -> str:
    """End it and return what was done, in words; that nothing ran is no error.

    `remark` is called with each line that a person should know beside.
    """
    try:
        document = state.running_mesh()
    except NotRunning:
        document = {}
    else:
        _end(state, document, clock, sleep)
    if not state.path.is_dir():
        return "no mesh is running here"
    lock = Lock(state.lock_path)
    _acquire(lock, clock, sleep)
    left = kill_leftovers(state, clock, sleep)
    lock.release()
    for line in left.remarks:
        remark(line)
    if document:
        return f"{document.get('topology', 'the mesh')} is down"
    if left.killed:
        return f"ended {len(left.killed)} processes that a killed mesh had left"
    return "no mesh is running here"


def _end(
    state: StateDirectory,
    document: dict[str, Any],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    supervisor = leader(document, SUPERVISOR)
    with contextlib.suppress(MeshError):
        ControlClient(str(document["control"]), kept_token(state.token_path)).shutdown()
        graceful_s = float(document.get("drain_s") or 0.0) + GRACEFUL_S
        if _gone(supervisor, graceful_s, clock, sleep):
            return
    for number, seconds in ((signal.SIGTERM, TERM_S), (signal.SIGKILL, KILL_S)):
        signal_checked(supervisor.pid, number, lambda: state.leads(supervisor), group=False)
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
