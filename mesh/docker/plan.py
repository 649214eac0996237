"""The topology and the containers as the plan that the rest of mesh/ works on. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mesh.docker.containers import Container, by_part
from mesh.errors import MeshError
from mesh.plan import INGRESS, LOADGEN, REGISTRY, InstancePlan, Kind, MeshPlan, Part
from mesh.processes import ProcessSpec
from services.script import Topology

# What listens where inside the containers (`mesh export compose`).
# The admin's paths on 15020: 15000 is on the pod's loopback alone.
SIDECAR_PORTS = {"inbound": 15006, "outbound": 15001, "admin": 15020, "app": 9000}
LOADGEN_PORT, REGISTRY_PORT = 9100, 8500


@dataclass(frozen=True, slots=True)
class Published:
    """Where people on this machine reach what the project publishes."""

    control_port: int
    entrypoint_port: int
    registry_url: str  # as the containers see it
    registry_token: str | None = field(default=None, repr=False)


def container_plan(topology: Topology, containers: Iterable[Container], published: Published) -> MeshPlan:
    """Raises MeshError when the project lacks a container that the topology needs."""
    found = by_part(containers)

    def plan(
        name: str, kind: Kind, parts: tuple[Part, ...], ports: dict[str, int], about: tuple[str, str, str]
    ) -> InstancePlan:
        specs = {}
        for part in parts:
            container = found.get((name, part))
            if container is None:
                raise MeshError(f"there is no container of {name} ({part}): docker compose up makes it")
            # a command: it serves when it runs, and says no line that could be waited for
            specs[part] = ProcessSpec(container.name, Path("/dev/null"), command=("docker", container.name))
        return InstancePlan(name, kind, *about, specs, ports, host=found[name, parts[0]].name)

    pod = (Part.SIDECAR, Part.APP)
    instances = tuple(
        plan(one.name, Kind.SERVICE, pod, SIDECAR_PORTS, (one.service.name, one.version, one.zone))
        for one in topology.instances()
    )
    ingress_ports = {"outbound": published.entrypoint_port, "admin": SIDECAR_PORTS["admin"]}
    return MeshPlan(
        topology=Path(topology.file).stem,
        file=Path(topology.file),
        instances=instances,
        ingress=plan(INGRESS, Kind.INGRESS, (Part.SIDECAR,), ingress_ports, (INGRESS, "", "")),
        loadgen=plan(LOADGEN, Kind.LOADGEN, (Part.APP,), {"app": LOADGEN_PORT}, (LOADGEN, "", "")),
        registry=plan(REGISTRY, Kind.REGISTRY, (Part.APP,), {"app": REGISTRY_PORT}, (REGISTRY, "", "")),
        registry_url=published.registry_url,
        registry_token=published.registry_token,
        control_port=published.control_port,
        load=True,
        policies=topology.policies,
    )
