"""The shop: one command starts it, it says truly how it is, and its requests can be followed everywhere."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.real_mesh import Answer, RealMesh, alive, eventually, http, listens, real_mesh, until

pytestmark = pytest.mark.e2e

READY_S = 5.0  # from the command to all healthy, of the design

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    with real_mesh(tmp_path_factory.mktemp("shop"), "shop") as mesh:
        yield mesh


def services_of(tree: dict[str, Any]) -> set[str]:
    found = {tree["instance"]}
    for call in tree["calls"]:
        found |= services_of(call["answer"])
    return found


def test_it_is_up_in_time_and_says_so(shop: RealMesh) -> None:
    """16 instances, all healthy, each with its processes and ports, and the time that it took."""
    status = shop.status()
    assert status["ready_s"] < READY_S
    assert len(status["instances"]) == 16
    for instance in status["instances"]:
        assert instance["state"] == "healthy", instance
        assert instance["healthy"] is True
        assert instance["name"].startswith(instance["service"] + "-")
        assert all(alive(pid) for pid in instance["pids"].values())
        assert all(listens(port) for port in instance["ports"].values())
        assert set(instance["ports"]) == {"inbound", "outbound", "admin", "app"}
    versions = {each["name"]: each["version"] for each in status["instances"]}
    assert (versions["recommendations-1"], versions["recommendations-2"]) == ("v1", "v2")
    assert http(status["registry"] + "/v1/status/leader").status == 200


def test_traffic_flows_without_an_error(shop: RealMesh) -> None:
    """The load of the topology; every service gets its share."""
    until(lambda: shop.status()["load"]["ok"] > 100)
    status = shop.status()
    load = status["load"]
    assert load["failed"] == 0
    assert load["rate"] > 0
    assert load["sent"] >= load["ok"] > 100
    assert 0 < load["p50_ms"] <= load["p99_ms"]
    assert all(until(lambda one=one: shop.instance(one)["traffic"]["rps"]) for one in names(status))


def names(status: dict[str, Any]) -> list[str]:
    return [instance["name"] for instance in status["instances"]]


def test_the_registry_knows_every_instance_as_passing(shop: RealMesh) -> None:
    """By Consul's own API."""
    registry = shop.status()["registry"]
    for service, replicas in (("orders", 3), ("payments", 3), ("gateway", 2)):
        entries = http(f"{registry}/v1/health/service/{service}?passing").json()
        assert sorted(entry["Service"]["ID"] for entry in entries) == [
            f"{service}-{number}" for number in range(1, replicas + 1)
        ]


def test_the_entrypoint_answers_with_the_call_tree(shop: RealMesh) -> None:
    """What it called, and what those called."""
    tree = http(shop.status()["entrypoint"]).json()
    assert tree["service"] == "gateway"
    called = {name.rpartition("-")[0] for name in services_of(tree)}
    assert called == {"gateway", "users", "catalog", "recommendations", "orders", "inventory", "payments"}


def test_one_trace_holds_the_spans_of_every_process_it_crossed(shop: RealMesh) -> None:
    """Apps, sidecars on both sides, the ingress, and each attempt; joined to one tree by their parents."""
    status = shop.status()
    answer: Answer = http(status["entrypoint"], headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
    crossed = services_of(answer.json())

    missing: list[str] = []
    expected = {name.rpartition("-")[0] for name in crossed} | {"ingress"}

    def complete() -> bool:
        found = shop.ask(f"/api/traces/{TRACE}")
        if found.status != 200:
            return False
        trace = found.json()["data"][0]
        spans = trace["spans"]
        services = {process["serviceName"] for process in trace["processes"].values()}
        ids = {span["spanID"] for span in spans}
        parents = {each["spanID"] for span in spans for each in span["references"]}
        missing[:] = [f"{len(spans)} spans", *(parents - ids - {CALLER})]
        return services == expected and len(spans) >= 4 * len(crossed) and len(missing) == 1

    assert eventually(complete, 15), f"no span with these ids, which are parents: {missing}"
    found = shop.ask(f"/api/traces/{TRACE}").json()["data"][0]
    instances = {
        tag["value"]
        for process in found["processes"].values()
        for tag in process["tags"]
        if tag["key"] == "service.instance.id"
    }
    assert crossed <= instances
    attempts = [span for span in found["spans"] if "attempt" in span["operationName"]]
    called = sum(1 for span in found["spans"] if kind(span) == "client") - len(attempts)
    assert len(attempts) >= len(crossed), [span["operationName"] for span in found["spans"]]
    assert called >= len(crossed)


def kind(span: dict[str, Any]) -> str | None:
    return next((tag["value"] for tag in span["tags"] if tag["key"] == "span.kind"), None)


def test_the_command_shows_the_same(shop: RealMesh) -> None:
    """`status` as a table and as JSON, `load`, and `logs`."""
    table = shop.ok("status")
    assert "recommendations-2" in table
    assert "healthy" in table
    assert shop.status()["entrypoint"] in table.replace("\n", "")
    assert "req/s wanted" in shop.ok("load")
    assert shop.ok("logs", "orders-1", "--part", "app").startswith('{"http": "127.0.0.1:')


def test_the_rate_can_be_changed_while_it_runs(shop: RealMesh) -> None:
    """`mesh load --rate`; the generator follows at once."""
    before = shop.load()["rate"]
    shop.ok("load", "--rate", "20")
    assert shop.load()["rate"] == 20
    until(lambda: shop.load()["last_second"]["offered_rps"] == 20)
    shop.ok("load", "--rate", str(before))


def test_an_unknown_instance_is_one_line_with_the_one_that_was_meant(shop: RealMesh) -> None:
    """Exit code 2, and nothing is killed."""
    ran = shop.run("kill", "order-1")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == 'mesh kill: no instance is named "order-1" (did you mean "orders-1"?)\n'


def test_a_second_mesh_in_the_same_place_is_refused(shop: RealMesh) -> None:
    """One line, exit code 1, and the first goes on."""
    ran = shop.run("up", "star", "--port", "0", "--control-port", "0")
    assert ran.code == 1
    assert ran.err == (
        "mesh up: a mesh is already running here (see it with: mesh status; stop it with: mesh down)\n"
    )
    assert len(shop.status()["instances"]) == 16
