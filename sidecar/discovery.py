"""From the registry's answers to endpoints: one destination for each service or subset that was asked for.

Documents (ServiceEntry) are another source: what they say of a host stands before the registry's word.

The last good set is kept: a registry that is gone, or that says all at once that nobody is healthy,
takes no endpoint away; whether they answer is the breakers' business, and they know better.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from . import labels
from .balance.endpoints import EndpointSpec
from .balance.subset import select
from .balance.view import merged_view
from .errors import Flag, MeshError
from .io.deadlines import Deadlines, Timer
from .io.pool import Pool, Spawn
from .observe.events import EventLog
from .observe.lengths import AUTHORITY as NAME
from .observe.window import Window
from .routing.compiled import Compiled, nothing
from .routing.compiled import Destination as Meaning
from .routing.outside import PASSTHROUGH, Entry, parts_of
from .stack import Upstream
from .whereabouts import Found, Whereabouts

if TYPE_CHECKING:
    from registry.client import HealthView, ServiceInstance

    from .attempt import Routed

# The first request to a service waits this long for the registry's first answer.
FIRST_ANSWER_S = 1.0
# And to a host outside as long as a lookup in DNS may take.
FIRST_ADDRESS_S = 5.0
# Hosts at once that only requests name (a pattern without endpoints, ALLOW_ANY); an idle one makes room.
MAX_DYNAMIC = 256
# One that nobody asked for so long is forgotten, and its name is not asked any more.
DYNAMIC_IDLE_ROUNDS = 60
# Requests that wait for it; more are told that the service is unknown for now.
MAX_WAITING = 1024
Health: TypeAlias = Literal["passing", "warning", "critical"]
HEALTH: dict[str, Health] = {"passing": "passing", "warning": "warning"}
NO_POLICY = nothing()
# What Consul, and ours, has for itself in its own catalog. Who reached it through a sidecar could register,
# deregister and write policies: whatever a host, a document or a flag says, nobody is led there.
REGISTRY_ENTRY = "consul"
# Of what keeps a document's endpoints from being more.
PROBLEMS_SHOWN = 3
# How many names an error message lists.
NAMES_SHOWN = 12


class HealthSource(Protocol):
    """The part of `registry.client.RegistryClient` that is used here."""

    def watch_health(self, service: str) -> AsyncIterator[HealthView]: ...
    def watch_services(self) -> AsyncIterator[frozenset[str]]: ...
    def staleness(self, watch: str) -> float: ...


class Service:
    """What the registry says of one service, and what is counted for it, whichever subset it went to."""

    __slots__ = ("instances", "name", "retries", "watched", "window")

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self.name = name
        self.instances: tuple[ServiceInstance, ...] | None = None
        self.watched = False
        self.window = Window(clock)
        self.retries = 0


class Destination:
    """A service, or one subset of it, as requests go there: the `upstream` key of a route."""

    __slots__ = (
        "empty", "found", "loaded", "meaning", "problem", "service", "timer", "upstream", "waiting",
    )  # fmt: skip

    def __init__(
        self, service: Service, meaning: Meaning, upstream: Upstream, expired: Callable[[], None]
    ) -> None:
        self.service = service
        self.meaning = meaning
        self.upstream = upstream
        self.loaded = False
        self.empty = False  # its labels fit no instance of the service
        self.found: list[EndpointSpec] | None = None  # by its document's word
        self.problem = ""  # why that are not more
        self.waiting: list[Routed] = []
        self.timer = Timer(expired)


class Destinations:
    """All destinations; endpoints come by watches, or stand fixed (`static`)."""

    def __init__(
        self,
        source: HealthSource | None,
        make: Callable[[Meaning], Upstream],
        spawn: Spawn,
        deadlines: Deadlines,
        events: EventLog,
        clock: Callable[[], float],
        whereabouts: Whereabouts | None = None,
    ) -> None:
        self._whereabouts = whereabouts
        self._source = source
        self._make = make
        self._spawn = spawn
        self._deadlines = deadlines
        self._events = events
        self._clock = clock
        self._services: dict[str, Service] = {}
        self._destinations: dict[str, Destination] = {}
        self._static: dict[str, list[EndpointSpec]] = {}
        self._ready: dict[str, Upstream] = {}
        self._compiled = NO_POLICY
        self._arms: dict[str, tuple[str, float]] = {}  # destinations of splits, by key
        self.names: frozenset[str] | None = None if source is not None else frozenset()
        """What the registry has; None until it answered for the first time."""

    # -- for the data path -------------------------------------------------------------------------

    def get(self, key: str) -> Upstream | None:
        """A destination whose endpoints are known."""
        return self._ready.get(key)

    def find(self, key: str, routed: Routed) -> Upstream | MeshError | None:
        """The destination; None = `routed` is called once that is known."""
        return self._ready.get(key) or self.wait(key, routed)

    def connect(
        self, service: str, routed: Routed, port: int, name: str | None
    ) -> Upstream | MeshError | None:
        """The same for a connection to a service: by its port, and the name that its TLS client asks for."""
        key = self._compiled.connections.route(service, port, name)
        key = None if key is None else self._compiled.outside.usual(key)
        if key is None:
            asked = "no TLS" if name is None else repr(name[:NAME])
            return MeshError(Flag.NR, f"no tls rule of {service!r} is for {asked}")
        return self.find(key, routed)

    def asks_for_names(self, service: str) -> bool:
        """Whether `connect` needs the name."""
        return self._compiled.connections.asks_for_names(service)

    def at_once(self, key: str) -> Upstream | None:
        """The destination if it is known, for somebody who cannot wait; else it soon will be."""
        if key not in self._destinations:
            self._begin(key)
        return self._ready.get(key)

    def record(self, key: str) -> Service | None:
        """The service that a key belongs to."""
        return self._services.get(key.partition("|")[0])

    def knows(self, service: str) -> bool:
        if service in self._services or (self.names is not None and service in self.names):
            return True
        return service == PASSTHROUGH or self._compiled.outside.has(service)

    def names_text(self) -> str:
        found = self._services.keys() | (self.names or ()) | set(self._compiled.outside.names())
        names = sorted(found - {PASSTHROUGH})
        return (
            ", ".join(names[:NAMES_SHOWN]) + (", …" if len(names) > NAMES_SHOWN else "") if names else "none"
        )

    def wait(self, key: str, routed: Routed) -> Upstream | MeshError | None:
        """Call `routed` once the destination's endpoints are known, or when that takes too long."""
        destination = self._destinations.get(key) or self._begin(key)
        if destination is None:
            name, _, subset = key.partition("|")
            if not self._compiled.defines(key):
                return MeshError(Flag.NC, f"no DestinationRule for {name!r} defines the subset {subset!r}")
            known = self.names_text()
            what = "--upstream" if self._source is None else "service"
            return MeshError(Flag.NC, f"no {what} is named {name!r}; known are {known}")
        if destination.loaded:
            if destination.problem and not destination.upstream.endpoints.all:
                return MeshError(Flag.UH, destination.problem)
            return destination.upstream
        if len(destination.waiting) >= MAX_WAITING:
            return MeshError(Flag.NC, f"{destination.service.name}: still waiting for its endpoints")
        destination.waiting.append(routed)
        if destination.timer.deadline == float("inf"):
            patience = FIRST_ANSWER_S if destination.meaning.entry is None else FIRST_ADDRESS_S
            self._deadlines.arm(destination.timer, self._clock() + patience)
        return None

    # -- from outside ------------------------------------------------------------------------------

    def static(self, name: str, specs: list[EndpointSpec]) -> None:
        """Fixed endpoints, which no registry changes."""
        self._static[name] = specs
        self._add(name, self._compiled.destination(name))

    async def watch_names(self, changed: Callable[[], None]) -> None:
        """Keep `names` up to date, without end."""
        if self._source is not None:
            async for names in self._source.watch_services():
                self.names = names - {REGISTRY_ENTRY}
                changed()

    def apply(self, compiled: Compiled) -> None:
        """New policies: settings and subsets change, state stays; what no route names any more is let go."""
        self._compiled = compiled
        self._arms = compiled.table.arms()
        named = compiled.table.upstreams() | compiled.connections.upstreams()
        named |= {compiled.outside.usual(key) for key in named}
        for key, destination in list(self._destinations.items()):
            before, after = destination.meaning.entry, compiled.destination(key)
            base = parts_of(key).base if after.entry is not None else key
            used = compiled.table.reaches(key) or key in named or base in named
            if not used or not compiled.defines(key) or self._is_gone(before, after):
                self._drop(key, destination)
                continue
            destination.meaning = after
            if before != after.entry:
                self._attach(destination)
            upstream, policy = destination.upstream, destination.meaning.policy
            anew = upstream.policy.connection.tls != policy.connection.tls
            upstream.set_policy(policy)
            for endpoint in upstream.endpoints.all:
                if isinstance(endpoint.pool, Pool) and anew:
                    endpoint.pool.close()  # its connections are of the other kind
                    endpoint.pool = None
                elif isinstance(endpoint.pool, Pool):
                    endpoint.pool.limit(
                        connect_timeout=policy.connection.connect_timeout_s,
                        idle_timeout=policy.connection.idle_timeout_s,
                        max_requests=policy.connection.max_requests,
                        keep_alive=policy.connection.keep_alive,
                    )
            if destination.loaded:
                self._refresh(destination)
        kept = {destination.service.name for destination in self._destinations.values()}
        for name in self._services.keys() - kept:
            if self._services[name].watched or name in self._static:
                continue  # the registry may have it again
            if self.names is not None and name not in self.names:
                del self._services[name]  # no document has it any more, and no registry

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """One entry for each service; its subsets together, as `merged_view` says."""
        parts: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        for key, destination in self._destinations.items():
            subset = key.partition("|")[2].replace("|", ":")
            parts.setdefault(destination.service.name, []).append((subset, destination.upstream.snapshot()))
        result: dict[str, dict[str, Any]] = {}
        for name, found in parts.items():
            service = self._services[name]
            window = service.window
            stale = 0.0
            if self._source is not None and service.watched:
                stale = self._source.staleness(f"health/{name}")
            result[name] = {
                **merged_view(found),
                "requests": window.requests,
                "failed": window.failed,
                "retries": service.retries,
                "window": window.snapshot(),
                "stale_s": round(stale, 3),
                "location": self._location(name),
                "arms": [arm for key in self._arms if (arm := self._arm(key, name)) is not None],
            }
        return result

    def _arm(self, key: str, service: str) -> dict[str, Any] | None:
        """How one destination of a rule's split does, if it is this service's and in use."""
        destination = self._destinations.get(key)
        if destination is None or destination.service.name != service:
            return None
        rule, percent = self._arms[key]
        attempts, failed = destination.upstream.recent()
        counts = {"attempts": attempts, "failed": failed, "open": destination.upstream.service.watching}
        return {"key": key, "rule": rule, "percent": percent, **counts}

    def upstreams(self) -> list[Upstream]:
        """Those of all destinations."""
        return [destination.upstream for destination in self._destinations.values()]

    def connections(self) -> tuple[int, int]:
        """(idle, active) connections to all endpoints."""
        idle = active = 0
        for upstream in self.upstreams():
            for endpoint in upstream.endpoints.all:
                pool: Any = endpoint.pool
                if pool is not None:
                    idle += pool.idle
                    active += pool.active
        return idle, active

    # -- inside ------------------------------------------------------------------------------------

    def _begin(self, key: str) -> Destination | None:
        """Somebody asks for a destination for the first time: watch its service, if nobody does yet."""
        if not self._compiled.defines(key):
            return None
        meaning = self._compiled.destination(key)
        if meaning.entry is None:
            if self._compiled.outside.has(meaning.service) or "@" in key:
                return None  # a pattern, and nobody says which host is meant
            if meaning.service not in self._static and (self._source is None or is_registry(meaning.service)):
                return None
        elif meaning.entry.dynamic and not self._make_room():
            return None
        destination = self._add(key, meaning)
        self._attach(destination)
        return destination

    def _attach(self, destination: Destination) -> None:
        """Let its endpoints come from where its document says, or from the registry."""
        service, entry = destination.service, destination.meaning.entry
        destination.found, destination.problem = None, ""
        if entry is None:
            if self._source is not None and not service.watched and service.name not in self._static:
                service.watched = True
                self._spawn(self._watch(self._source, service), f"watch {service.name}")
        elif self._whereabouts is not None:
            found = self._whereabouts.at_once(entry)
            if found is not None:
                self._take(destination, found)
            else:
                self._spawn(self._follow(self._whereabouts, destination, entry), f"ask for {service.name}")

    async def _follow(self, whereabouts: Whereabouts, destination: Destination, entry: Entry) -> None:
        """Ask again and again for the names of one destination, for as long as it is one."""
        key, asked, idle = destination.meaning.key, -1, 0
        while True:
            found = await whereabouts.ask(entry)
            if self._destinations.get(key) is not destination or destination.meaning.entry != entry:
                return
            self._take(destination, found)
            requests = sum(endpoint.requests for endpoint in destination.upstream.endpoints.all)
            idle = 0 if requests != asked or _is_busy(destination) else idle + 1
            asked = requests
            if entry.dynamic and idle >= DYNAMIC_IDLE_ROUNDS:
                self._drop(key, destination)
                return
            await whereabouts.pause()

    def _take(self, destination: Destination, found: Found) -> None:
        """What is known now of where a destination is; nothing at all takes nothing away."""
        problem = "; ".join(found.problems[:PROBLEMS_SHOWN])
        if problem and problem != destination.problem:
            self._events.add("discovery", upstream=destination.service.name, reason=problem)
        destination.problem = problem
        if found.specs or destination.found is None:
            destination.found = found.specs
        self._refresh(destination)

    def _make_room(self) -> bool:
        """Whether one more host that only requests name may be a destination."""
        dynamic = [(key, each) for key, each in self._destinations.items() if "@" in key]
        if len(dynamic) >= MAX_DYNAMIC:
            idle = next(((key, each) for key, each in dynamic if not _is_busy(each)), None)
            if idle is None:
                return False
            self._drop(*idle)
        return True

    def _is_gone(self, before: Entry | None, after: Meaning) -> bool:
        """Whether a document had it, and now neither a document nor the registry has."""
        if before is None or after.entry is not None:
            return False
        name = after.service
        return "|" in name or not (name in self._static or (self.names is not None and name in self.names))

    def _location(self, service: str) -> str | None:
        """As a ServiceEntry says it; None = the registry has it."""
        outside = self._compiled.outside
        if service != PASSTHROUGH and not outside.has(service):
            return None
        return "MESH_EXTERNAL" if outside.external(service) else "MESH_INTERNAL"

    def _add(self, key: str, meaning: Meaning) -> Destination:
        def expired() -> None:
            waiting, destination.waiting = destination.waiting, []
            who = "the registry" if destination.meaning.entry is None else "DNS"
            for routed in waiting:
                routed.routed(MeshError(Flag.NC, f"{service.name}: {who} has not answered yet"))

        service = self._services.setdefault(meaning.service, Service(meaning.service, self._clock))
        destination = Destination(service, meaning, self._make(meaning), expired)
        self._destinations[key] = destination
        if meaning.entry is None and (service.name in self._static or service.instances is not None):
            self._refresh(destination)
        return destination

    def _drop(self, key: str, destination: Destination) -> None:
        del self._destinations[key]
        self._ready.pop(key, None)
        destination.timer.cancel()
        self._apply(destination, [])  # who waits is told, and idle connections are closed

    async def _watch(self, source: HealthSource, service: Service) -> None:
        async for view in source.watch_health(service.name):
            self._accept(service, view.instances)

    def _accept(self, service: Service, instances: tuple[ServiceInstance, ...]) -> None:
        if service.instances is None or any(instance.status != "critical" for instance in instances):
            service.instances = instances
        else:
            # those that left the registry are gone, the rest stands as it last stood
            present = {instance.id for instance in instances}
            service.instances = tuple(each for each in service.instances if each.id in present)
            self._events.add(
                "discovery", upstream=service.name, reason="all instances critical; the last set is kept"
            )
        for destination in list(self._destinations.values()):
            if destination.service is service and destination.meaning.entry is None:
                self._refresh(destination)

    def _refresh(self, destination: Destination) -> None:
        """Give a destination the endpoints of its service that its labels mean."""
        service, meaning = destination.service, destination.meaning
        specs = self._static.get(service.name) if meaning.entry is None else destination.found
        if meaning.entry is not None and specs is None:
            return  # its names are being asked
        if specs is None:
            # One that is critical stays in the set, with an open breaker, until it leaves the registry; one
            # that was never seen well does not join.
            endpoints = destination.upstream.endpoints
            specs = [
                _spec(instance)
                for instance in service.instances or ()
                if instance.status != "critical" or endpoints.get(instance.id) is not None
            ]
        chosen, empty = select(specs, meaning.labels, meaning.when_empty)
        if empty and not destination.empty:
            reason = f"no instance has the labels of {meaning.key}; "
            reason += "all are used" if meaning.when_empty == "any" else "requests to it are refused"
            self._events.add("discovery", upstream=meaning.key, reason=reason)
        destination.empty = empty
        self._apply(destination, chosen)
        if chosen or not destination.problem:
            self._ready[meaning.key] = destination.upstream
        else:
            self._ready.pop(meaning.key, None)  # `wait` says why

    def _apply(self, destination: Destination, specs: list[EndpointSpec]) -> None:
        difference = destination.upstream.update(specs)
        for endpoint in difference.removed:
            pool = endpoint.pool
            if isinstance(pool, Pool):
                pool.close()
        destination.loaded = True
        destination.timer.cancel()
        waiting, destination.waiting = destination.waiting, []
        found: Upstream | MeshError = destination.upstream
        if destination.problem and not specs:
            found = MeshError(Flag.UH, destination.problem)
        for routed in waiting:
            routed.routed(found)


def _is_busy(destination: Destination) -> bool:
    waits = bool(destination.waiting)
    return waits or any(endpoint.pending for endpoint in destination.upstream.endpoints.all)


def is_registry(service: str) -> bool:
    """Whether a service is the registry itself; Consul's names know no case."""
    return service.lower() == REGISTRY_ENTRY


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
        labels.of_instance(instance.service, instance.meta),
    )
