"""Istio's ServiceEntry: hosts that the registry does not have, and where they are.

`resolution` STATIC: the endpoints' addresses. DNS: what the endpoints' names, or the host itself, resolve to,
asked again and again; DNS_ROUND_ROBIN: one address of it. NONE: where the caller wanted to go; a caller of a
sidecar names a host, so that is what the host resolves to. What one field alone cannot be is told here, the
rest by `compile_entry`.
"""

import ipaddress
import re
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, Field

from .fields import Base, ExportTo, IstioVersion, Metadata, Whole
from .words import HostName, Label, Name

HOSTS_MAX: Final = 256  # Istio's own limits
PORTS_MAX: Final = 256
ENDPOINTS_MAX: Final = 4096
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,253}")
PROTOCOLS: Final = ("HTTP", "HTTPS", "TLS", "TCP", "MONGO", "REDIS", "MYSQL")
_H2: Final = ("HTTP2", "GRPC", "GRPC-WEB")

Number = Annotated[int, Field(ge=1, le=65535)]


def _protocol(value: str) -> str:
    upper = value.upper()
    if upper in _H2:
        raise ValueError(f"{value!r} is not honoured here: sidecars speak HTTP/1.1, write HTTP")
    if upper not in PROTOCOLS:
        raise ValueError(f"{value[:40]!r} is no protocol; known are {', '.join(PROTOCOLS)}")
    return upper


def _address(value: str) -> str:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f"{value[:60]!r} is no IP address and no CIDR prefix") from None
    return value


def _endpoint(value: str) -> str:
    if value.startswith("unix://"):
        raise ValueError("a Unix socket is not honoured here; let it listen at 127.0.0.1")
    if ip_of(value) is None and not _NAME.fullmatch(value):
        raise ValueError(f"{value[:60]!r} is neither an IP address nor a host name")
    return value


def ip_of(text: str) -> str | None:
    """The address in its usual form, if it is one and no name."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


class ServicePort(Base):
    """A port of the hosts; requests to it go to `targetPort` of an endpoint, if there is one."""

    number: Number
    name: Name
    protocol: Annotated[str, AfterValidator(_protocol)] = "HTTP"
    targetPort: Number | None = None


class WorkloadEntry(Base):
    """An endpoint. `ports`: by a port's name, where this one has another. `locality`: region/zone/subzone."""

    not_honoured: ClassVar[dict[str, str]] = {
        "network": "all endpoints are reached directly; give the address",
        "serviceAccount": "the mesh has no identities yet; use subjectAltNames",
    }
    address: Annotated[str, Field(max_length=256), AfterValidator(_endpoint)]
    ports: dict[Name, Number] = Field(default_factory=dict)
    labels: dict[Label, Label] = Field(default_factory=dict)
    locality: Name = ""
    weight: int = Field(default=0, ge=0, le=2**32 - 1)

    @property
    def ip(self) -> str | None:
        """The address, if it is one and no name."""
        return ip_of(self.address)


class ServiceEntrySpec(Base):
    """Hosts that share ports and endpoints."""

    not_honoured: ClassVar[dict[str, str]] = {
        "workloadSelector": "there are no WorkloadEntries and pods; write the endpoints"
    }
    hosts: list[HostName] = Field(min_length=1, max_length=HOSTS_MAX)
    addresses: list[Annotated[str, Field(max_length=64), AfterValidator(_address)]] = Field(
        default_factory=list, max_length=HOSTS_MAX
    )
    ports: list[ServicePort] = Field(min_length=1, max_length=PORTS_MAX)
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = "MESH_EXTERNAL"
    resolution: Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN"] = "NONE"
    endpoints: list[WorkloadEntry] = Field(default_factory=list, max_length=ENDPOINTS_MAX)
    exportTo: ExportTo = Field(default_factory=list)
    subjectAltNames: list[Name] = Field(default_factory=list, max_length=HOSTS_MAX)


class ServiceEntry(Whole):
    """The whole document."""

    apiVersion: IstioVersion
    kind: Literal["ServiceEntry"]
    metadata: Metadata
    spec: ServiceEntrySpec

    @property
    def key(self) -> str:
        """Kind/name."""
        return f"{self.kind}/{self.metadata.name}"
