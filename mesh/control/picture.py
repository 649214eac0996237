"""The mesh as the page draws it: services with their instances, and the calls between them.

Pure: made from the status document, the sidecars' snapshots and the topology's calls. Percentiles of several
sidecars cannot be added up: where a number is of several callers it is the slowest caller's, and is named so.
"""

from collections.abc import Container, Iterable, Mapping
from typing import Any

from mesh.control.outside import locations, outside_node

INGRESS = "ingress"
# Below this share of failed answers a service is not worth a person's eye; Kiali's "degraded" begins above 0.
DEGRADED_SHARE = 0.01
BREAKER_RANK = {"closed": 0, "half-open": 1, "open": 2}
# Of the page and the table, by the state's word: green healthy, yellow in between, red offline. On the page
# healthy ones may still be yellow or grey, by their traffic.
COLOURS = {
    "healthy": "green",
    "degraded": "yellow",
    "starting": "yellow",
    "draining": "yellow",
    "down": "red",
    "paused": "red",
}

Document = dict[str, Any]


def picture(
    status: Mapping[str, Any],
    snapshots: Mapping[str, Mapping[str, Any]],
    calls: Iterable[tuple[str, str]],
    former: Container[tuple[str, str]] = (),
) -> Document:
    """`nodes` by service, `edges` by "caller>callee", the `load` and the mesh's own words.

    `former` calls were in the topology once: they are shown for as long as somebody still makes them.
    """
    nodes: dict[str, Document] = {}
    service_of: dict[str, str] = {}
    for instance in (*status.get("extras", ()), *status["instances"]):
        if instance["name"] in ("registry", "loadgen"):
            continue
        service_of[instance["name"]] = instance["service"]
        node = nodes.setdefault(instance["service"], {"instances": []})
        node["instances"].append(_instance(instance, snapshots.get(instance["name"])))
    for node in nodes.values():
        node.update(_together(node["instances"]))
    edges = _edges(snapshots, service_of, calls, former)
    for name, location in locations(snapshots).items():
        called = [edge for key, edge in edges.items() if key.partition(">")[2] == name]
        if called and name not in nodes:
            nodes[name] = outside_node(location, called)
    load = dict(status.get("load") or {})
    return {
        "phase": status.get("phase"),
        "nodes": nodes,
        "edges": edges,
        "parts": [_instance(each) for each in status.get("extras", ()) if each["name"] != INGRESS],
        "warnings": list(status.get("warnings", ())),
        "load": {key: load[key] for key in _LOAD_KEYS if key in load},
    }


_LOAD_KEYS = (
    "running", "rate", "rate_now", "pattern", "in_flight", "planned", "completed", "failed", "dropped",
    "generator_ok", "generator_reason", "system_ok", "system_reason", "window", "last_second",
)  # fmt: skip


def _instance(instance: Mapping[str, Any], snapshot: Mapping[str, Any] | None = None) -> Document:
    colour, why = _colour(instance)
    breakers = instance.get("breakers") or {}
    return {
        "name": instance["name"],
        "state": instance["state"],
        "colour": colour,
        "why": why,
        "version": instance["version"],
        "zone": instance["zone"],
        "pids": instance["pids"],
        "restarts": instance["restarts"],
        "open": len(breakers.get("open", ())),
        "half": len(breakers.get("half-open", ())),
        "closed": len(breakers.get("closed", ())),
        "faults": _faults(snapshot),
        **instance["traffic"],
    }


def _faults(snapshot: Mapping[str, Any] | None) -> list[Document]:
    """The faults that its sidecar acts on now, in whole seconds."""
    inbound = (snapshot or {}).get("inbound") or {}
    return [
        {
            "name": str(fault.get("name")),
            "action": str(fault.get("action")),
            "delay_ms": fault.get("delay_ms"),
            "left_s": None if fault.get("ends_in_s") is None else round(fault["ends_in_s"]),
        }
        for fault in inbound.get("faults") or ()
    ]


def _colour(instance: Mapping[str, Any]) -> tuple[str, str]:
    state, reason, traffic = instance["state"], instance["reason"], instance["traffic"]
    colour = COLOURS.get(state, "grey")
    if colour != "green":
        return colour, reason or state
    if traffic["error_rate"] >= DEGRADED_SHARE:
        return "yellow", f"{traffic['error_rate']:.1%} of its answers are errors"
    if not traffic["rps"]:
        return "grey", "healthy, no traffic"
    return "green", "healthy"


