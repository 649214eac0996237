"""What lies outside of the mesh and is called from it: a place on the page as a service has, and no process.

Pure. Nobody reports of it but its callers: rates and percentiles are theirs, and an endpoint's colour is what
their breakers say.
"""

from collections.abc import Iterable, Mapping
from typing import Any

OUTSIDE = "outside"
# A pattern, or ALLOW_ANY, may have hundreds of endpoints; a card has room for some.
MAX_ROWS = 12
COLOURS = {"closed": "green", "half-open": "yellow", "open": "red"}

Document = dict[str, Any]


def locations(snapshots: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Of all hosts that some sidecar knows by a document; MESH_EXTERNAL or MESH_INTERNAL."""
    return {
        str(name): str(upstream["location"])
        for snapshot in snapshots.values()
        for name, upstream in (snapshot.get("upstreams") or {}).items()
        if upstream.get("location")
    }


def outside_node(location: str, edges: Iterable[Mapping[str, Any]]) -> Document:
    """One host, as all calls to it show it."""
    edges = list(edges)
    rps = sum(edge["rps"] for edge in edges)
    failed = sum(edge["rps"] * edge["error_rate"] for edge in edges)
    endpoints: dict[str, Mapping[str, Any]] = {}
    for edge in edges:
        for endpoint in edge["endpoints"]:
            endpoints.setdefault(endpoint["id"], endpoint)
    busiest = sorted(endpoints.values(), key=lambda each: -each["requests"])[:MAX_ROWS]
    rows = [_row(endpoint) for endpoint in sorted(busiest, key=lambda each: str(each["id"]))]
    return {
        "location": location,
        "instances": rows,
        "rps": round(rps, 3),
        **{key: _highest(edge[key] for edge in edges) for key in ("p50_ms", "p95_ms", "p99_ms")},
        "error_rate": round(failed / rps, 6) if rps else 0.0,
        "up": sum(row["colour"] != "red" for row in rows),
    }


def _row(endpoint: Mapping[str, Any]) -> Document:
    breaker = endpoint["breaker"]
    callers = list(endpoint["callers"].values())
    return {
        "name": endpoint["id"],
        "state": OUTSIDE,  # whether it runs is nothing that anybody here could know or change
        "colour": COLOURS.get(breaker, "grey"),
        "why": endpoint["reason"] or f"its breaker is {breaker}",
        "version": "",
        "zone": "",
        "pids": {},
        "restarts": 0,
        **{word: callers.count(state) for word, state in _COUNTS},
        "faults": [],
        "rps": None,
        "p50_ms": None,
        "p95_ms": None,
        "p99_ms": endpoint["ewma_ms"],
        "error_rate": endpoint["failures"] / endpoint["requests"] if endpoint["requests"] else 0.0,
    }


_COUNTS = (("open", "open"), ("half", "half-open"), ("closed", "closed"))


def outside_graph(graph: Mapping[str, Any], picture: Mapping[str, Any]) -> Document:
    """The topology's graph with those hosts, and who calls them, behind its own."""
    names = sorted(name for name, node in picture["nodes"].items() if node.get("location"))
    if not names:
        return dict(graph)
    pairs = [edge.split(">", 1) for edge in sorted(picture["edges"])]
    calls = [pair for pair in pairs if pair[1] in names and pair not in graph["calls"]]
    return {**graph, OUTSIDE: names, "calls": [*graph["calls"], *calls]}


def _highest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
