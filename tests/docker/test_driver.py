"""The driver over an engine that only remembers: states, refusals, healing in order; needs no Docker."""

import dataclasses
from collections.abc import AsyncIterator
from typing import cast

import aiohttp
import pytest

from mesh.actions import Action
from mesh.docker.containers import Container
from mesh.docker.driver import Driver
from mesh.docker.engine import Engine
from mesh.docker.log_lines import LogLine
from mesh.docker.plan import Published, container_plan
from mesh.errors import ActionRefused, MeshError, UsageError
from mesh.plan import Kind, Part
from mesh.words import UnknownName
from services.script import parse_topology
from tests.fakes.clock import FakeClock

TOPOLOGY = parse_topology("services:\n- name: orders\n  isEntrypoint: true\n", "one.yaml")
TEN = 1795255200.0  # 2026-11-21T10:00:00Z
PUBLISHED = Published(control_port=4200, entrypoint_port=8080, registry_url="http://consul:8500")


def container(instance: str, part: Part, kind: Kind) -> Container:
    name = f"{instance}-{part}"
    joins = f"{instance}-sidecar" if kind is Kind.SERVICE and part is Part.APP else ""
    networks = () if joins else ("net",)
    return Container(
        name, name, instance, part, kind, "running", 0, 7, "2026-11-21T10:00:00Z", networks, joins
    )


ALL = (
    container("orders-1", Part.SIDECAR, Kind.SERVICE),
    container("orders-1", Part.APP, Kind.SERVICE),
    container("ingress", Part.SIDECAR, Kind.INGRESS),
    container("loadgen", Part.APP, Kind.LOADGEN),
    container("registry", Part.APP, Kind.REGISTRY),
)


class FakeEngine:
    """Does to its containers what Docker would, and remembers in which order."""

    def __init__(self) -> None:
        self.containers = {one.name: one for one in ALL}
        self.done: list[str] = []

    def look(self) -> tuple[Container, ...]:
        return tuple(self.containers.values())

    def kill(self, one: Container) -> None:
        self._become("kill", one, state="exited", exit_code=137, pid=0)

    def pause(self, one: Container) -> None:
        self._become("pause", one, state="paused")

    def unpause(self, one: Container) -> None:
        if one.state == "paused":
            self._become("unpause", one, state="running")

    def start(self, one: Container) -> None:
        self._become("start", one, state="running", pid=8, started="2026-11-21T10:05:00Z")

    def restart(self, one: Container) -> None:
        self._become("restart", one, state="running", pid=9, started="2026-11-21T10:06:00Z")

    def disconnect(self, one: Container) -> None:
        self._become("disconnect", one, networks=())

    def connect(self, one: Container, aliases: list[str]) -> None:
        self._become("connect", one, networks=("net",))

    def service_of(self, one: Container) -> str:
        return one.name

    def logs(self, one: Container, lines: int) -> list[str]:
        return [f"{one.name} {lines}"]

    def log_lines(self, one: Container, lines: int, after: str) -> list[LogLine]:
        stamps = [f"2026-11-21T10:00:0{second}.000000000Z" for second in (1, 3)]
        first = 0 if one.part is Part.SIDECAR else 1
        written = [LogLine(stamps[first], one.part.value, f"{one.name} {lines}")]
        return [line for line in written if line.at > after]

    def _become(self, verb: str, one: Container, **changes: object) -> None:
        self.done.append(f"{verb} {one.name}")
        self.containers[one.name] = dataclasses.replace(one, **changes)  # type: ignore[arg-type]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def wall_clock() -> FakeClock:
    return FakeClock(TEN + 2.5)


@pytest.fixture
async def driver(
    engine: FakeEngine, wall_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Driver]:
    monkeypatch.setattr("mesh.docker.driver.EFFECT_S", 0.0)  # no sidecar will answer here
    async with aiohttp.ClientSession() as session:
        made = Driver(
            container_plan(TOPOLOGY, ALL, PUBLISHED), cast(Engine, engine), session, FakeClock(), wall_clock
        )
        await made.look()
        yield made


