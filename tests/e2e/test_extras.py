"""What stands around the services: the ingress dies and comes back; the registry may be somebody's own."""

from pathlib import Path

import pytest

from tests.e2e.real_mesh import http, listens, real_mesh, until

pytestmark = pytest.mark.e2e


def instances_of(registry: str, service: str) -> list[str]:
    entries = http(f"{registry}/v1/health/service/{service}?passing").json()
    return sorted(entry["Service"]["ID"] for entry in entries)


def test_somebody_s_own_registry_is_used_and_left_clean(tmp_path: Path, own_registry: str) -> None:
    """None is started; every instance is in it, and none after the end."""
    with real_mesh(tmp_path, "star", "--registry", own_registry, "--no-load") as mesh:
        status = mesh.status()
        assert status["registry"] == own_registry
        assert [each["name"] for each in status["extras"]] == ["ingress", "loadgen"]
        assert instances_of(own_registry, "orders") == ["orders-1", "orders-2", "orders-3"]
        assert http(status["entrypoint"]).status == 200
    assert until(lambda: instances_of(own_registry, "orders") == [], 5)


def test_the_ingress_dies_and_comes_back_where_it_was(tmp_path: Path) -> None:
    """On the port that people know."""
    topology = tmp_path / "front.yaml"
    topology.write_text("services:\n- name: front\n  isEntrypoint: true\n")
    with real_mesh(tmp_path, str(topology), "--no-load") as mesh:
        entrypoint = mesh.status()["entrypoint"]
        assert http(entrypoint).json()["instance"] == "front-1"
        assert mesh.ok("kill", "ingress") == "ingress is down (sidecar killed by SIGKILL)\n"
        assert not listens(int(entrypoint.rpartition(":")[2]))
        assert mesh.ok("heal", "ingress") == "ingress is healthy\n"
        assert http(entrypoint).json()["instance"] == "front-1"
        ran = mesh.run("kill", "ingress", "--part", "app")
        assert (ran.code, ran.err) == (2, "mesh kill: ingress has no app (it has only its sidecar)\n")


def test_the_load_starts_when_it_is_asked_for(tmp_path: Path) -> None:
    """After `--no-load`."""
    with real_mesh(tmp_path, "chain", "--no-load") as mesh:
        assert mesh.ok("load") == "no load (mesh load --rate N starts it)\n"
        assert mesh.ok("load", "--rate", "40").startswith("40 req/s wanted, ")
        until(lambda: mesh.load()["ok"] > 40)
        ran = mesh.run("load", "--pattern", "zigzag")
        assert ran.code == 2
        assert ran.err.startswith("mesh load: ")
        assert ran.err.count("\n") == 1
        assert mesh.load()["failed"] == 0
