"""The registry is gone under load: nobody notices, and what happened meanwhile is caught up with."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mesh.tokens import Scope
from tests.e2e.real_mesh import RealMesh, http, real_mesh, until, wait

pytestmark = pytest.mark.e2e

GONE_S = 12.0  # long enough for every TTL (5 s) and every watch to have noticed


@pytest.fixture(scope="module")
def star(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    with real_mesh(tmp_path_factory.mktemp("registry"), "star", "--rate", "150") as mesh:
        yield mesh


@contextmanager
def program(*words: str, **environ: str) -> Iterator[dict[str, str]]:
    """One of our programs on its own, as anybody can start one; gives its ready line."""
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | environ,
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def new_replica(mesh: RealMesh, name: str) -> Iterator[None]:
    """A fourth replica with its sidecar, that nobody was told of but the registry's address."""
    topology, registry = mesh.status()["file"], mesh.status()["registry"]
    with (
        program(
            "services",
            "--topology",
            topology,
            "--service",
            "orders",
            "--instance",
            name,
            "--listen",
            "127.0.0.1:0",
        ) as app,
        program(
            *("sidecar", "--name", name, "--inbound", "127.0.0.1:0", "--app", app["http"]),
            *("--admin", "127.0.0.1:0", "--registry", registry, "--app-health", "/health"),
            SIDECAR_REGISTRY_TOKEN=mesh.tokens.of(Scope.REGISTRY),
        ),
    ):
        yield


def known(mesh: RealMesh) -> list[str]:
    registry = mesh.status()["registry"]
    entries = http(f"{registry}/v1/health/service/orders?passing").json()
    return sorted(entry["Service"]["ID"] for entry in entries)


def test_a_lost_registry_costs_nobody_a_request(star: RealMesh) -> None:
    """Killed for longer than a TTL; its catalogue refills by itself, and a replica of meanwhile is found."""
    assert known(star) == ["orders-1", "orders-2", "orders-3"]
    star.reset_load()
    before = star.instance("registry")
    assert star.ok("kill", "registry") == "registry is down (app killed by SIGKILL)\n"
    with new_replica(star, "orders-9"):
        wait(GONE_S)
        assert star.endpoint("ingress", "orders-9") is None
        assert [
            star.endpoint("ingress", name) is not None for name in ("orders-1", "orders-2", "orders-3")
        ] == [
            True,
            True,
            True,
        ]
        assert star.ok("heal", "registry") == "registry is healthy\n"
        assert star.instance("registry")["ports"] == before["ports"]
        until(lambda: known(star) == ["orders-1", "orders-2", "orders-3", "orders-9"], 20)
        until(lambda: (star.endpoint("ingress", "orders-9") or {}).get("requests"), 20)
        load = star.load()
        assert load["sent"] > GONE_S * 150
        assert (load["failed"], load["dropped"], load["errors"]) == (0, 0, {})
    until(lambda: known(star) == ["orders-1", "orders-2", "orders-3"], 20)
