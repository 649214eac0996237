"""What a filter may select in each kind of answer, with its type: the fields Consul documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Leaf:
    """A "string", "number" or "bool"."""

    kind: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A list; a comparison below it holds when any element meets it."""

    of: Field


@dataclass(frozen=True, slots=True)
class Mapped:
    """An object with keys of the user's own."""

    of: Field


@dataclass(frozen=True, slots=True)
class Struct:
    """An object with these fields."""

    fields: Mapping[str, Field]


Field = Leaf | Listed | Mapped | Struct

TEXT: Final = Leaf("string")
NUMBER: Final = Leaf("number")
BOOL: Final = Leaf("bool")
TEXTS: Final = Listed(TEXT)
META: Final = Mapped(TEXT)


def _struct(texts: str, **others: Field) -> Struct:
    return Struct({**dict.fromkeys(texts.split(), TEXT), **others})


_ADDRESSES: Final = Mapped(_struct("Address", Port=NUMBER))
_WEIGHTS: Final = Struct({"Passing": NUMBER, "Warning": NUMBER})
_UPSTREAM: Final = _struct(
    "DestinationType DestinationNamespace DestinationName Datacenter LocalBindAddress",
    LocalBindPort=NUMBER,
    MeshGateway=_struct("Mode"),
)
_PROXY: Final = _struct(
    "DestinationServiceName DestinationServiceID LocalServiceAddress",
    LocalServicePort=NUMBER,
    Upstreams=Listed(_UPSTREAM),
    MeshGateway=_struct("Mode"),
    Expose=Struct({"Checks": BOOL}),
)
_CONNECT: Final = Struct({"Native": BOOL})

NODE: Final = _struct("ID Node Address Datacenter", TaggedAddresses=Mapped(TEXT), Meta=META)
SERVICE: Final = _struct(
    "Kind ID Service Address",
    Tags=TEXTS,
    TaggedAddresses=_ADDRESSES,
    Meta=META,
    Port=NUMBER,
    Weights=_WEIGHTS,
    EnableTagOverride=BOOL,
    Proxy=_PROXY,
    Connect=_CONNECT,
)
CHECK: Final = _struct("Node CheckID Name Status Notes Output ServiceID ServiceName", ServiceTags=TEXTS)
HEALTH: Final = Struct({"Node": NODE, "Service": SERVICE, "Checks": Listed(CHECK)})
SERVICE_NODE: Final = _struct(
    "ID Node Address Datacenter ServiceKind ServiceID ServiceName ServiceAddress",
    TaggedAddresses=Mapped(TEXT),
    NodeMeta=META,
    ServiceTags=TEXTS,
    ServiceTaggedAddresses=_ADDRESSES,
    ServiceWeights=_WEIGHTS,
    ServiceMeta=META,
    ServicePort=NUMBER,
    ServiceEnableTagOverride=BOOL,
    ServiceProxy=_PROXY,
    ServiceConnect=_CONNECT,
)
