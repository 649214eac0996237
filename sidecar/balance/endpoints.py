"""Endpoints of one service and what survives a change of membership.

A snapshot of the registry is a list of `EndpointSpec`; `EndpointSet.update` compares it with what is there
and returns a `Diff`. An endpoint that stays keeps its object, so latency, breaker, connection pool and
counters live on. One that comes back with the same id within `MEMORY_S` gets its breaker back (`Memory`), so
that leaving and joining again is no way around a verdict. The same id at another address is another process:
it is removed and added, never patched, because its connections are of no use.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from ..policy.breaker import Breaker
from ..policy.errors import PolicyError
from .latency import LatencyHistogram
from .peak_ewma import SEED_S

MEMORY_S: Final = 600.0
MEMORY_MAX: Final = 256  # removed endpoints remembered per service
WEIGHT_MAX: Final = 128  # Consul's clamp is 1..128


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """One instance as the registry describes it. `weight` 1..128 is the one for its `health` (Consul
    `Weights`).
    """

    id: str
    host: str
    port: int
    weight: int = 1
    health: Literal["passing", "warning", "critical"] = "passing"
    zone: str = ""
    version: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.id:
            raise PolicyError("endpoint.id", "must not be empty")
        if not 0 < self.port < 65536:
            raise PolicyError(f"endpoint[{self.id}].port", f"must be 1 to 65535, got {self.port}")
        if self.weight < 1:
            raise PolicyError(f"endpoint[{self.id}].weight", f"must be 1 or more, got {self.weight}")


class LoadReport(NamedTuple):
    """What a callee says about itself (`health.py` reads and writes it)."""

    health: float  # 1 passing, 0.5 warning, 0 critical
    lag_ms: float
    utilisation: float


class Endpoint:
    """An instance as this caller sees it. Attributes, not methods: the pick reads them a hundred thousand
    times.

    `pool`, `meters` and `question` belong to the edge: None until it sets them, never touched here.
    """

    __slots__ = (
        "answered_at", "breaker", "ewma", "ewma_at", "failures", "gate", "health", "host", "id", "latency",
        "measured", "meta", "meters", "passed_from", "passed_over", "pending", "pool", "port", "question",
        "report", "report_raw", "reported", "requests", "share", "silent_since", "spec", "version",
        "weight", "zone",
    )  # fmt: skip

    def __init__(self, spec: EndpointSpec, breaker: Breaker, now: float) -> None:
        self.breaker = breaker
        self.pool: Any = None
        self.meters: Any = None
        self.question: Any = None
        self.pending = 0  # attempts in flight
        self.requests = 0
        self.failures = 0
        self.passed_over = 0  # attempts that others got while its breaker was open (`passed_over.py`)
        self.passed_from: int | None = None
        self.ewma = SEED_S
        self.ewma_at = now
        self.measured = False  # until then the pool's median stands in for `ewma`
        self.answered_at = 0.0  # when bytes of an answer last came
        self.silent_since = now  # with attempts in flight: since when none was answered
        self.report: LoadReport | None = None  # the callee's own word about its health, and what it leaves
        self.report_raw = b""
        self.reported = 1.0
        self.share = 1.0  # weight x health, 0..1, relative to the largest; 0 = not to be picked
        self.gate = 1.0  # probability of being a candidate at all: ramp, or what a held one is worth
        self.latency = LatencyHistogram()
        self.id = spec.id
        self.host = spec.host
        self.port = spec.port
        self.describe(spec)

    def describe(self, spec: EndpointSpec) -> None:
        """Take over what may change while the endpoint stays the same."""
        self.spec = spec
        self.weight = min(spec.weight, WEIGHT_MAX)
        self.health = spec.health
        self.zone = spec.zone
        self.version = spec.version
        self.meta = spec.meta

    @property
    def address(self) -> str:
        """host:port, an IPv6 host in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"<Endpoint {self.id} {self.address} {self.health} pending={self.pending}>"


@dataclass(frozen=True, slots=True)
class Diff:
    """What an update did. `kept` are those that stay and changed (weight, health, zone, version, meta)."""

    added: tuple[Endpoint, ...]
    removed: tuple[Endpoint, ...]
    kept: tuple[Endpoint, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.kept)


class Memory:
    """Breakers of endpoints that left, the oldest forgotten first."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, str, Breaker]] = OrderedDict()

    def remember(self, endpoint: Endpoint, now: float) -> None:
        """`endpoint` left."""
        self._left[endpoint.id] = (now, endpoint.address, endpoint.breaker)
        self._left.move_to_end(endpoint.id)
        while len(self._left) > MEMORY_MAX:
            self._left.popitem(last=False)

    def recall(self, endpoint_id: str, now: float) -> tuple[str, Breaker] | None:
        """(address then, breaker) if it left not longer than MEMORY_S ago."""
        found = self._left.pop(endpoint_id, None)
        if found is None or now - found[0] > MEMORY_S:
            return None
        return found[1], found[2]

    def __len__(self) -> int:
        return len(self._left)


class EndpointSet:
    """The endpoints by id, in the order in which they came."""

    __slots__ = ("_by_id", "all")

    def __init__(self) -> None:
        self._by_id: dict[str, Endpoint] = {}
        self.all: tuple[Endpoint, ...] = ()

    def __len__(self) -> int:
        return len(self.all)

    def get(self, endpoint_id: str) -> Endpoint | None:
        """The endpoint of that id."""
        return self._by_id.get(endpoint_id)

    def compare(
        self, specs: Sequence[EndpointSpec]
    ) -> tuple[list[EndpointSpec], list[Endpoint], list[tuple[Endpoint, EndpointSpec]]]:
        """(to add, to remove, to describe anew); an id given twice counts once, the last one wins."""
        wanted = {spec.id: spec for spec in specs}
        removed: list[Endpoint] = []
        kept: list[tuple[Endpoint, EndpointSpec]] = []
        for endpoint in self.all:
            spec = wanted.get(endpoint.id)
            if spec is None or spec.host != endpoint.host or spec.port != endpoint.port:
                removed.append(endpoint)
            elif spec != endpoint.spec:
                kept.append((endpoint, spec))
        gone = {endpoint.id for endpoint in removed}
        added = [spec for spec in wanted.values() if spec.id not in self._by_id or spec.id in gone]
        return added, removed, kept

    def replace(self, removed: Sequence[Endpoint], added: Sequence[Endpoint]) -> None:
        """Take endpoints out and put others in."""
        for endpoint in removed:
            del self._by_id[endpoint.id]
        for endpoint in added:
            self._by_id[endpoint.id] = endpoint
        self.all = tuple(self._by_id.values())
