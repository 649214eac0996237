"""Rows of the model as the JSON objects Consul answers with, field by field and null by null."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from registry.model import Check, KVEntry, LocalCheck, Node, Service, Session, UserEvent

Json = dict[str, Any]


def dumps(value: Any, *, pretty: bool = False) -> bytes:
    """Compact JSON; `pretty` as Consul's `?pretty`, with a line end."""
    if pretty:
        return json.dumps(value, indent=4).encode() + b"\n"
    return json.dumps(value, separators=(",", ":")).encode()


def node(row: Node) -> Json:
    """A node as in `catalog/nodes` and `health/service`."""
    return {
        "ID": row.id,
        "Node": row.name,
        "Address": row.address,
        "Datacenter": row.datacenter,
        "TaggedAddresses": row.tagged_addresses,
        "Meta": row.meta,
        "CreateIndex": row.create_index,
        "ModifyIndex": row.modify_index,
    }


def _weights(row: Service) -> Json:
    return {"Passing": row.weight_passing, "Warning": row.weight_warning}


def _proxy(row: Service) -> Json:
    return {"MeshGateway": {}, "Expose": {}, **row.extra.get("Proxy", {})}


def service(row: Service) -> Json:
    """An instance as in `health/service` and `catalog/node`."""
    answer: Json = {
        "ID": row.id,
        "Service": row.name,
        "Tags": list(row.tags),
        "Address": row.address,
        "Meta": row.meta,
        "Port": row.port,
        "Weights": _weights(row),
        "EnableTagOverride": row.enable_tag_override,
        "Proxy": _proxy(row),
        "Connect": row.extra.get("Connect", {}),
        "CreateIndex": row.create_index,
        "ModifyIndex": row.modify_index,
    }
    if row.tagged_addresses:
        answer["TaggedAddresses"] = row.tagged_addresses
    if kind := row.extra.get("Kind"):
        answer["Kind"] = kind
    return answer


def catalog_service(row: Service, at: Node) -> Json:
    """An instance with its node, flat, as in `catalog/service`."""
    answer: Json = {
        "ID": at.id,
        "Node": at.name,
        "Address": at.address,
        "Datacenter": at.datacenter,
        "TaggedAddresses": at.tagged_addresses,
        "NodeMeta": at.meta,
        "ServiceKind": row.extra.get("Kind", ""),
        "ServiceID": row.id,
        "ServiceName": row.name,
        "ServiceTags": list(row.tags),
        "ServiceAddress": row.address,
        "ServiceWeights": _weights(row),
        "ServiceMeta": row.meta or {},
        "ServicePort": row.port,
        "ServiceEnableTagOverride": row.enable_tag_override,
        "ServiceProxy": _proxy(row),
        "ServiceConnect": row.extra.get("Connect", {}),
        "CreateIndex": row.create_index,
        "ModifyIndex": row.modify_index,
    }
    if row.tagged_addresses:
        answer["ServiceTaggedAddresses"] = row.tagged_addresses
    return answer


def check(row: Check) -> Json:
    """A check of the catalog."""
    return {
        "Node": row.node,
        "CheckID": row.check_id,
        "Name": row.name,
        "Status": row.status,
        "Notes": row.notes,
        "Output": row.output,
        "ServiceID": row.service_id,
        "ServiceName": row.service_name,
        "ServiceTags": list(row.service_tags),
        "Type": row.type,
        "Definition": dict(row.definition),
        "CreateIndex": row.create_index,
        "ModifyIndex": row.modify_index,
    }


def health_entry(at: Node, row: Service, checks: Sequence[Check]) -> Json:
    """One line of `health/service`."""
    return {"Node": node(at), "Service": service(row), "Checks": [check(one) for one in checks]}


def agent_service(row: Service) -> Json:
    """An instance as its agent shows it: no indexes, an empty Meta where the catalog has null."""
    answer: Json = {
        "ID": row.id,
        "Service": row.name,
        "Tags": list(row.tags),
        "Meta": row.meta or {},
        "Port": row.port,
        "Address": row.address,
        "Weights": _weights(row),
        "EnableTagOverride": row.enable_tag_override,
    }
    if row.tagged_addresses:
        answer["TaggedAddresses"] = row.tagged_addresses
    for name in ("Kind", "Proxy", "Connect"):
        if row.extra.get(name):
            answer[name] = row.extra[name]
    return answer


def content_hash(answer: Json) -> str:
    """16 hexadecimal digits that change when the definition does: what `agent/service/ID` blocks by."""
    return hashlib.blake2b(dumps(answer), digest_size=8).hexdigest()


def agent_check(row: LocalCheck, owner: Service | None, node_name: str) -> Json:
    """A check as its agent shows it."""
    return {
        "Node": node_name,
        "CheckID": row.check_id,
        "Name": row.name,
        "Status": row.status,
        "Notes": row.notes,
        "Output": row.output,
        "ServiceID": row.service_id,
        "ServiceName": owner.name if owner else "",
        "ServiceTags": list(owner.tags) if owner else [],
        "Type": row.type,
        "Definition": {},
        "CreateIndex": 0,
        "ModifyIndex": 0,
    }


_EMPTY_DEFINITION: Json = {
    "Interval": "0s",
    "Timeout": "0s",
    "DeregisterCriticalServiceAfter": "0s",
    "HTTP": "",
    "Header": None,
    "Method": "",
    "Body": "",
    "TLSSkipVerify": False,
    "TCP": "",
}


def aggregated_check(row: LocalCheck, owner: Service | None, node_name: str) -> Json:
    """A check as `agent/health/service` shows it: no type, a definition of zeros."""
    return {**agent_check(row, owner, node_name), "Type": "", "Definition": _EMPTY_DEFINITION}


def kv(row: KVEntry) -> Json:
    """One key; an empty value is null, and Session only stands there while a lock is held."""
    answer: Json = {
        "LockIndex": row.lock_index,
        "Key": row.key,
        "Flags": row.flags,
        "Value": base64.b64encode(row.value).decode() if row.value else None,
    }
    if row.session:
        answer["Session"] = row.session
    answer["CreateIndex"] = row.create_index
    answer["ModifyIndex"] = row.modify_index
    return answer


def session(row: Session) -> Json:
    """One session; the lock-delay in nanoseconds."""
    return {
        "ID": row.id,
        "Name": row.name,
        "Node": row.node,
        "LockDelay": round(row.lock_delay * 1e9),
        "Behavior": row.behavior,
        "TTL": row.ttl_text,
        "NodeChecks": list(row.node_checks) or None,
        "ServiceChecks": [{"ID": one, "Namespace": ""} for one in row.service_checks] or None,
        "CreateIndex": row.create_index,
        "ModifyIndex": row.modify_index,
    }


def event(row: UserEvent) -> Json:
    """One user event."""
    return {
        "ID": row.id,
        "Name": row.name,
        "Payload": base64.b64encode(row.payload).decode() if row.payload is not None else None,
        "NodeFilter": row.node_filter,
        "ServiceFilter": row.service_filter,
        "TagFilter": row.tag_filter,
        "Version": 1,
        "LTime": row.ltime,
    }
