"""What a mesh that did not end by itself left behind, and its end."""

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from mesh.identity import signal_checked
from mesh.state import FORK_SERVER, PROCESS, Leader, StateDirectory, leader

KILL_WAIT_S = 5.0  # SIGKILL is not refused; a process in an uninterruptible disk wait may take this long
KILL_POLL_S = 0.01

SHOWN_LINES = 5  # of the journal's bad ones; the rest is a number


@dataclass(slots=True)
class Leftovers:
    """The names of the processes that were killed, and a line each on what was not as it should be."""

    killed: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def kill_leftovers(
    state: StateDirectory,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Leftovers:
    """Kill every process of the last mesh that still lives, wait until all are gone, forget the mesh.

    To be called with the lock held. What the journal names without having been started from here is left
    alone. The fork server is first, so that it starts nothing more while the others go.
    """
    found = Leftovers()
    living: list[Leader] = []
    for entry in _known(state, found.remarks):
        if signal_checked(entry.pid, signal.SIGKILL, partial(state.started, entry), group=True):
            living.append(entry)
        elif entry.alive():
            found.remarks.append(
                f"{entry.name} (pid {entry.pid}) is left alone: nothing but {state.journal_path} says that "
                f"a mesh started it (if it did: kill {entry.pid})"
            )
    deadline = clock() + KILL_WAIT_S
    while any(entry.alive() for entry in living) and clock() < deadline:
        sleep(KILL_POLL_S)
    state.forget()
    found.killed = [entry.name for entry in living]
    return found


def _known(state: StateDirectory, remarks: list[str]) -> list[Leader]:
    fork_server = leader(state.read_mesh() or {}, FORK_SERVER)
    records = state.records()
    if records.bad:
        more = len(records.bad) - SHOWN_LINES
        lines = ", ".join(map(str, records.bad[:SHOWN_LINES])) + (f" and {more} more" if more > 0 else "")
        remarks.append(f"{state.journal_path}: no record of a process, passed over: line {lines}")
    return [Leader(fork_server.pid, fork_server.start, f"{FORK_SERVER}.{PROCESS}"), *records.leaders]
