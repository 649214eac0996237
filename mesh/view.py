"""The mesh as one JSON document: what `mesh status --json`, the control API and the live table show.

Pure: made from the plan, the instances' records and what their sidecars last said.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from mesh.broken_arms import broken_arms
from mesh.instance import Instance, Phase
from mesh.plan import MeshPlan, Part

NO_TRAFFIC = {"rps": 0.0, "p50_ms": None, "p95_ms": None, "p99_ms": None, "error_rate": 0.0}


def instance_view(instance: Instance, callers: Mapping[str, list[str]]) -> dict[str, Any]:
    """One instance; `callers` are the breakers that stand in front of it, by state."""
    plan = instance.plan
    standing = instance.standing()
    return {
        "name": plan.name,
        "service": plan.service,
        "version": plan.version,
        "zone": plan.zone,
        "labels": _mapping((instance.snapshot or {}).get("labels")),
        "state": standing.state.value,
        "healthy": instance.healthy,
        "reason": standing.reason,
        "started": any(record.phase is not Phase.IDLE for record in instance.parts.values()),
        "pids": {part.value: _pid(instance, part) for part in (Part.APP, Part.SIDECAR)},
        "ports": {role: plan.ports.get(role) for role in ("inbound", "outbound", "admin", "app")},
        "restarts": sum(record.restarts for record in instance.parts.values()),
        "breakers": {state: sorted(callers.get(state, [])) for state in ("closed", "open", "half-open")},
        "traffic": _traffic(instance),
    }


def mesh_view(plan: MeshPlan, instances: Iterable[Instance], extras: Iterable[Instance]) -> dict[str, Any]:
    """All of it but what only the supervisor knows (its phase, times and the load)."""
    instances, extras = list(instances), list(extras)
    breakers = breakers_by_endpoint([*instances, *extras])
    return {
        "topology": plan.topology,
        "file": str(plan.file),
        "entrypoint": plan.entrypoint_url,
        "registry": plan.registry_url,
        "control": plan.control_url,
        "notes": list(plan.notes),
        "warnings": broken_arms(one.snapshot or {} for one in (*instances, *extras)),
        "instances": [instance_view(one, breakers.get(one.plan.name, {})) for one in instances],
        "extras": [instance_view(one, {}) for one in extras],
    }


def breakers_by_endpoint(instances: Iterable[Instance]) -> dict[str, dict[str, list[str]]]:
    """Endpoint -> breaker state -> the callers whose breaker for it is in that state."""
    found: dict[str, dict[str, list[str]]] = {}
    for caller in instances:
        for upstream in _mapping((caller.snapshot or {}).get("upstreams")).values():
            for endpoint in _mapping(upstream).get("endpoints") or ():
                states = found.setdefault(str(endpoint.get("id")), {})
                states.setdefault(str(endpoint.get("breaker")), []).append(caller.plan.name)
    return found


def _pid(instance: Instance, part: Part) -> int | None:
    record = instance.parts.get(part)
    return record.pid if record else None


def _traffic(instance: Instance) -> dict[str, Any]:
    """What comes in to an instance; at the ingress what goes out."""
    snapshot = instance.snapshot or {}
    side = snapshot.get("inbound") or snapshot.get("outbound")
    window = _mapping(_mapping(side).get("window"))
    return {key: window.get(key, otherwise) for key, otherwise in NO_TRAFFIC.items()}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
