"""The traffic as it is steered: all of a change or nothing, and nothing is started for a refused one."""

import asyncio
import random
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from loadgen.runner import Runner
from loadgen.server import control_app
from loadgen.target import parse_target
from mesh.errors import UsageError
from mesh.instance import Phase
from mesh.load import Load
from mesh.plan import Part, Traffic

Steered = tuple[Load, Runner]


@pytest.fixture
async def steered() -> AsyncIterator[Steered]:
    """A generator of 20 requests/s that runs, and the one that steers it."""
    clock = asyncio.get_running_loop().time
    runner = Runner(parse_target("http://127.0.0.1:1"), 20, clock=clock, rng=random.Random(1))
    async with TestServer(control_app(runner)) as server, aiohttp.ClientSession() as session:
        yield Load(*planned(server.port or 0, Phase.RUNNING), session), runner


def planned(port: int, phase: Phase, traffic: Traffic | None = None) -> tuple[Any, Any]:
    """The plan and the instance, as far as they are asked."""
    loadgen = SimpleNamespace(ports={"app": port}, host="127.0.0.1")
    instance = SimpleNamespace(parts={Part.APP: SimpleNamespace(phase=phase)})
    return SimpleNamespace(loadgen=loadgen, traffic=traffic or Traffic()), instance


def knobs(runner: Runner) -> tuple[float, str]:
    return runner.schedule.rate, str(runner.schedule.pattern)


@pytest.mark.parametrize(
    ("rate", "pattern"),
    [
        (-1.0, "sine"),
        (30_000.0, "sine"),
        (50.0, "zigzag"),
        (50.0, {"pattern": "sine", "perod": 5}),
        (500.0, "spike:factor=1000"),
        (None, "spike:factor=1001"),
        (float("nan"), None),
        (float("inf"), None),
    ],
)
async def test_a_refused_change_changes_nothing(
    steered: Steered, rate: float | None, pattern: str | dict[str, Any] | None
) -> None:
    """Whichever half is wrong; also not later, when the generator is started again."""
    load, runner = steered
    await load.change(40.0, "poisson")
    for refuse in (load.change, async_(load.check)):
        with pytest.raises(UsageError):
            await refuse(rate, pattern)
        assert knobs(runner) == (40.0, "poisson")
    await load.restore()
    assert knobs(runner) == (40.0, "poisson")


def async_(call: Any) -> Any:
    async def wrapped(*arguments: Any) -> None:
        call(*arguments)

    return wrapped


async def test_both_halves_are_judged_together(steered: Steered) -> None:
    """One after the other each of these would be refused half-way."""
    load, runner = steered
    await load.change(15_000.0, None)
    await load.change(15.0, "spike:factor=1000")
    assert knobs(runner) == (15.0, "spike:factor=1000,lasting=2,every=20")
    await load.change(15_000.0, "constant")
    assert knobs(runner) == (15_000.0, "constant")


async def test_a_half_is_judged_by_what_the_generator_would_begin_with(steered: Steered) -> None:
    """What it was told, else what the topology says."""
    load, _ = steered
    await load.change(None, "spike:factor=1000")
    with pytest.raises(UsageError, match="peaks at 30000"):
        load.check(30.0, None)
    load.check(15.0, None)
    idle = planned(1, Phase.IDLE, Traffic(100.0, "spike:factor=100"))
    async with aiohttp.ClientSession() as session:
        fresh = Load(*idle, session)
        with pytest.raises(UsageError, match="peaks at 50000"):
            fresh.check(500.0, None)
        with pytest.raises(UsageError, match="peaks at 50000"):
            fresh.check(None, "spike:factor=500")
        with pytest.raises(UsageError, match="no such pattern"):
            fresh.check(None, "")
        fresh.check(500.0, "constant")
