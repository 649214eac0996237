"""What a topology file means: services, their instances and scripts, with every default filled in."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.latency import Latency
from services.yaml_lines import Lines


@dataclass(frozen=True, slots=True)
class Sleep:
    """Pause; `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Call:
    """A request to another service. `size` bytes of body, `probability` 0..1, `timeout` seconds.

    A failed call that is `required` fails the caller's answer; another one only shows in its tree.
    With `versions` only replicas of these make it.
    """

    service: str
    size: int = 0
    probability: float = 1.0
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"
    path: str = "/"
    timeout: float | None = None
    required: bool = True
    versions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Concurrent:
    """Steps that run at once; done when the last of them is."""

    steps: tuple[Sleep | Call, ...]


Step = Sleep | Call | Concurrent


@dataclass(frozen=True, slots=True)
class Health:
    """How to ask the app for its health: GET `path` (None = it accepts a connection), each `interval` s."""

    path: str | None
    interval: float


@dataclass(frozen=True, slots=True)
class Load:
    """The traffic that starts with the mesh: `rate` requests/s, `pattern` in the load generator's words."""

    rate: float
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """One service. Sizes in bytes, `error_rate` 0..1; `line` is where its entry begins in the file.

    With a `command` the service is that program: `{port}` and `{name}` in its words stand for the
    instance's, and script, latency and error_rate are empty.
    """

    name: str
    line: int
    is_entrypoint: bool = False
    replicas: int = 1
    versions: tuple[str, ...] = ("v1",)
    zones: tuple[str, ...] = ("",)
    labels: tuple[tuple[str, str], ...] = ()
    error_rate: float = 0.0
    request_size: int = 0
    response_size: int = 0
    latency: Latency | None = None
    script: tuple[Step, ...] = ()
    command: tuple[str, ...] | None = None
    port: int | None = None
    health: Health = Health("/health", 1.0)

    def instance(self, index: int) -> "Instance":
        """Replica `index`, counting from 1; beyond `replicas` too, for one that is added later."""
        version = self.versions[(index - 1) % len(self.versions)]
        zone = self.zones[(index - 1) % len(self.zones)]
        return Instance(f"{self.name}-{index}", self, index, version, zone)

    def calls(self) -> tuple[Call, ...]:
        """Every call of the script, in its order, the concurrent ones too."""
        found: list[Call] = []
        for step in self.script:
            parts = step.steps if isinstance(step, Concurrent) else (step,)
            found.extend(part for part in parts if isinstance(part, Call))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Instance:
    """One replica of a service: `orders-1` is the first."""

    name: str
    service: Service
    index: int
    version: str
    zone: str

    @property
    def labels(self) -> dict[str, str]:
        """What subsets and sourceLabels of policies ask for."""
        own = {"app": self.service.name, "version": self.version, "zone": self.zone}
        return {**dict(self.service.labels), **own}


@dataclass(frozen=True, slots=True)
class Topology:
    """A topology file, valid as a whole.

    `policies` are Istio's documents as they were written; what they say is judged by the sidecar's
    routing, which can ask `line_of("policies", 0, "spec", …)` for the place of a fault.
    """

    file: str
    services: tuple[Service, ...]
    load: Load | None
    ingress_port: int | None
    policies: tuple[dict[str, object], ...]
    lines: Lines = field(repr=False, compare=False)
    outbound_traffic_policy: str = "REGISTRY_ONLY"
    notes: tuple[str, ...] = ()  # what was understood without being written

    @property
    def entrypoint(self) -> Service:
        """The one service that the ingress sends to."""
        return next(service for service in self.services if service.is_entrypoint)

    def service(self, name: str) -> Service:
        """The service of that name; KeyError when there is none."""
        for service in self.services:
            if service.name == name:
                return service
        raise KeyError(name)

    def instances(self) -> tuple[Instance, ...]:
        """Every replica of every service, in the file's order."""
        return tuple(
            service.instance(index) for service in self.services for index in range(1, service.replicas + 1)
        )

    def line_of(self, *path: str | int) -> int:
        """The line of that key, or of the nearest one above it that the file has."""
        return self.lines.at(path)
