"""From the registry's answers to endpoints: one destination for each service that was ever asked for.

The last good set is kept: a registry that is gone, or that says all at once that nobody is healthy,
takes no endpoint away; whether they answer is the breakers' business, and they know better.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from .balance.endpoints import EndpointSpec
from .errors import Flag, MeshError
from .io.deadlines import Deadlines, Timer
from .io.pool import Pool, Spawn
from .observe.events import EventLog
from .observe.window import Window
from .stack import Upstream

if TYPE_CHECKING:
    from registry.client import HealthView, ServiceInstance

    from .attempt import Routed

# The first request to a service waits this long for the registry's first answer.
FIRST_ANSWER_S = 1.0
# Requests that wait for it; more are told that the service is unknown for now.
MAX_WAITING = 1024
Health: TypeAlias = Literal["passing", "warning", "critical"]
HEALTH: dict[str, Health] = {"passing": "passing", "warning": "warning"}
# How many names an error message lists.
NAMES_SHOWN = 12


class HealthSource(Protocol):
    """The part of `registry.client.RegistryClient` that is used here."""

    def watch_health(self, service: str) -> AsyncIterator[HealthView]: ...
    def watch_services(self) -> AsyncIterator[frozenset[str]]: ...
    def staleness(self, watch: str) -> float: ...


class Destination:
    """One service as this sidecar knows it."""

    __slots__ = ("loaded", "retries", "timer", "upstream", "waiting", "watched", "window")

    def __init__(self, upstream: Upstream, clock: Callable[[], float], expired: Callable[[], None]) -> None:
        self.upstream = upstream
        self.window = Window(clock)
        self.retries = 0
        self.loaded = False
        self.watched = False
        self.waiting: list[Routed] = []
        self.timer = Timer(expired)


class Destinations:
    """All destinations; endpoints come by watches, or stand fixed (`static`)."""

    def __init__(
        self,
        source: HealthSource | None,
        make: Callable[[str], Upstream],
        spawn: Spawn,
        deadlines: Deadlines,
        events: EventLog,
        clock: Callable[[], float],
    ) -> None:
        self._source = source
        self._make = make
        self._spawn = spawn
        self._deadlines = deadlines
        self._events = events
        self._clock = clock
        self._destinations: dict[str, Destination] = {}
        self._ready: dict[str, Upstream] = {}
        self.names: frozenset[str] | None = None if source is not None else frozenset()
        """What the registry has; None until it answered for the first time."""

    # -- for the data path -------------------------------------------------------------------------

    def get(self, name: str) -> Upstream | None:
        """A destination whose endpoints are known."""
        return self._ready.get(name)

    def find(self, name: str, routed: Routed) -> Upstream | MeshError | None:
        """The destination; None = `routed` is called once that is known."""
        return self._ready.get(name) or self.wait(name, routed)

    def record(self, name: str) -> Destination | None:
        return self._destinations.get(name)

    def knows(self, name: str) -> bool:
        return name in self._destinations or (self.names is not None and name in self.names)

    def names_text(self) -> str:
        names = sorted(self._destinations.keys() | (self.names or ()))
        return (
            ", ".join(names[:NAMES_SHOWN]) + (", …" if len(names) > NAMES_SHOWN else "") if names else "none"
        )

    def wait(self, name: str, routed: Routed) -> MeshError | None:
        """Call `routed` once the destination's endpoints are known, or when that takes too long."""
        if self._source is None:
            return MeshError(Flag.NC, f"no --upstream is named {name!r}; known are {self.names_text()}")
        destination = self._destinations.get(name)
        if destination is None:
            destination = self._add(name)
            destination.watched = True
            self._spawn(self._watch(self._source, name, destination), f"watch {name}")
        if len(destination.waiting) >= MAX_WAITING:
            return MeshError(Flag.NC, f"{name}: still waiting for the registry")
        destination.waiting.append(routed)
        if destination.timer.deadline == float("inf"):
            self._deadlines.arm(destination.timer, self._clock() + FIRST_ANSWER_S)
        return None

    # -- from outside ------------------------------------------------------------------------------

    def static(self, name: str, addresses: Iterable[tuple[str, int]]) -> None:
        """Fixed endpoints, which no registry changes."""
        destination = self._add(name)
        specs = [
            EndpointSpec(f"{name}-{number}", host, port, 1, "passing", "", "v1", {})
            for number, (host, port) in enumerate(addresses, 1)
        ]
        self._apply(name, destination, specs)

    async def watch_names(self) -> None:
        """Keep `names` up to date, without end."""
        if self._source is not None:
            async for names in self._source.watch_services():
                self.names = names

    def snapshot(self) -> dict[str, dict[str, Any]]:
        result: dict[str, dict[str, Any]] = {}
        for name, destination in self._destinations.items():
            window = destination.window
            stale = 0.0
            if self._source is not None and destination.watched:
                stale = self._source.staleness(f"health/{name}")
            result[name] = {
                **destination.upstream.snapshot(),
                "requests": window.requests,
                "failed": window.failed,
                "retries": destination.retries,
                "window": window.snapshot(),
                "stale_s": round(stale, 3),
            }
        return result

    def connections(self) -> tuple[int, int]:
        """(idle, active) connections to all endpoints."""
        idle = active = 0
        for destination in self._destinations.values():
            for endpoint in destination.upstream.endpoints.all:
                pool: Any = endpoint.pool
                if pool is not None:
                    idle += pool.idle
                    active += pool.active
        return idle, active

    # -- inside ------------------------------------------------------------------------------------

    def _add(self, name: str) -> Destination:
        def expired() -> None:
            waiting, destination.waiting = destination.waiting, []
            for routed in waiting:
                routed.routed(MeshError(Flag.NC, f"{name}: the registry has not answered yet"))

        destination = Destination(self._make(name), self._clock, expired)
        self._destinations[name] = destination
        return destination

    async def _watch(self, source: HealthSource, name: str, destination: Destination) -> None:
        async for view in source.watch_health(name):
            self._accept(name, destination, view.instances)

    def _accept(self, name: str, destination: Destination, instances: tuple[ServiceInstance, ...]) -> None:
        endpoints = destination.upstream.endpoints
        if any(instance.status != "critical" for instance in instances) or not destination.loaded:
            # One that is critical stays in the set, with an open breaker, until it leaves the registry; one
            # that was never seen well does not join.
            specs = [
                _spec(instance)
                for instance in instances
                if instance.status != "critical" or endpoints.get(instance.id) is not None
            ]
        else:
            known = {instance.id for instance in instances}
            specs = [endpoint.spec for endpoint in endpoints.all if endpoint.id in known]
            self._events.add(
                "discovery", upstream=name, reason="all instances critical; the last set is kept"
            )
        self._apply(name, destination, specs)

    def _apply(self, name: str, destination: Destination, specs: list[EndpointSpec]) -> None:
        difference = destination.upstream.update(specs)
        for endpoint in difference.removed:
            pool = endpoint.pool
            if isinstance(pool, Pool):
                pool.close()
        destination.loaded = True
        self._ready[name] = destination.upstream
        destination.timer.cancel()
        waiting, destination.waiting = destination.waiting, []
        for routed in waiting:
            routed.routed(destination.upstream)


def _spec(instance: ServiceInstance) -> EndpointSpec:
    weight = instance.weight_passing if instance.status == "passing" else instance.weight_warning
    health = HEALTH.get(instance.status, "critical")
    return EndpointSpec(
        instance.id,
        instance.address,
        instance.port,
        max(1, weight),  # Consul allows 0 for what is critical
        health,
        instance.meta.get("zone", ""),
        instance.meta.get("version", ""),
        instance.meta,
    )
