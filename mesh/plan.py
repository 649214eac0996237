"""What a topology becomes: every process with its arguments, environment, ports and log, before any starts.

Pure but for the reservation of ports, which are the caller's. An instance is two processes, its app and
its sidecar. The registry, the ingress and the load generator are planned as instances too, so that they
can be killed and healed by the same words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mesh.errors import UsageError
from mesh.instance_plan import INGRESS, LOADGEN, REGISTRY, InstancePlan, Kind, Part, address, url
from mesh.policy_check import check_topology
from mesh.ports import PortInUse, Ports
from mesh.replicas import ReplicaPlanner, module_spec
from mesh.state import StateDirectory
from mesh.tokens import Scope, Tokens
from services.script import Topology, TopologyError

__all__ = [
    "INGRESS",
    "LOADGEN",
    "REGISTRY",
    "InstancePlan",
    "Kind",
    "MeshPlan",
    "Options",
    "Part",
    "make_plan",
    "url",
]

# Addresses that a person can keep as a bookmark; when somebody else has them, a free one is taken.
DEFAULT_INGRESS_PORT = 8080
DEFAULT_CONTROL_PORT = 4200

# Traffic for a topology that says nothing of it: enough to fill a graph, little enough for any laptop.
DEFAULT_RATE = 20.0
STEADY = "constant"


# How long requests under way may take to finish when an instance, or the mesh, is to end: as long as in
# Kubernetes (terminationGracePeriodSeconds). Whoever waits for less may say so, or press Ctrl-C again.
DRAIN_S = 30.0
# From the end of a drain to the end of the sidecar's process: last words to clients, traces.
SIDECAR_END_S = 2.0


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked of `mesh up` beside the topology; a port is None when it was not said, 0 for any."""

    registry: str | None = None
    load: bool = True
    rate: float | None = None
    port: int | None = None
    control_port: int | None = None
    drain_s: float = DRAIN_S
    outbound_traffic_policy: str | None = None  # None: the topology says


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the load generator begins with; `pattern` as it takes it."""

    rate: float = DEFAULT_RATE
    pattern: str = STEADY


@dataclass(frozen=True, slots=True)
class MeshPlan:
    """The whole mesh; `notes` are lines that a person should read once."""

    topology: str
    file: Path
    instances: tuple[InstancePlan, ...]
    ingress: InstancePlan
    loadgen: InstancePlan
    registry: InstancePlan | None  # None when somebody else's is used
    registry_url: str
    control_port: int
    load: bool
    policies: tuple[dict[str, object], ...]
    drain_s: float = DRAIN_S
    replicas: ReplicaPlanner | None = None  # for those that are added later; none where others start them
    tokens: Tokens | None = None
    registry_token: str | None = field(default=None, repr=False)  # somebody else's registry is told none
    notes: tuple[str, ...] = field(default=())
    traffic: Traffic = field(default=Traffic())

    @property
    def entrypoint_url(self) -> str:
        """Where people and the load generator go in."""
        return url(self.ingress.ports["outbound"])

    @property
    def control_url(self) -> str:
        """The control API; also where spans go."""
        return url(self.control_port)

    def everything(self) -> tuple[InstancePlan, ...]:
        """Instances of services, then the extra ones."""
        registry = () if self.registry is None else (self.registry,)
        return (*self.instances, self.ingress, *registry, self.loadgen)


def make_plan(
    topology: Topology,
    options: Options,
    ports: Ports,
    state: StateDirectory,
    environment: Mapping[str, str],
    tokens: Tokens,
) -> MeshPlan:
    """Reserve every port and say what is to run; raises UsageError or TopologyError, before anything starts.

    `environment` is that of the person who typed the command; programs of a `command:` inherit it.
    """
    return _Planner(topology, options, ports, state, environment, tokens).plan()


class _Planner:
    def __init__(
        self,
        topology: Topology,
        options: Options,
        ports: Ports,
        state: StateDirectory,
        environment: Mapping[str, str],
        tokens: Tokens,
    ) -> None:
        self._tokens = tokens
        self._topology = topology
        self._options = options
        self._ports = ports
        self._state = state
        self._environment = environment
        self._notes: list[str] = []
        self._file = Path(topology.file).resolve()
        self._registry_url = options.registry or ""
        self._control_port = 0

    def plan(self) -> MeshPlan:
        self._check_policies()
        # by number first: any free one must not be the one that somebody asks for
        fixed = self._fixed_app_ports()
        ingress_port = self._ingress_port()
        self._control_port = self._chosen(
            self._options.control_port, DEFAULT_CONTROL_PORT, "the control API", "--control-port"
        )
        registry = None if self._options.registry else self._registry()
        replicas = ReplicaPlanner(
            self._ports,
            self._state,
            self._environment,
            self._registry_url,
            url(self._control_port),
            self._options.drain_s,
            self._tokens.sidecar_environment(own_registry=registry is not None),
            self._tokens.spans_environment(),
            self._options.outbound_traffic_policy or self._topology.outbound_traffic_policy,
        )
        instances = tuple(
            replicas.plan(instance, fixed.get(instance.service.name))
            for instance in self._topology.instances()
        )
        ingress = self._ingress(ingress_port, replicas)
        return MeshPlan(
            topology=self._file.stem,
            file=self._file,
            instances=instances,
            ingress=ingress,
            loadgen=self._loadgen(ingress_port),
            registry=registry,
            registry_url=self._registry_url,
            control_port=self._control_port,
            load=self._options.load,
            policies=self._topology.policies,
            drain_s=self._options.drain_s,
            replicas=replicas,
            tokens=self._tokens,
            registry_token=None if registry is None else self._tokens.of(Scope.REGISTRY),
            notes=tuple(self._notes),
            traffic=self._traffic(),
        )

    def _check_policies(self) -> None:
        self._notes += [*self._topology.notes, *check_topology(self._topology)]

    # ports

    def _fixed_app_ports(self) -> dict[str, int]:
        return {
            service.name: self._reserve_of_file(service.port, "services", index, "port")
            for index, service in enumerate(self._topology.services)
            if service.port is not None
        }

    def _ingress_port(self) -> int:
        if self._options.port is None and self._topology.ingress_port is not None:
            return self._reserve_of_file(self._topology.ingress_port, "ingress", "port")
        return self._chosen(self._options.port, DEFAULT_INGRESS_PORT, "the entrypoint", "--port")

    def _reserve_of_file(self, port: int, *path: str | int) -> int:
        try:
            return self._ports.fixed(port)
        except UsageError as error:
            words = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
            raise TopologyError(
                self._topology.file,
                self._topology.line_of(*path),
                words.removeprefix("."),
                str(error),
                "choose another, or remove the key for a free one",
            ) from error

    def _chosen(self, asked: int | None, default: int, what: str, flag: str) -> int:
        if asked is not None:
            try:
                return self._ports.fixed(asked)
            except PortInUse as error:
                raise UsageError(f"{flag}: {error} (choose another, or 0 for any free one)") from error
            except UsageError as error:
                raise UsageError(f"{flag}: {error}") from error
        port = self._ports.preferred(default)
        if port != default:
            self._notes.append(f"port {default} is in use: {what} is at port {port} (choose one with {flag})")
        return port

    # processes

    def _registry(self) -> InstancePlan:
        port = self._ports.free()
        self._registry_url = url(port)
        flags = ("--http", address(port), "--ephemeral")
        env = {"REGISTRY_TOKEN": self._tokens.of(Scope.REGISTRY)}
        spec = module_spec(self._state, REGISTRY, Part.APP, "registry.__main__", *flags, env=env)
        return InstancePlan(REGISTRY, Kind.REGISTRY, REGISTRY, "", "", {Part.APP: spec}, {"app": port})

    def _ingress(self, port: int, replicas: ReplicaPlanner) -> InstancePlan:
        ports = {"outbound": port, "admin": self._ports.free()}
        entrypoint = self._topology.entrypoint.name
        spec = replicas.sidecar(INGRESS, ports, "--default-service", entrypoint)
        return InstancePlan(INGRESS, Kind.INGRESS, INGRESS, "", "", {Part.SIDECAR: spec}, ports)

    def _traffic(self) -> Traffic:
        load = self._topology.load
        if self._options.rate is not None:
            return Traffic(self._options.rate)
        return Traffic(load.rate, load.pattern or STEADY) if load else Traffic()

    def _loadgen(self, ingress_port: int) -> InstancePlan:
        port = self._ports.free()
        traffic = self._traffic()
        flags = [url(ingress_port), "--rate", f"{traffic.rate:g}", "--http", address(port)]
        if traffic.pattern != STEADY:
            flags += ["--pattern", traffic.pattern]
        env = {"LOADGEN_TOKEN": self._tokens.of(Scope.ADMIN)}
        spec = module_spec(self._state, LOADGEN, Part.APP, "loadgen.__main__", *flags, env=env)
        return InstancePlan(LOADGEN, Kind.LOADGEN, LOADGEN, "", "", {Part.APP: spec}, {"app": port})
