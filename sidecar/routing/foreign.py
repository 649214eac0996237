"""Kinds that are no policies of this mesh: why each is not taken, and what to do. Pure."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Final

SKIP: Final = "--skip-unknown leaves such documents out"
SHOWN_MAX: Final = 80

ISTIO: Final = {
    "Gateway": "every gateway that a VirtualService names is the mesh's ingress",
    "Sidecar": "every sidecar sees every service and document",
    "WorkloadEntry": "instances come from the registry",
    "WorkloadGroup": "instances come from the registry",
    "EnvoyFilter": "there is no Envoy to configure",
    "ProxyConfig": "a sidecar's settings are its flags",
    "WasmPlugin": "there is no Wasm",
    "TrafficExtension": "there is no Wasm and no Lua",
    "AuthorizationPolicy": "who may call whom is not decided here",
    "PeerAuthentication": "sidecars speak plain HTTP on one machine",
    "RequestAuthentication": "tokens of requests are not looked at",
    "Telemetry": "metrics, traces and access logs are always on",
}
"""Istio's kinds that no model has, with the reason."""

_KUBERNETES: Final = ("v1", "apps/", "batch/", "autoscaling/", "policy/", "rbac.", "networking.k8s.io/")


def is_foreign(raw: object, known: Iterable[str]) -> bool:
    """Whether it is a document, but of a kind that nobody here knows, and no slip of the pen."""
    if not isinstance(raw, Mapping):
        return False
    kind = raw.get("kind")
    return isinstance(kind, str) and kind != "" and kind not in known and not _near(raw, known)


def refusal(raw: Mapping[str, Any], known: Iterable[str]) -> str:
    """Why a document of this kind is not taken; the remedy."""
    kind = raw.get("kind")
    if kind is None:
        return f"is missing; a policy's is one of {', '.join(sorted(known))}"
    shown = repr(kind) if isinstance(kind, str) else f"a {type(kind).__name__}"
    shown = shown if len(shown) <= SHOWN_MAX else f"{shown[:SHOWN_MAX]}…"
    if near := _near(raw, known):
        return f"{shown} is unknown (did you mean {near!r}?)"
    return f"{shown} is not honoured here: {_reason(raw, str(kind), known)}; {SKIP}"


def _near(raw: Mapping[str, Any], known: Iterable[str]) -> str:
    kind, version = raw.get("kind"), str(raw.get("apiVersion", ""))
    ours = not version or version.startswith(("networking.istio.io/", "mesh/"))
    if not isinstance(kind, str) or not ours or kind in ISTIO or len(kind) > SHOWN_MAX:
        return ""
    return next(iter(difflib.get_close_matches(kind, list(known), n=1, cutoff=0.6)), "")


def _reason(raw: Mapping[str, Any], kind: str, known: Iterable[str]) -> str:
    version = str(raw.get("apiVersion", ""))
    if kind in ISTIO and (not version or ".istio.io/" in version):
        return ISTIO[kind]
    if version.startswith(_KUBERNETES):
        return "it is Kubernetes' own, and the topology says what runs"
    return f"known are {', '.join(sorted(known))}"