async def test_kill_says_how_each_part_ended_and_that_it_stays_down(
    driver: Driver, engine: FakeEngine
) -> None:
    """As `docker kill` by a person is seen, too: no restart is promised."""
    document = await driver.act(Action.KILL, "orders-1", None)
    assert engine.done == ["kill orders-1-sidecar", "kill orders-1-app"]
    assert document["state"] == "down"
    assert document["reason"] == "sidecar killed by SIGKILL, app killed by SIGKILL"


async def test_a_cut_instance_is_down_with_the_reason_until_healed(
    driver: Driver, engine: FakeEngine
) -> None:
    """The sidecar's container is the one with the network."""
    document = await driver.act(Action.CUT, "orders-1", None)
    assert engine.done == ["disconnect orders-1-sidecar"]
    assert (document["state"], "cut off" in document["reason"]) == ("down", True)
    document = await driver.act(Action.HEAL, "orders-1", None)
    assert engine.done[1:] == ["connect orders-1-sidecar"]
    assert "cut off" not in document["reason"]


async def test_heal_starts_the_sidecar_first_and_takes_its_app_along(
    driver: Driver, engine: FakeEngine
) -> None:
    """An app that lived on is alone in the network of the dead sidecar: it is restarted, once."""
    await driver.act(Action.KILL, "orders-1", Part.SIDECAR)
    await driver.act(Action.HEAL, "orders-1", None)
    assert engine.done == ["kill orders-1-sidecar", "start orders-1-sidecar", "restart orders-1-app"]


async def test_pause_and_resume(driver: Driver, engine: FakeEngine) -> None:
    """Both parts; what is down cannot be paused or cut off."""
    assert (await driver.act(Action.PAUSE, "orders-1", None))["state"] == "paused"
    assert (await driver.act(Action.RESUME, "orders-1", None))["state"] != "paused"
    await driver.act(Action.KILL, "orders-1", None)
    for action in (Action.PAUSE, Action.CUT, Action.DRAIN):
        with pytest.raises(ActionRefused):
            await driver.act(action, "orders-1", None)


async def test_an_app_alone_is_not_started_beside_a_dead_sidecar(driver: Driver) -> None:
    """Docker could not join its network; the words say what to do."""
    await driver.act(Action.KILL, "orders-1", None)
    with pytest.raises(ActionRefused, match="its sidecar is down; heal both"):
        await driver.act(Action.HEAL, "orders-1", Part.APP)


async def test_names_parts_logs_and_the_end(driver: Driver) -> None:
    """Mistyped names are answered with the right one; control does not end what compose started."""
    with pytest.raises(UnknownName, match='did you mean "orders-1"'):
        await driver.act(Action.KILL, "order-1", None)
    with pytest.raises(UsageError, match="ingress has no app"):
        await driver.act(Action.KILL, "ingress", Part.APP)
    assert await driver.logs("orders-1", Part.APP, 3) == {"app": ["orders-1-app 3"]}
    with pytest.raises(UsageError, match="docker compose down"):
        driver.stop()


def test_a_project_without_a_container_of_the_topology() -> None:
    """One line that names it."""
    with pytest.raises(MeshError, match=r"there is no container of orders-1 \(app\)"):
        container_plan(TOPOLOGY, [one for one in ALL if one.name != "orders-1-app"], PUBLISHED)


async def test_log_lines_of_both_parts_come_in_the_order_of_time_and_once(
    driver: Driver, wall_clock: FakeClock
) -> None:
    """What was given is not given again; who asks for one part gets that one."""
    lines, upto = await driver.log_lines("orders-1", None, 5, "")
    assert [line.text for line in lines] == ["orders-1-sidecar 5"]  # the app's is of a moment not over yet
    wall_clock.advance(2.0)
    later, again = await driver.log_lines("orders-1", None, 5, upto)
    assert [line.text for line in later] == ["orders-1-app 5"]
    assert await driver.log_lines("orders-1", None, 5, again) == ([], again)
    both, _ = await driver.log_lines("orders-1", None, 5, "")
    assert [line.part for line in both] == ["sidecar", "app"]
    only, _ = await driver.log_lines("orders-1", Part.SIDECAR, 5, "")
    assert [line.part for line in only] == ["sidecar"]
    with pytest.raises(UnknownName):
        await driver.log_lines("order-1", None, 5, "")
