"""Policies outlive the registry that keeps them, and do not outlive their mesh."""

import json
from pathlib import Path

import pytest

from tests.e2e.real_mesh import RealMesh, real_mesh, until

pytestmark = pytest.mark.e2e

TOPOLOGY = """\
services:
- {name: front, isEntrypoint: true}
policies:
- apiVersion: networking.istio.io/v1
  kind: VirtualService
  metadata: {name: front}
  spec:
    hosts: [front]
    http:
    - timeout: 5s
      route:
      - destination: {host: front}
"""
RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: front}
spec:
  host: front
  trafficPolicy:
    connectionPool: {tcp: {connectTimeout: 1s}}
"""


def kept(mesh: RealMesh) -> list[str]:
    return [f"{each['kind']}/{each['name']}" for each in json.loads(mesh.ok("get", "--json"))["documents"]]


def files(directory: Path) -> None:
    (directory / "mesh.yaml").write_text(TOPOLOGY)
    (directory / "rule.yaml").write_text(RULE)


def test_policies_outlive_the_registry_and_not_the_mesh(tmp_path: Path) -> None:
    """Killed and started again it holds what was applied by hand too; a new mesh has only its topology's."""
    files(tmp_path)
    with real_mesh(tmp_path, "mesh.yaml", "--no-load") as mesh:
        assert kept(mesh) == ["VirtualService/front"]
        mesh.ok("apply", "-f", "rule.yaml")
        mesh.ok("kill", "registry")
        ran = mesh.run("get")
        assert ran.code == 1
        assert ran.err.startswith("mesh get: the registry does not take or tell policies: ")
        mesh.ok("heal", "registry")
        assert until(lambda: kept(mesh) == ["DestinationRule/front", "VirtualService/front"])
        assert "2 of 2 sidecars at version" in mesh.ok("get")
    with real_mesh(tmp_path, "mesh.yaml", "--no-load") as mesh:
        assert kept(mesh) == ["VirtualService/front"]


def test_policies_do_not_leak_through_somebody_s_own_registry(tmp_path: Path, own_registry: str) -> None:
    """What the first mesh left there is gone when the second one is up."""
    files(tmp_path)
    words = ("mesh.yaml", "--no-load", "--registry", own_registry)
    with real_mesh(tmp_path, *words) as mesh:
        mesh.ok("apply", "-f", "rule.yaml")
    with real_mesh(tmp_path, *words) as mesh:
        assert kept(mesh) == ["VirtualService/front"]
        assert until(lambda: "2 of 2 sidecars at version" in mesh.ok("get"))
