"""A mesh on a machine that others use too: they reach every port of 127.0.0.1, and read all arguments."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.tokens import Scope
from tests.e2e.real_mesh import RealMesh, http, real_mesh
from tests.security.test_listeners import ACTS, READS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

NOBODY = 65534
# Of the system, which everybody may run; ours may lie in somebody's home.
PYTHON = "/usr/bin/python3"
TOPOLOGY = "services:\n- {name: front, isEntrypoint: true, script: [{call: back}]}\n- name: back\n"

# Standard input: {"files": […], "asks": [[method, url, body], …]}. Standard output: what became of each.
TRY = """
import json, sys, urllib.error, urllib.request
wish = json.load(sys.stdin)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
found = {"files": {}, "asks": []}
for path in wish["files"]:
    try:
        with open(path, "rb") as file:
            found["files"][path] = file.read(100000).decode(errors="replace")
    except OSError as error:
        found["files"][path] = type(error).__name__
for method, url, body in wish["asks"]:
    request = urllib.request.Request(url, body.encode() if body else None, method=method)
    try:
        with opener.open(request, timeout=5) as answer:
            found["asks"].append(answer.status)
    except urllib.error.HTTPError as error:
        found["asks"].append(error.code)
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def mesh() -> Iterator[RealMesh]:
    """In a folder that everybody may look into."""
    folder = Path(tempfile.mkdtemp(prefix="mesh-test-"))
    folder.chmod(0o755)
    try:
        (folder / "two.yaml").write_text(TOPOLOGY)
        with real_mesh(folder, "two.yaml", "--rate", "20") as found:
            yield found
    finally:
        shutil.rmtree(folder)


def as_nobody(files: list[str], asks: list[tuple[str, str, str | None]]) -> Any:
    """What another user gets; needs root to become one."""
    if os.geteuid() != 0 or not os.access(PYTHON, os.X_OK):
        pytest.skip("only root can try what another user may")
    done = subprocess.run(
        [PYTHON, "-I", "-c", TRY],
        input=json.dumps({"files": files, "asks": asks}),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
    )
    return json.loads(done.stdout)


def secrets(mesh: RealMesh) -> list[str]:
    return [mesh.tokens.of(scope) for scope in Scope]


def test_another_user_cannot_act(mesh: RealMesh) -> None:
    """At no listener of the mesh; nor read anything from the control API."""
    status = mesh.status()
    asks: list[tuple[str, str, str | None]] = []
    admins = [each["ports"]["admin"] for each in (*status["instances"], *status["extras"])]
    for port in filter(None, admins):
        asks += [_ask(f"http://127.0.0.1:{port}", act) for act in ACTS["admin"]]
    asks += [_ask(status["registry"], act) for act in ACTS["registry"]]
    asks += [_ask(status["load"]["url"], act) for act in ACTS["loadgen"]]
    for path in ("status", "topology.yaml", "stream", "events", "policies", "openapi.json", "recent"):
        asks.append(("GET", f"{status['control']}/api/{path}", None))
    for method, path in (
        ("POST", "/api/shutdown"),
        ("POST", "/api/instances/back-1/kill"),
        ("PUT", "/api/load"),
        ("PUT", "/api/policies"),
        ("POST", "/v1/traces"),
    ):
        asks.append((method, status["control"] + path, "{}"))
    found = as_nobody([], asks)
    assert set(found["asks"]) == {401, 403}, list(zip(asks, found["asks"], strict=True))
    now = mesh.status()
    assert (now["phase"], now["load"]["rate"]) == ("up", 20)
    assert all(each["healthy"] for each in now["instances"])
    assert len(asks) == len(found["asks"])


def test_another_user_reads_no_token(mesh: RealMesh) -> None:
    """Not in its file, not in the environment of a process, not in the arguments of one."""
    token = str(mesh.state.token_path)
    pids = [leader.pid for leader in mesh.leaders() if leader.alive()]
    assert len(pids) > 6
    environments = [f"/proc/{pid}/environ" for pid in pids]
    arguments = [f"/proc/{pid}/cmdline" for pid in pids]
    found = as_nobody([token, *environments, *arguments], [])["files"]
    assert found[token] == "PermissionError"
    assert {found[path] for path in environments} == {"PermissionError"}
    assert all(found[path] for path in arguments)
    for secret in secrets(mesh):
        assert not any(secret in found[path] for path in arguments)


def test_a_token_stands_in_its_file_alone(mesh: RealMesh, tmp_path: Path) -> None:
    """In no argument of any process, in no log, in no other file of the mesh, in nothing that it shows."""
    asked = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True).stdout
    assert "sidecar" in asked
    status = mesh.status()
    shown = json.dumps([status, mesh.snapshot("front-1")])
    admin = f"http://127.0.0.1:{mesh.instance('front-1')['ports']['admin']}"
    for path in READS["admin"]:
        if path != "/events":
            shown += http(admin + path).body.decode()
    files = {
        path: path.read_text(errors="replace")
        for path in mesh.state.path.rglob("*")
        if path.is_file() and path != mesh.state.token_path
    }
    assert len(files) > 8
    for secret in secrets(mesh):
        assert secret not in asked
        assert secret not in shown
        assert [path for path, text in files.items() if secret in text] == []
    assert mesh.state.token_path.stat().st_mode & 0o777 == 0o600
    assert mesh.state.token_path.read_text().strip() == mesh.tokens.control


def test_each_run_has_tokens_of_its_own_and_leaves_none(tmp_path: Path) -> None:
    """Who learned the last ones learned nothing of the next; the detached start prints none."""
    (tmp_path / "two.yaml").write_text(TOPOLOGY)
    mesh, seen = RealMesh(tmp_path), list[str]()
    for _ in range(2):
        try:
            said = mesh.up("two.yaml", "--no-load")
            token = mesh.tokens.control
            assert token not in said
            assert "mesh dashboard prints its link" in said
            assert mesh.ok("dashboard").strip() == mesh.link
            seen.append(token)
        finally:
            mesh.ok("down")
        assert not mesh.state.token_path.exists()
    assert len(set(seen)) == 2


def _ask(url: str, act: tuple[str, str, bytes | None]) -> tuple[str, str, str | None]:
    method, path, body = act
    return method, url + path, None if body is None else body.decode()
