"""A refused change of the running mesh changes nothing, whichever half of it was wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.real_mesh import RealMesh, real_mesh, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

LOADS: list[tuple[bytes, str]] = [
    (b'{"pattern": "sine", "rate": -1}', "rate must be between"),
    (b'{"pattern": "sine", "rate": 1e999}', "rate: inf is no number"),
    (b'{"pattern": "sine", "rate": NaN}', "NaN is no number"),
    (b'{"pattern": "sine", "rate": 1' + b"0" * 400 + b"}", "holds a number of 401 digits"),
    (b'{"pattern": "sine", "rate": "many"}', "rate: write a number"),
    (b'{"pattern": "zigzag", "rate": 7}', "no such pattern"),
    (b'{"pattern": {"pattern": "sine", "perod": 5}, "rate": 7}', "no such setting"),
    (b'{"pattern": "spike:factor=1000", "rate": 500}', "peaks at 500000"),
    (b'{"pattern": "' + b"s" * 10_000 + b'", "rate": 7}', "a pattern is its name"),
    (b'{"rate": 7, "more": 1}', "write {"),
    (b"[]", "not a JSON object"),
]
CHANGES: list[tuple[str, str, Any]] = [
    ("PUT", "/api/services/web", {"numReplicas": 2, "latency": "soon"}),
    ("PUT", "/api/services/web", {"numReplicas": 2, "command": ["sh"]}),
    ("PUT", "/api/services/web", {"errorRate": "1%", "version": "v9"}),
    ("PUT", "/api/services/new", {"numReplicas": 1, "script": [{"call": "nobody"}]}),
    ("PUT", "/api/calls/web/nobody", {}),
    ("PUT", "/api/calls/web/web", {}),
    ("DELETE", "/api/services/web", None),
    ("PUT", "/api/policies", [{"kind": "Fault", "apiVersion": "mesh/v1", "metadata": {"name": "a"},
                               "spec": {"host": "web", "action": "hang"}}, {"kind": "Fault"}]),
    ("POST", "/api/faults", {"target": "web", "action": "hang", "ttl": "soon"}),
    ("DELETE", "/api/policies?key=Fault/a&key=Fault/nobody", None),
    ("POST", "/api/instances/web-1/explode", None),
]  # fmt: skip


def picture(mesh: RealMesh) -> Any:
    """What of the mesh may be changed."""
    status = mesh.status()
    load = {key: status["load"].get(key) for key in ("running", "rate", "pattern")}
    policies = mesh.ask("/api/policies").json()
    return (
        [(each["name"], each["pids"], each["state"]) for each in status["instances"]],
        [(each["name"], each["started"]) for each in status["extras"]],
        load,
        policies["documents"],
        mesh.ask("/api/topology.yaml").body,
    )


def refused(mesh: RealMesh, method: str, path: str, body: bytes | None) -> str:
    """Its one line."""
    answer = mesh.ask(path, method, body, {"Content-Type": "application/json"})
    assert 400 <= answer.status < 500, (answer.status, answer.body)
    words = answer.json()["error"]
    assert "\n" not in words
    return str(words)


def test_a_refused_load_starts_and_changes_nothing(tmp_path: Path) -> None:
    """Neither a generator that is not there yet nor one that runs; what is right takes effect as a whole."""
    (tmp_path / "one.yaml").write_text("services:\n- name: web\n  isEntrypoint: true\n")
    with real_mesh(tmp_path, "one.yaml", "--no-load") as mesh:
        before = picture(mesh)
        for body, words in LOADS:
            assert words in refused(mesh, "PUT", "/api/load", body)
            assert picture(mesh) == before
        assert not mesh.status()["load"]["running"]
        mesh.ok("load", "--rate", "15000", "--pattern", "step:levels=0.001/0,every=1h")
        before = until(lambda: _settled(mesh))
        for body, words in LOADS:
            assert words in refused(mesh, "PUT", "/api/load", body)
            assert picture(mesh) == before
        # in range only together
        assert "5 req/s" in mesh.ok(
            "load", "--rate", "5", "--pattern", "spike:factor=1000,lasting=1,every=1h"
        )
        assert mesh.load()["pattern"] == "spike:factor=1000,lasting=1,every=3600"


def _settled(mesh: RealMesh) -> Any:
    found = picture(mesh)
    return found if found == picture(mesh) else None


def test_so_do_all_other_changes(tmp_path: Path) -> None:
    """Services, calls, policies, faults and actions: each with a half that would be right by itself."""
    (tmp_path / "one.yaml").write_text("services:\n- name: web\n  isEntrypoint: true\n")
    with real_mesh(tmp_path, "one.yaml", "--no-load") as mesh:
        mesh.ok("fault", "web", "--delay", "1ms", "--name", "a", "--for", "1h")
        before = picture(mesh)
        for method, path, body in CHANGES:
            refused(mesh, method, path, None if body is None else json.dumps(body).encode())
            assert picture(mesh) == before, (method, path, body)
