"""What callers hand to the registry and get from it, and Consul's JSON for both."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from registry.durations import format_duration
from registry.model import CheckDefinition, KVEntry, worst


@dataclass(frozen=True, slots=True)
class ServiceInstance:
    """One instance as its callers see it; `status` is the worst of its node's and its own checks."""

    id: str
    service: str
    address: str
    port: int
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    status: str = "passing"
    weight_passing: int = 1
    weight_warning: int = 1
    node: str = ""

    @property
    def weight(self) -> int:
        """The weight its status gives it: critical gets nothing."""
        return {"passing": self.weight_passing, "warning": self.weight_warning}.get(self.status, 0)


@dataclass(frozen=True, slots=True)
class HealthAnswer:
    """One answer of `health/service`: the index it carried, the instances by (node, id)."""

    index: int
    instances: tuple[ServiceInstance, ...]


@dataclass(frozen=True, slots=True)
class HealthView:
    """What a watch believes now; `held` of the instances are kept though the last answer lacked them."""

    instances: tuple[ServiceInstance, ...]
    index: int
    held: int = 0


@dataclass(frozen=True, slots=True)
class ServiceRegistration:
    """One instance to register; `weights` is (passing, warning)."""

    id: str
    name: str
    address: str = ""
    port: int = 0
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[CheckDefinition, ...] = ()
    weights: tuple[int, int] = (1, 1)

    def check_ids(self) -> tuple[str, ...]:
        """The id each check gets, with Consul's names where the definition has none."""
        many = len(self.checks) > 1
        return tuple(
            check.check_id or (f"service:{self.id}:{number}" if many else f"service:{self.id}")
            for number, check in enumerate(self.checks, 1)
        )


def check_json(check: CheckDefinition) -> dict[str, Any]:
    """A check definition in Consul's words; nothing that is not set, since old servers refuse new fields."""
    texts = {
        "CheckID": check.check_id,
        "Name": check.name,
        "HTTP": check.http,
        "TCP": check.tcp,
        "Method": check.method,
        "Body": check.body,
        "AliasService": check.alias_service,
        "AliasNode": check.alias_node,
        "Status": check.status,
        "Notes": check.notes,
    }
    times = {
        "TTL": check.ttl,
        "Interval": check.interval,
        "Timeout": check.timeout,
        "DeregisterCriticalServiceAfter": check.deregister_critical_after,
    }
    answer: dict[str, Any] = {name: text for name, text in texts.items() if text}
    answer.update({name: format_duration(seconds) for name, seconds in times.items() if seconds})
    if check.header:
        answer["Header"] = {name: list(values) for name, values in check.header.items()}
    if check.tls_skip_verify:
        answer["TLSSkipVerify"] = True
    if check.success_before_passing:
        answer["SuccessBeforePassing"] = check.success_before_passing
    if check.failures_before_critical:
        answer["FailuresBeforeCritical"] = check.failures_before_critical
    return answer


def instances_from(answer: Any) -> tuple[ServiceInstance, ...]:
    """The instances of a `health/service` answer, ordered by node and id."""
    found = [_instance(entry) for entry in answer or ()]
    found.sort(key=lambda one: (one.node, one.id))
    return tuple(found)


def _instance(entry: Mapping[str, Any]) -> ServiceInstance:
    node, service = entry["Node"], entry["Service"]
    weights = service.get("Weights") or {}
    return ServiceInstance(
        id=service["ID"],
        service=service["Service"],
        # An instance without an address of its own lives at its node's.
        address=service.get("Address") or node["Address"],
        port=service.get("Port") or 0,
        tags=tuple(service.get("Tags") or ()),
        meta=dict(service.get("Meta") or {}),
        status=worst([check["Status"] for check in entry.get("Checks") or ()]),
        weight_passing=weights.get("Passing", 1),
        weight_warning=weights.get("Warning", 1),
        node=node["Node"],
    )


def kv_from(row: Mapping[str, Any]) -> KVEntry:
    """One key of a `kv` answer; the value as it came, base64 or already bytes."""
    value = row["Value"]
    if isinstance(value, str):
        value = base64.b64decode(value)
    return KVEntry(
        key=row["Key"],
        value=value or b"",
        flags=row.get("Flags", 0),
        session=row.get("Session", ""),
        lock_index=row.get("LockIndex", 0),
        create_index=row["CreateIndex"],
        modify_index=row["ModifyIndex"],
    )
