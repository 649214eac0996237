"""An instance's state in one word with its reason, and when a part that ended is started again."""

import signal
from pathlib import Path
from typing import Any

import pytest

from mesh.instance import STARTING_GRACE_S, Instance, Standing, State
from mesh.plan import InstancePlan, Kind, Part
from mesh.processes import Exit, ProcessSpec
from tests.fakes.clock import FakeClock

PASSING: dict[str, Any] = {"state": "serving", "app": {"status": "passing", "reason": ""}}


def app_says(status: str, reason: str = "") -> dict[str, Any]:
    return {"state": "serving", "app": {"status": status, "reason": reason}}


def module(name: str) -> ProcessSpec:
    return ProcessSpec(name, Path("/dev/null"), module="x")


def an_instance(clock: FakeClock, *, command: bool = False, kind: Kind = Kind.SERVICE) -> Instance:
    app = ProcessSpec("app", Path("/dev/null"), command=("x",)) if command else module("app")
    parts = {Part.SIDECAR: module("sidecar"), Part.APP: app}
    if kind is Kind.INGRESS:
        del parts[Part.APP]
    elif kind is not Kind.SERVICE:
        del parts[Part.SIDECAR]
    return Instance(InstancePlan("orders-1", kind, "orders", "v1", "", parts, {}), clock)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def healthy(clock: FakeClock) -> Instance:
    """Both parts run and the app passes."""
    instance = an_instance(clock)
    for pid, part in enumerate(instance.parts, 100):
        instance.spawned(part, pid)
        instance.ready(part)
    instance.observed(PASSING)
    assert instance.standing() == Standing(State.HEALTHY)
    return instance


def test_the_way_up(clock: FakeClock) -> None:
    """Each step has its reason, and the last is healthy."""
    instance = an_instance(clock)
    assert instance.standing() == Standing(State.STARTING, "sidecar and app starting")
    instance.spawned(Part.SIDECAR, 1)
    instance.ready(Part.SIDECAR)
    assert instance.standing() == Standing(State.STARTING, "app starting")
    instance.spawned(Part.APP, 2)
    instance.ready(Part.APP)
    assert instance.standing() == Standing(State.STARTING, "the sidecar has not answered yet")
    instance.observed(app_says("critical", "connection refused"))
    assert instance.standing() == Standing(State.STARTING, "connection refused")
    instance.observed(PASSING)
    assert repr(instance) == "<Instance orders-1 healthy>"


def test_a_command_runs_from_its_start_and_is_starting_until_it_answers(clock: FakeClock) -> None:
    """It prints no ready line; if it never answers, it is down after the grace."""
    instance = an_instance(clock, command=True)
    instance.spawned(Part.SIDECAR, 1)
    instance.ready(Part.SIDECAR)
    instance.spawned(Part.APP, 2)
    instance.observed(app_says("critical", "connection refused"))
    assert instance.standing().state is State.STARTING
    clock.advance(STARTING_GRACE_S)
    assert instance.standing() == Standing(State.DOWN, "connection refused")


@pytest.mark.parametrize(
    ("snapshot", "state"),
    [
        (app_says("warning", "slow disk"), Standing(State.DEGRADED, "slow disk")),
        (app_says("critical", "no database"), Standing(State.DOWN, "no database")),
        ({"state": "draining", "app": None}, Standing(State.DRAINING, "it takes no new requests")),
        ({"state": "serving", "app": None}, Standing(State.HEALTHY)),
    ],
)
def test_the_sidecar_s_words_decide_while_both_run(
    healthy: Instance, snapshot: dict[str, Any], state: Standing
) -> None:
    """The app's own health and the drain."""
    healthy.observed(snapshot)
    assert healthy.standing() == state


def test_a_silent_sidecar_is_down_only_after_several_misses(healthy: Instance) -> None:
    """One slow answer says nothing; an answer ends the count."""
    healthy.missed("timeout")
    healthy.missed("timeout")
    assert healthy.healthy
    healthy.missed("timeout")
    assert healthy.standing() == Standing(State.DOWN, "the sidecar does not answer: timeout")
    healthy.observed(PASSING)
    assert healthy.healthy


def test_a_frozen_part_is_paused_until_it_goes_on(healthy: Instance) -> None:
    """Whoever froze it."""
    healthy.frozen(Part.APP, stopped=True, ready=True)
    assert healthy.standing() == Standing(State.PAUSED, "app paused")
    healthy.frozen(Part.SIDECAR, stopped=True, ready=True)
    assert healthy.standing() == Standing(State.PAUSED, "sidecar and app paused")
    for part in Part:
        healthy.frozen(part, stopped=False, ready=True)
    assert healthy.healthy


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (Exit(None, signal.SIGKILL), "app killed by SIGKILL"),
        (Exit(None, signal.SIGTERM), "app killed by SIGTERM"),
        (Exit(0, None), "app exited with 0"),
    ],
)
def test_an_end_that_was_asked_for_stays(healthy: Instance, end: Exit, words: str) -> None:
    """By `mesh kill` or by a person with a shell: a restart would undo it."""
    assert healthy.ended(Part.APP, end) is None
    assert healthy.standing() == Standing(State.DOWN, words)
    assert healthy.parts[Part.APP].pid is None


