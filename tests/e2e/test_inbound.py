"""Faults and limits at the called service, in a mesh of real processes, by their commands and documents.

ingress -> shop -> stock (two replicas)
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.e2e.real_mesh import RealMesh, http, real_mesh, until

pytestmark = pytest.mark.e2e

TOPOLOGY = """\
services:
- name: shop
  isEntrypoint: true
  script: [{call: stock}]
- name: stock
  numReplicas: 2
"""
LIMITS = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "DestinationRule",
    "metadata": {
        "name": "stock",
        "annotations": {
            "mesh/rate-limit": "{overrides: {shop: {rate: 0.01, burst: 2}}}",
            "mesh/concurrency": "{initial: 40}",
        },
    },
    "spec": {"host": "stock"},
}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    directory = tmp_path_factory.mktemp("inbound")
    (directory / "mesh.yaml").write_text(TOPOLOGY)
    with real_mesh(directory, "mesh.yaml", "--no-load") as one:
        yield one


def ask(mesh: RealMesh, **headers: str) -> int:
    return http(mesh.status()["entrypoint"], headers=headers).status


def inbound(mesh: RealMesh, instance: str) -> dict[str, Any]:
    found = mesh.snapshot(instance)["inbound"]
    assert isinstance(found, dict)
    return found


def fault_events(mesh: RealMesh, source: str, name: str) -> list[tuple[str, str]]:
    """What the sidecar of an instance told of a fault: (what became of it, why)."""
    found = mesh.ask("/api/events?kind=fault").json()["events"]
    mine = [event for event in found if event["source"] == source and event["fault"] == name]
    return [(event["after"], event["reason"]) for event in mine]


def listened_to(mesh: RealMesh, instance: str) -> bool:
    """Whether the journal hears the sidecar of an instance already; it begins to when the mesh is up."""
    mesh.ok("fault", instance, "--delay", "1ms", "--for", "60s", "--name", "first")
    mesh.ok("fault", "clear")
    return bool(fault_events(mesh, instance, "first"))


def metrics(mesh: RealMesh, instance: str) -> Mapping[str, float]:
    port = mesh.instance(instance)["ports"]["admin"]
    lines = http(f"http://127.0.0.1:{port}/metrics").body.decode().splitlines()
    pairs = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in pairs}


def test_a_fault_acts_for_its_time_and_each_sidecar_tells_of_it(mesh: RealMesh) -> None:
    """Requests that hang at one replica are rescued at the other; after its time all is as before."""
    until(lambda: listened_to(mesh, "stock-1"))
    assert ask(mesh) == 200
    mesh.ok("fault", "stock-1", "--hang", "--for", "4s", "--name", "stuck")
    until(lambda: inbound(mesh, "stock-1")["faults"])
    (fault,) = inbound(mesh, "stock-1")["faults"]
    assert (fault["name"], fault["action"]) == ("stuck", "hang")
    assert 0 < fault["ends_in_s"] <= 4.0
    assert inbound(mesh, "stock-2")["faults"] == []

    def seen() -> int:
        assert ask(mesh) == 200
        faults = inbound(mesh, "stock-1")["faults"]
        assert faults, "its time was over before a request met it"
        return int(faults[0]["injected"])

    assert until(seen)
    until(lambda: not inbound(mesh, "stock-1")["faults"])
    until(lambda: len(fault_events(mesh, "stock-1", "stuck")) == 2)
    words = "fault stuck: never answer for 100 %, ends after 4 s"
    assert fault_events(mesh, "stock-1", "stuck") == [("applied", words), ("expired", words)]
    assert metrics(mesh, "stock-1")["mesh_fault_hangs_injected_total"] >= 1.0
    until(lambda: inbound(mesh, "stock-1")["in_flight"] == 0)
    assert metrics(mesh, "stock-1")["mesh_fault_active_faults"] == 0.0
    assert ask(mesh) == 200


def test_limits_come_into_force_and_go_again(mesh: RealMesh) -> None:
    """By the caller's name, at each replica's own sidecar."""
    url = "/api/policies"
    body = json.dumps({"documents": [LIMITS]}).encode()
    assert mesh.ask(url, "PUT", body, {"Content-Type": "application/json"}).status == 200

    def limited() -> float:
        ask(mesh)
        return sum(inbound(mesh, f"stock-{number}")["rate_limits"][0]["enforced"] for number in (1, 2))

    assert until(limited)
    assert inbound(mesh, "stock-1")["concurrency"]["limit"] == 40.0
    shown = http(f"http://127.0.0.1:{mesh.instance('stock-2')['ports']['admin']}/config_dump").json()
    assert shown["inbound"]["rate_limits"][0]["name"] == "stock"
    total = 'mesh_http_local_rate_limit_enforced_total{rule="stock"}'
    assert sum(metrics(mesh, f"stock-{number}")[total] for number in (1, 2)) >= 1.0
    assert mesh.ask(f"{url}?key=DestinationRule/stock", "DELETE").status == 200
    until(lambda: inbound(mesh, "stock-1")["rate_limits"] == [])
    assert inbound(mesh, "stock-1")["concurrency"] is None
