"""`mesh up`: takes the lock, starts the fork server first thing, plans, serves, and leaves nothing behind.

The fork server needs longest to be ready, so it is started before anything else is imported here; that is
why this module's own imports are few, and the others stand where they are needed.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mesh.detached import PipeShow, follow
from mesh.errors import MeshError, UsageError
from mesh.launch import Launched, launch
from mesh.leftovers import kill_leftovers
from mesh.private_directory import UMASK, open_private
from mesh.proof import MARK
from mesh.state import FORK_SERVER, PROCESS, SUPERVISOR, Lock, StateDirectory
from mesh.tokens import Tokens, keep_token

if TYPE_CHECKING:
    from mesh.plan import MeshPlan, Options
    from mesh.ports import Ports
    from mesh.show import Show
    from services.script import Topology

# The fork server imports these by name, what starts first first. A sidecar reads policies only when there are
# some; imported here they cost all sidecars together what they would else cost each of them.
PROGRAMS = (
    "registry.__main__",
    "sidecar.__main__",
    "services.__main__",
    "loadgen.__main__",
    "sidecar.routing.compile",
)


@dataclass(frozen=True, slots=True)
class Times:
    """The real clock, and when the person gave the command by it."""

    clock: Callable[[], float]
    sleep: Callable[[float], None]
    began: float


@dataclass(frozen=True, slots=True)
class Request:
    """What was typed after `mesh up`."""

    topology: str
    registry: str | None = None
    load: bool = True
    rate: float | None = None
    port: int | None = None
    control_port: int | None = None
    drain_s: float = 30.0
    outbound_traffic_policy: str | None = None

    def options(self) -> "Options":
        """For the plan."""
        from mesh.plan import Options

        return Options(
            self.registry,
            self.load,
            self.rate,
            self.port,
            self.control_port,
            self.drain_s,
            self.outbound_traffic_policy,
        )


def up(request: Request, times: Times, make_show: Callable[[], "Show"], programs: tuple[str, ...]) -> int:
    """Run a mesh until it is told to end; returns the exit code. Raises MeshError when it could not start."""
    place = _take_place()
    return _run(request, times, place, make_show, programs)


def up_detached(request: Request, times: Times, programs: tuple[str, ...]) -> int:
    """Start a mesh that goes on by itself; returns when it is healthy, or says what it lacks."""
    place = _take_place()
    log = place.state.log_path(SUPERVISOR, PROCESS)
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(write_end)
        place.lock.abandon()  # the child holds it on
        return follow(read_end, pid, log)
    code = MeshError.exit_code
    try:
        os.close(read_end)
        _leave_terminal(log)
        show = PipeShow(write_end)
        try:
            code = _run(request, times, place, lambda: show, programs)
        except MeshError as error:
            show.failed(error)
            code = error.exit_code
    except KeyboardInterrupt:
        pass  # ended before it was up
    except BaseException:
        traceback.print_exc()  # its standard error is its log
    finally:
        os._exit(code)


@dataclass(frozen=True, slots=True)
class _Place:
    """A state directory, the right to run in it, and the umask of the person, for programs of theirs."""

    state: StateDirectory
    lock: Lock
    umask: int


def _take_place() -> _Place:
    umask = os.umask(UMASK)
    state = StateDirectory(Path.cwd())
    os.environ[MARK] = state.mark  # for all that is started from here on
    try:
        state.create()
    except OSError as error:
        raise MeshError(f"cannot write {state.path}: {error.strerror}") from error
    lock = Lock(state.lock_path)
    lock.acquire()
    try:
        with state.open_logs() as logs:
            for name in (SUPERVISOR, FORK_SERVER):
                logs.remove(state.log_path(name, PROCESS).name)
    except BaseException:
        lock.release()
        raise
    return _Place(state, lock, umask)


def _run(
    request: Request,
    times: Times,
    place: _Place,
    make_show: Callable[[], "Show"],
    programs: tuple[str, ...],
) -> int:
    state = place.state
    launched: Launched | None = None
    served = False
    ports: Ports | None = None
    # one that comes before the loop runs must not skip the clean-up
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        left = kill_leftovers(state, times.clock, times.sleep)
        launched = launch(programs, state.log_path(FORK_SERVER, PROCESS), state.journal_path, place.umask)
        topology, ports = _load(request.topology)
        tokens = Tokens.fresh()
        keep_token(state.token_path, tokens.control)
        plan = _plan(topology, request, ports, state, tokens)
        plan = replace(plan, notes=(*left.remarks, *plan.notes))
        state.clear_logs(keep=(state.log_path(FORK_SERVER, PROCESS), state.log_path(SUPERVISOR, PROCESS)))
        state.write_topology(plan.file.read_text(encoding="utf-8"))
        from mesh.serve import serve

        served = True
        return serve(plan, launched, ports, state, make_show(), times)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # this takes milliseconds, and must be whole
        if launched is not None:
            launched.end(used=served)
        try:
            kill_leftovers(state, times.clock, times.sleep)
        finally:
            if ports is not None:
                ports.close()
            place.lock.release()
            state.remove_if_unused()


def _load(name: str) -> "tuple[Topology, Ports]":
    from mesh.ports import Ports
    from services.script import TopologyError, load_topology

    try:
        return load_topology(name), Ports()
    except TopologyError as error:
        more = f" [and {len(error.more)} more: mesh validate {name}]" if error.more else ""
        raise UsageError(f"{error}{more}") from error


def _plan(
    topology: "Topology", request: Request, ports: "Ports", state: StateDirectory, tokens: Tokens
) -> "MeshPlan":
    from mesh.plan import make_plan
    from mesh.ports import allow_descriptors
    from services.script import TopologyError

    try:
        allow_descriptors(len(topology.instances()))
        return make_plan(topology, request.options(), ports, state, os.environ, tokens)
    except TopologyError as error:
        raise UsageError(str(error)) from error


def _leave_terminal(log: Path) -> None:
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    out = open_private(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for source, target in ((null, 0), (out, 1), (out, 2)):
        os.dup2(source, target)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
