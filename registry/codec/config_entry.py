"""Config entries of Consul 1.8 as they are sent: the kind's own field names, whatever case they came in.

The values are kept as they are. What one entry asks of another (a splitter's subsets, a router's
protocol) is for the mesh that acts on them to check, and that is real Consul's, not this one.
"""

from __future__ import annotations

from typing import Any, Final

from registry.codec.fields import DecodeError, Fields, Shape
from registry.errors import RegistryError

_COMMON: Final = "Kind Name CreateIndex ModifyIndex Namespace"
KINDS: Final = {
    "service-defaults": Shape(f"{_COMMON} Protocol MeshGateway Expose ExternalSNI"),
    "proxy-defaults": Shape(f"{_COMMON} Config MeshGateway Expose"),
    "service-router": Shape(f"{_COMMON} Routes"),
    "service-splitter": Shape(f"{_COMMON} Splits"),
    "service-resolver": Shape(
        f"{_COMMON} DefaultSubset Subsets Redirect Failover ConnectTimeout LoadBalancer"
    ),
    "ingress-gateway": Shape(f"{_COMMON} TLS Listeners"),
    "terminating-gateway": Shape(f"{_COMMON} Services"),
}
_HEAD: Final = Shape(_COMMON)
_ALWAYS_SHOWN: Final = {
    "service-defaults": ("MeshGateway", "Expose"),
    "proxy-defaults": ("MeshGateway", "Expose"),
}
_FREE: Final = frozenset({"Config", "Meta", "Set", "Add"})
"""Maps whose keys are the user's own."""

_NAMED: Final = frozenset({"Subsets", "Failover"})
"""Maps whose keys are the user's own and whose values are not."""

_MAX_WEIGHT: Final = 1e6
"""Far beyond the 100 that all of them make; a sum of numbers without end has no text."""

_ACRONYMS: Final = {"http": "HTTP", "tls": "TLS", "sni": "SNI", "id": "ID", "ttl": "TTL"}


class ConfigEntryError(RegistryError):
    """A config entry that cannot be kept, in Consul's words."""


def config_entry(value: Any) -> tuple[str, str, dict[str, Any]]:
    """(kind, name, the rest); DecodeError or ConfigEntryError when it is none."""
    head = Fields(value, _HEAD, lax=True)
    kind, name = head.text("Kind"), head.text("Name")
    if not kind:
        raise DecodeError("Payload does not contain a kind/Kind key at the top level")
    shape = KINDS.get(kind)
    if shape is None:
        raise DecodeError(f"invalid config entry kind: {kind}")
    strange = [key for key in value if key.replace("_", "").lower() not in shape.known]
    if strange:
        lines = "".join(f'\n\t* invalid config key "{key}"' for key in strange)
        raise DecodeError(f"{len(strange)} error{'s' * (len(strange) > 1)} occurred:{lines}\n\n")
    if kind == "proxy-defaults":
        name = "global"  # there is one, whatever it was called
    if not name:
        raise ConfigEntryError(
            "serviceName is required" if kind == "service-defaults" else "Name is required"
        )
    fields = Fields(value, shape)
    body: dict[str, Any] = {}
    for field in shape.names.split():
        if field in _COMMON.split():
            continue
        if field in fields:
            body[field] = _canonical(field, fields.raw(field))
        elif field in _ALWAYS_SHOWN.get(kind, ()):
            body[field] = {}
    if kind == "service-splitter":
        _check_weights(body.get("Splits"))
    return kind, name, body


def _check_weights(splits: Any) -> None:
    if not isinstance(splits, list) or not all(isinstance(one, dict) for one in splits):
        raise ConfigEntryError("no splits configured")
    weights = [one.get("Weight", 0) for one in splits]
    if not all(isinstance(one, int | float) and abs(one) <= _MAX_WEIGHT for one in weights):
        raise ConfigEntryError("a split's Weight is no number")
    if not splits:
        raise ConfigEntryError("no splits configured")
    if round(sum(weights), 2) != 100:
        raise ConfigEntryError(f"the sum of all split weights must be 100, not {sum(weights):f}")


def _canonical(field: str, value: Any) -> Any:
    if field in _FREE:
        return value
    if isinstance(value, list):
        return [_canonical("", one) for one in value]
    if not isinstance(value, dict):
        return value
    if field in _NAMED:
        return {key: _canonical("", one) for key, one in value.items()}
    named = {_camel(key): one for key, one in value.items()}
    return {key: _canonical(key, one) for key, one in named.items()}


def _camel(name: str) -> str:
    if name[:1].isupper():
        return name
    return "".join(_ACRONYMS.get(part, part[:1].upper() + part[1:]) for part in name.split("_"))