def _together(instances: list[Document]) -> Document:
    rps = sum(each["rps"] for each in instances)
    failed = sum(each["rps"] * each["error_rate"] for each in instances)
    return {
        "rps": round(rps, 3),
        "p50_ms": _highest(each["p50_ms"] for each in instances),
        "p95_ms": _highest(each["p95_ms"] for each in instances),
        "p99_ms": _highest(each["p99_ms"] for each in instances),
        "error_rate": round(failed / rps, 6) if rps else 0.0,
        "up": sum(each["colour"] in ("green", "grey") for each in instances),
    }


def _edges(
    snapshots: Mapping[str, Mapping[str, Any]],
    service_of: Mapping[str, str],
    calls: Iterable[tuple[str, str]],
    former: Container[tuple[str, str]],
) -> dict[str, Document]:
    edges: dict[str, Document] = {f"{caller}>{callee}": _no_edge() for caller, callee in calls}
    services = frozenset(service_of.values())
    for name, snapshot in snapshots.items():
        caller = service_of.get(name)
        for callee, upstream in (snapshot.get("upstreams") or {}).items():
            key = f"{caller}>{callee}"
            # a service that is only known, never called, is no line on the picture
            called = bool(upstream.get("requests"))
            if (str(caller), callee) in former:
                called = callee in services and _rate(upstream) > 0
            if caller is not None and (key in edges or called):
                _add_caller(edges.setdefault(key, _no_edge()), name, upstream)
    for edge in edges.values():
        rps = edge["rps"]
        edge["error_rate"] = round(edge.pop("failed_rps") / rps, 6) if rps else 0.0
        edge["rps"] = round(rps, 3)
        edge["endpoints"] = [edge["endpoints"][key] for key in sorted(edge["endpoints"])]
    return edges


def _rate(upstream: Mapping[str, Any]) -> float:
    return float((upstream.get("window") or {}).get("rps") or 0.0)


def _no_edge() -> Document:
    return {
        "rps": 0.0, "failed_rps": 0.0, "p50_ms": None, "p95_ms": None, "p99_ms": None,
        "requests": 0, "failed": 0, "retries": 0, "budget": None, "endpoints": {},
    }  # fmt: skip


def _add_caller(edge: Document, caller: str, upstream: Mapping[str, Any]) -> None:
    window = upstream.get("window") or {}
    rps = window.get("rps") or 0.0
    edge["rps"] += rps
    edge["failed_rps"] += rps * (window.get("error_rate") or 0.0)
    for key in ("p50_ms", "p95_ms", "p99_ms"):
        edge[key] = _highest((edge[key], window.get(key)))
    for key in ("requests", "failed", "retries"):
        edge[key] += upstream.get(key) or 0
    budget = upstream.get("budget") or {}
    if budget.get("max"):
        left = round(budget.get("tokens", 0.0) / budget["max"], 3)
        edge["budget"] = left if edge["budget"] is None else min(left, edge["budget"])
    for endpoint in upstream.get("endpoints") or ():
        _add_endpoint(edge["endpoints"], caller, endpoint)


def _add_endpoint(found: dict[str, Document], caller: str, endpoint: Mapping[str, Any]) -> None:
    state = str(endpoint.get("breaker"))
    mine = found.setdefault(
        str(endpoint.get("id")),
        {
            "id": endpoint.get("id"), "health": endpoint.get("health"), "breaker": "closed", "reason": "",
            "callers": {}, "ewma_ms": None, "requests": 0, "failures": 0, "share": 1.0,
        },
    )  # fmt: skip
    mine["callers"][caller] = state
    mine["requests"] += endpoint.get("requests") or 0
    mine["failures"] += endpoint.get("failures") or 0
    mine["ewma_ms"] = _highest((mine["ewma_ms"], endpoint.get("ewma_ms")))
    mine["share"] = min(mine["share"], endpoint.get("share", 1.0))
    if BREAKER_RANK.get(state, 0) > BREAKER_RANK[mine["breaker"]]:
        mine["breaker"], mine["reason"] = state, str(endpoint.get("breaker_reason") or "")


def _highest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
