"""One instance as it is to run: its processes, their order, and its ports by role."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mesh.ports import LOOPBACK
from mesh.processes import ProcessSpec

INGRESS = "ingress"
REGISTRY = "registry"
LOADGEN = "loadgen"


class Part(StrEnum):
    """One of an instance's processes; registry and load generator have an app only, the ingress a sidecar."""

    SIDECAR = "sidecar"
    APP = "app"


class Kind(StrEnum):
    """What an instance is to the mesh."""

    SERVICE = "service"
    INGRESS = INGRESS
    REGISTRY = REGISTRY
    LOADGEN = LOADGEN


@dataclass(frozen=True, slots=True)
class InstancePlan:
    """One instance: its processes in the order in which they start, and its ports by role."""

    name: str
    kind: Kind
    service: str
    version: str
    zone: str
    parts: Mapping[Part, ProcessSpec]
    ports: Mapping[str, int]
    host: str = LOOPBACK  # a container is reached by its name

    @property
    def admin(self) -> str | None:
        """Base URL of the sidecar's admin listener; None without a sidecar."""
        return url(self.ports["admin"], self.host) if "admin" in self.ports else None


def url(port: int, host: str = LOOPBACK) -> str:
    """Base URL of a listener of ours."""
    return f"http://{host}:{port}"


def address(port: int) -> str:
    """HOST:PORT of a listener of ours."""
    return f"{LOOPBACK}:{port}"
