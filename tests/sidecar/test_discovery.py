"""From registry answers to endpoints, with a source that says what the test wants."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from registry.client import HealthView, ServiceInstance
from sidecar.attempt import Target
from sidecar.balance.endpoints import EndpointSpec
from sidecar.discovery import FIRST_ANSWER_S, Destinations
from sidecar.errors import Flag, MeshError
from sidecar.io.deadlines import Deadlines
from sidecar.observe.events import EventLog
from sidecar.routing.compiled import Destination as Meaning
from sidecar.stack import Upstream
from tests.fakes.clock import FakeClock


def instance(name: str, status: str = "passing") -> ServiceInstance:
    return ServiceInstance(
        id=name,
        service="orders",
        address="127.0.0.1",
        port=9000 + int(name[-1]),
        tags=(),
        meta={"version": "v2", "zone": "a"},
        status=status,
        weight_passing=2,
        weight_warning=1,
        node="n",
    )


class Source:
    """A registry whose next answers are put into queues."""

    def __init__(self) -> None:
        self.views: asyncio.Queue[HealthView] = asyncio.Queue()
        self.watched: list[str] = []

    async def watch_health(self, service: str) -> AsyncIterator[HealthView]:
        self.watched.append(service)
        while True:
            yield await self.views.get()

    async def watch_services(self) -> AsyncIterator[frozenset[str]]:
        yield frozenset({"orders", "users", "consul"})

    def staleness(self, watch: str) -> float:
        return 1.5

    def answer(self, *instances: ServiceInstance) -> None:
        self.views.put_nowait(HealthView(instances, 1, ()))


class Caller:
    """Waits for a route."""

    def __init__(self) -> None:
        self.found: Target | MeshError | None = None

    def routed(self, found: Target | MeshError) -> None:
        self.found = found


class World:
    """Destinations with a hand-driven clock and timers."""

    def __init__(self, source: Source | None) -> None:
        self.clock = FakeClock()
        self.timers: list[tuple[float, Any]] = []
        self.tasks: list[asyncio.Task[None]] = []
        events = EventLog("a-1", self.clock)
        deadlines = Deadlines(self._call_at, self.clock)
        self.destinations = Destinations(source, self._make, self._spawn, deadlines, events, self.clock)

    def _call_at(self, at: float, call: Any) -> Any:
        self.timers.append((at, call))
        return type("Handle", (), {"cancel": lambda _: None})()

    def _make(self, meaning: Meaning) -> Upstream:
        return Upstream(meaning.key, meaning.policy, lambda _: None, "a-1", self.clock, random.Random(1))

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(coroutine, name=name))

    def ids(self) -> list[str]:
        upstream = self.destinations.get("orders")
        return [] if upstream is None else [endpoint.id for endpoint in upstream.endpoints.all]

    def breakers(self) -> dict[str, str]:
        rows = self.destinations.snapshot()["orders"]["endpoints"]
        return {row["id"]: row["breaker"] for row in rows}

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_nobody_is_led_to_the_registry() -> None:
    """Its own entry in its catalog is no service: not before the first answer, not later, not for a copy."""
    source = Source()
    world = World(source)
    for _ in range(2):
        for key in ("consul", "Consul"):
            found = world.destinations.wait(key, Caller())
            assert isinstance(found, MeshError)
            assert str(found).startswith(f"no such service: no service is named {key!r}; known are ")
            assert world.destinations.at_once(key) is None
        await world.destinations.watch_names(lambda: None)
    assert not world.destinations.knows("consul")
    assert world.destinations.names_text() == "orders, users"
    assert source.watched == []
    await world.close()


async def test_the_first_request_waits_for_the_first_answer() -> None:
    """One watch, however many ask; all are told."""
    source = Source()
    world = World(source)
    callers = [Caller(), Caller()]
    for caller in callers:
        assert world.destinations.wait("orders", caller) is None
    source.answer(instance("orders-1"), instance("orders-2", "warning"))
    await world.settle()
    upstream = world.destinations.get("orders")
    assert [caller.found for caller in callers] == [upstream, upstream]
    assert source.watched == ["orders"]
    first, second = upstream.endpoints.all if upstream else ()
    assert (first.weight, first.version, first.zone, first.health) == (2, "v2", "a", "passing")
    assert (second.weight, second.health) == (1, "warning")
    await world.close()


async def test_a_silent_registry_is_not_waited_for_without_end() -> None:
    """After FIRST_ANSWER_S the request is refused; a later answer still makes the service known."""
    source = Source()
    world = World(source)
    caller = Caller()
    world.destinations.wait("orders", caller)
    at, fire = world.timers[-1]
    assert at == world.clock() + FIRST_ANSWER_S
    world.clock.advance(FIRST_ANSWER_S)
    fire()
    assert isinstance(caller.found, MeshError)
    assert caller.found.flag is Flag.NC
    source.answer(instance("orders-1"))
    await world.settle()
    assert world.ids() == ["orders-1"]
    await world.close()


async def test_critical_instances_get_no_traffic_unless_all_are() -> None:
    """One critical replica has its breaker opened, one never seen well does not join; all at once is the
    registry's problem, and the set is kept as it was."""
    source = Source()
    world = World(source)
    world.destinations.wait("orders", Caller())
    source.answer(instance("orders-1"), instance("orders-2"))
    await world.settle()
    source.answer(instance("orders-1"), instance("orders-2", "critical"))
    await world.settle()
    assert world.breakers() == {"orders-1": "closed", "orders-2": "open"}
    source.answer(instance("orders-1", "critical"), instance("orders-2", "critical"))
    await world.settle()
    assert world.breakers() == {"orders-1": "closed", "orders-2": "open"}
    source.answer(instance("orders-1"), instance("orders-2"), instance("orders-3", "critical"))
    await world.settle()
    assert world.ids() == ["orders-1", "orders-2"]
    await world.close()


async def test_static_endpoints_need_no_registry() -> None:
    """`--upstream`: known at once; other names are refused by name."""
    world = World(None)
    specs = [EndpointSpec(f"orders-{number}", "127.0.0.1", number) for number in (1, 2)]
    world.destinations.static("orders", specs)
    assert world.ids() == ["orders-1", "orders-2"]
    refused = world.destinations.wait("users", Caller())
    assert isinstance(refused, MeshError)
    assert refused.flag is Flag.NC
    assert "known are orders" in str(refused)
    assert world.destinations.snapshot()["orders"]["stale_s"] == 0.0


async def test_names_and_staleness() -> None:
    """What the registry has is known before anybody asks for it; a watch's age is told."""
    source = Source()
    world = World(source)
    assert world.destinations.names is None
    changed: list[bool] = []
    await world.destinations.watch_names(lambda: changed.append(True))
    assert changed == [True]
    assert world.destinations.knows("users")
    assert not world.destinations.knows("nobody")
    world.destinations.wait("orders", Caller())
    assert world.destinations.snapshot()["orders"]["stale_s"] == 1.5
    assert math.isfinite(world.timers[-1][0])
    await world.close()
