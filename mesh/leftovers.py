"""What a mesh that did not end by itself left behind, and its end."""

from collections.abc import Callable

from mesh.identity import kill_group
from mesh.state import Leader, StateDirectory, leader

KILL_WAIT_S = 5.0  # SIGKILL is not refused; a process in an uninterruptible disk wait may take this long
KILL_POLL_S = 0.01


def kill_leftovers(
    state: StateDirectory,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> list[str]:
    """Kill every process of the last mesh that still lives, wait until all are gone, forget the mesh.

    To be called with the lock held. Returns the names of those killed; raises nothing when there are none.
    The fork server is first, so that it starts nothing more while the others go.
    """
    living = [entry for entry in _known(state) if entry.alive()]
    for entry in living:
        kill_group(entry.pid)
    deadline = clock() + KILL_WAIT_S
    while any(entry.alive() for entry in living) and clock() < deadline:
        sleep(KILL_POLL_S)
    state.forget()
    return [entry.name for entry in living]


def _known(state: StateDirectory) -> list[Leader]:
    document = state.read_mesh() or {}
    return [leader(document, "forkserver"), *state.journal()]
