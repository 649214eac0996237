"""Short names in a document of another namespace are that namespace's: `orders` in `prod` is
`orders.prod.svc.cluster.local`, as Kubernetes has it. Pure.
"""

from collections.abc import Mapping
from typing import Any, Final

from .annotations import FallbackNote
from .fields import HOME

HOLDERS: Final = frozenset({"destination", "mirror"})
"""Mappings whose `host` is a service's, wherever they stand in a spec."""


MENTIONS: Final = frozenset({"namespace", "sourceNamespace", "exportTo"})
"""Fields whose value is a namespace."""


def full_name(host: str, namespace: str) -> str:
    """A name without a dot with its namespace; any other, and `*`, stays."""
    if "." in host or host in ("", "*") or namespace == HOME:
        return host
    return f"{host}.{namespace}.svc.cluster.local"


def qualified(raw: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """The document with its hosts named in full; what is wrong in it stays as it is."""
    spec = raw.get("spec")
    if not isinstance(spec, Mapping):
        return dict(raw)
    spec = {key: _inside(value, key, namespace) for key, value in spec.items()}
    if raw.get("kind") in ("VirtualService", "ServiceEntry") and isinstance(spec.get("hosts"), list):
        spec["hosts"] = [_host(host, namespace) for host in spec["hosts"]]
    if raw.get("kind") == "DestinationRule" and "host" in spec:
        spec["host"] = _host(spec["host"], namespace)
    return {**raw, "spec": spec}


def qualified_note(note: Any, namespace: str) -> Any:
    """The same for an annotation's value."""
    if isinstance(note, FallbackNote) and note.host is not None:
        return note.model_copy(update={"host": full_name(note.host, namespace)})
    return note


def at_home(raw: Mapping[str, Any], home: str) -> dict[str, Any]:
    """A document of a cluster that has the services in the namespace `home`, as this mesh has it, where they
    are in `default`: the document's own namespace and every mention of that one.
    """
    found = {**raw, "spec": _moved(raw.get("spec"), "", home)}
    metadata = raw.get("metadata")
    if isinstance(metadata, Mapping) and metadata.get("namespace") == home:
        found["metadata"] = {**metadata, "namespace": HOME}
    return found


def _moved(value: Any, key: str, home: str) -> Any:
    if isinstance(value, Mapping):
        return {name: _moved(item, str(name), home) for name, item in value.items()}
    if isinstance(value, list):
        return [_moved(item, key, home) for item in value]
    if not isinstance(value, str):
        return value
    if key in MENTIONS and value == home:
        return HOME
    if key in ("host", "hosts"):
        for suffix in ("", ".svc", ".svc.cluster.local"):
            if value.endswith(f".{home}{suffix}"):
                return f"{value.removesuffix(f'.{home}{suffix}')}.{HOME}.svc.cluster.local"
    return value


def _inside(value: Any, key: str, namespace: str) -> Any:
    if isinstance(value, list):
        return [_inside(item, "", namespace) for item in value]
    if not isinstance(value, Mapping):
        return value
    found = {name: _inside(item, name, namespace) for name, item in value.items()}
    if key in HOLDERS and "host" in found:
        found["host"] = _host(found["host"], namespace)
    return found


def _host(host: Any, namespace: str) -> Any:
    return full_name(host, namespace) if isinstance(host, str) else host