def test_a_crash_is_restarted_with_growing_delays(healthy: Instance, clock: FakeClock) -> None:
    """Half a second, doubled up to half a minute; a part that ran well for long begins anew."""
    delays = []
    for _ in range(8):
        delays.append(healthy.ended(Part.APP, Exit(1, None)))
        healthy.spawned(Part.APP, 200)
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert healthy.parts[Part.APP].restarts == 8
    clock.advance(30)
    assert healthy.ended(Part.APP, Exit(None, signal.SIGSEGV)) == 0.5
    assert healthy.standing() == Standing(State.DOWN, "app killed by SIGSEGV, starts again in 0.5 s")
    clock.advance(0.2)
    assert healthy.standing().reason == "app killed by SIGSEGV, starts again in 0.3 s"
    healthy.spawned(Part.APP, 300)
    healthy.ended(Part.APP, Exit(1, None), "ImportError: no module " + "x" * 200)
    assert healthy.standing().reason.startswith("app exited with 1 (ImportError: no module xxx")
    assert len(healthy.standing().reason) < 180


def test_told_to_stay_down_begins_the_delays_anew(healthy: Instance) -> None:
    """Who heals it later did not cause the crashes of before."""
    for _ in range(5):
        healthy.ended(Part.APP, Exit(1, None))
        healthy.spawned(Part.APP, 200)
    healthy.ended(Part.APP, Exit(1, None))
    healthy.stay_down(Part.APP)
    assert healthy.parts[Part.APP].restart_at is None
    healthy.spawned(Part.APP, 201)
    assert healthy.ended(Part.APP, Exit(1, None)) == 0.5


def test_a_part_that_is_gone_is_neither_frozen_nor_running(healthy: Instance) -> None:
    """A signal's news may come after the end; and of two states the worse one is told."""
    healthy.frozen(Part.SIDECAR, stopped=True, ready=True)
    healthy.ended(Part.APP, Exit(None, signal.SIGKILL))
    for stopped in (True, False):
        healthy.frozen(Part.APP, stopped=stopped, ready=True)
        assert healthy.standing() == Standing(State.DOWN, "app killed by SIGKILL")


def test_a_sidecar_that_is_gone_has_said_nothing(healthy: Instance) -> None:
    """Its last numbers must not stand on the page as if they were of now."""
    assert healthy.snapshot is not None
    healthy.ended(Part.SIDECAR, Exit(None, signal.SIGKILL))
    assert healthy.snapshot is None


def test_a_failed_start_is_tried_again_until_it_is_told_to_stay_down(clock: FakeClock) -> None:
    """A program that is not there yet may come; `mesh kill` ends the attempts."""
    instance = an_instance(clock)
    assert instance.not_started(Part.APP, "there is no program 'nod'") == 0.5
    assert instance.standing() == Standing(
        State.DOWN, "app did not start: there is no program 'nod', starts again in 0.5 s"
    )
    instance.stay_down(Part.APP)
    assert instance.standing() == Standing(State.DOWN, "app did not start: there is no program 'nod'")


def test_after_a_restart_the_old_snapshot_counts_no_more(healthy: Instance) -> None:
    """What the sidecar said of the last process says nothing of this one."""
    healthy.ended(Part.APP, Exit(None, signal.SIGKILL))
    healthy.spawned(Part.APP, 300)
    healthy.ready(Part.APP)
    assert healthy.standing() == Standing(State.STARTING, "the sidecar has not answered yet")
    healthy.observed(app_says("critical", "connection refused"))
    assert healthy.standing() == Standing(State.STARTING, "connection refused")


def test_the_extra_instances_have_one_part(clock: FakeClock) -> None:
    """The registry is healthy when it serves; the ingress when its sidecar says so."""
    registry = an_instance(clock, kind=Kind.REGISTRY)
    registry.spawned(Part.APP, 1)
    assert registry.standing() == Standing(State.STARTING, "app starting")
    registry.ready(Part.APP)
    assert registry.healthy
    ingress = an_instance(clock, kind=Kind.INGRESS)
    ingress.spawned(Part.SIDECAR, 2)
    ingress.ready(Part.SIDECAR)
    ingress.observed({"state": "serving", "app": None})
    assert ingress.healthy
    loadgen = an_instance(clock, kind=Kind.LOADGEN)
    assert loadgen.standing() == Standing(State.DOWN, "not started (mesh load --rate N starts it)")
