"""The picture of the mesh: colours with their reasons, and calls added up over their callers."""

from typing import Any

from mesh.control.outside import outside_graph
from mesh.control.picture import picture


def instance(name: str, state: str = "healthy", rps: float = 10.0, errors: float = 0.0) -> dict[str, Any]:
    return {
        "name": name, "service": name.rpartition("-")[0] or name, "version": "v1", "zone": "", "state": state,
        "reason": "" if state == "healthy" else "killed", "pids": {}, "restarts": 0,
        "breakers": {"open": ["a"], "closed": [], "half-open": []},
        "traffic": {"rps": rps, "p50_ms": 1.0, "p95_ms": 1.5, "p99_ms": 2.0, "error_rate": errors},
    }  # fmt: skip


def endpoint(name: str, breaker: str, reason: str = "") -> dict[str, Any]:
    return {
        "id": name,
        "breaker": breaker,
        "breaker_reason": reason,
        "requests": 4,
        "failures": 1,
        "ewma_ms": 3,
    }


def upstream(rps: float, errors: float, p99: float, *endpoints: dict[str, Any]) -> dict[str, Any]:
    window = {"rps": rps, "p50_ms": 1.0, "p99_ms": p99, "error_rate": errors}
    return {"requests": 9, "failed": 1, "retries": 2, "budget": {"tokens": 5, "max": 10}, "window": window,
            "endpoints": list(endpoints)}  # fmt: skip


def seen(*instances: dict[str, Any], **snapshots: Any) -> dict[str, Any]:
    status = {"phase": "up", "instances": instances, "extras": [], "load": {"rate": 5, "exemplars": 1}}
    return picture(status, {name.replace("_", "-"): one for name, one in snapshots.items()}, [("a", "b")])


def colours(*instances: dict[str, Any]) -> list[tuple[str, str]]:
    found = seen(*instances)["nodes"]
    return [(one["colour"], one["why"]) for node in found.values() for one in node["instances"]]


def test_the_colour_is_the_state_and_says_why() -> None:
    """Green, yellow by errors, red with the supervisor's reason, grey without traffic."""
    assert colours(instance("a-1")) == [("green", "healthy")]
    assert colours(instance("a-1", errors=0.05)) == [("yellow", "5.0% of its answers are errors")]
    assert colours(instance("a-1", "down")) == [("red", "killed")]
    assert colours(instance("a-1", "paused")) == [("red", "killed")]
    assert colours(instance("a-1", "draining")) == [("yellow", "killed")]
    assert colours(instance("a-1", rps=0.0)) == [("grey", "healthy, no traffic")]


def test_a_service_is_its_instances_together() -> None:
    """Rates add up, the error share is by rate, percentiles are the slowest one's."""
    node = seen(instance("a-1", rps=30, errors=0.1), instance("a-2", "down", rps=10))["nodes"]["a"]
    assert (node["rps"], node["error_rate"], node["p99_ms"], node["up"]) == (40, 0.075, 2.0, 0)


def test_a_call_is_its_callers_together() -> None:
    """The worst breaker of an endpoint shows, with the callers in each state; the budget is the least."""
    edge = seen(
        instance("a-1"),
        instance("a-2"),
        a_1={"upstreams": {"b": upstream(10, 0.0, 5.0, endpoint("b-1", "closed"))}},
        a_2={"upstreams": {"b": upstream(30, 0.1, 9.0, endpoint("b-1", "open", "3 in a row"))}},
    )["edges"]["a>b"]
    assert (edge["rps"], edge["error_rate"], edge["p99_ms"]) == (40, 0.075, 9.0)
    assert (edge["requests"], edge["retries"], edge["budget"]) == (18, 4, 0.5)
    one = edge["endpoints"][0]
    assert (one["breaker"], one["reason"]) == ("open", "3 in a row")
    assert one["callers"] == {"a-1": "closed", "a-2": "open"}


def test_calls_are_those_of_the_topology_and_those_that_happen() -> None:
    """A service that is only known is no line; one that is called without being announced is."""
    known = upstream(0, 0, 0) | {"requests": 0}
    edges = seen(instance("a-1"), a_1={"upstreams": {"c": known, "d": upstream(1, 0, 1)}})["edges"]
    assert set(edges) == {"a>b", "a>d"}


def test_what_lies_outside_has_a_place_once_it_is_called() -> None:
    """By what its callers say; one that is only known has none, and is no process to anybody."""
    api = upstream(
        8, 0.25, 40.0, endpoint("10.0.0.1:80", "open", "3 in a row"), endpoint("10.0.0.2:80", "closed")
    )
    found = seen(
        instance("a-1"),
        a_1={
            "upstreams": {
                "api.example.com": api | {"location": "MESH_EXTERNAL"},
                "other.example.com": upstream(0, 0, 0) | {"requests": 0, "location": "MESH_EXTERNAL"},
                "b": upstream(1, 0, 1) | {"location": None},
            }
        },
    )
    assert set(found["nodes"]) == {"a", "api.example.com"}
    node = found["nodes"]["api.example.com"]
    assert (node["rps"], node["error_rate"], node["p99_ms"], node["up"]) == (8, 0.25, 40.0, 1)
    first, second = node["instances"]
    assert (first["name"], first["state"], first["colour"], first["why"]) == (
        "10.0.0.1:80", "outside", "red", "3 in a row",
    )  # fmt: skip
    assert (second["colour"], second["closed"], second["error_rate"]) == ("green", 1, 0.25)


def test_the_graph_of_what_lies_outside() -> None:
    """Behind the topology's own services, with who calls it; as it was where there is none."""
    graph = {"services": [{"name": "a"}], "calls": [["ingress", "a"]]}
    api = upstream(1, 0, 1, endpoint("10.0.0.1:80", "closed")) | {"location": "MESH_EXTERNAL"}
    found = seen(instance("a-1"), a_1={"upstreams": {"api.example.com": api}})
    assert outside_graph(graph, found) == {
        **graph, "outside": ["api.example.com"], "calls": [["ingress", "a"], ["a", "api.example.com"]],
    }  # fmt: skip
    assert outside_graph(graph, seen(instance("a-1"))) == graph
