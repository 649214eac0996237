"""`/clusters` as Envoy writes it, `cluster::address::key::value`: its keys, then what only we know. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# of a row of the snapshot: those that Envoy's keys say already
SAID = frozenset({"id", "address", "weight", "zone"})
UNKNOWN_RATE = -1  # Envoy's word for too little to tell


def clusters_text(upstreams: Mapping[str, Mapping[str, Any]]) -> str:
    """`upstreams` as in a snapshot."""
    return "".join(f"{line}\n" for name in upstreams for line in _cluster(name, upstreams[name]))


def _cluster(name: str, upstream: Mapping[str, Any]) -> Iterator[str]:
    yield f"{name}::observability_name::{name}"
    yield f"{name}::added_via_api::true"
    for row in upstream["endpoints"]:
        host = f"{name}::{row['address']}"
        for key, value in _host(row).items():
            yield f"{host}::{key}::{value}"
        for key, value in row.items():
            if key not in SAID:
                yield f"{host}::{key}::{value}"


def _host(row: Mapping[str, Any]) -> dict[str, object]:
    total, failed = row["window"]["total"], row["window"]["failed"]
    return {
        "rq_active": row["in_flight"],
        "rq_error": row["failures"],
        "rq_success": max(0, row["requests"] - row["failures"]),
        "rq_total": row["requests"],
        "hostname": row["id"],
        "health_flags": health_flags(row),
        "weight": row["weight"],
        "region": "",
        "zone": row["zone"],
        "sub_zone": "",
        "canary": "false",
        "priority": 0,
        "success_rate": round(100 * (1 - failed / total), 3) if total else UNKNOWN_RATE,
        "local_origin_success_rate": UNKNOWN_RATE,
    }


def health_flags(row: Mapping[str, Any]) -> str:
    """Envoy's words: what the registry says, and whether our own breaker keeps requests away."""
    flags = {"critical": "/failed_eds_health", "warning": "/degraded_eds_health"}.get(row["health"], "")
    if row["breaker"] != "closed":
        flags += "/failed_outlier_check"
    return flags or "healthy"
