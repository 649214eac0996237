"""A running mesh becomes another topology: processes come, read again and go, and nobody sees an error."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.real_mesh import Answer, RealMesh, alive, listens, real_mesh, until, wait

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

TOPOLOGY = """\
load: {rate: 60}
services:
- name: front
  isEntrypoint: true
  numReplicas: 2
  script: [{call: orders}]
- name: orders
  numReplicas: 3
- name: spare
"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    directory: Path = tmp_path_factory.mktemp("reshape")
    (directory / "small.yaml").write_text(TOPOLOGY)
    with real_mesh(directory, "small.yaml") as found:
        yield found


def say(mesh: RealMesh, method: str, path: str, body: bytes | None = None) -> Answer:
    return mesh.ask(f"/api/{path}", method, body)


def ok(mesh: RealMesh, method: str, path: str, body: bytes | None = None) -> Any:
    answer = say(mesh, method, path, body)
    assert answer.status == 200, answer.body
    return answer.json()


def names(mesh: RealMesh) -> list[str]:
    return [each["name"] for each in mesh.status()["instances"]]


def requests(mesh: RealMesh, name: str) -> int:
    return int(mesh.snapshot(name)["inbound"]["requests"])


def test_a_service_comes_is_called_and_goes(mesh: RealMesh) -> None:
    """Its processes are real, traffic reaches them, and with them everything of theirs is gone."""
    mesh.reset_load()
    assert ok(mesh, "PUT", "services/reviews", b'{"numReplicas": 2, "latency": "2ms"}')["changed"]
    assert not ok(mesh, "PUT", "services/reviews", b'{"numReplicas": 2, "latency": "2ms"}')["changed"]
    assert [mesh.instance(name)["state"] for name in ("reviews-1", "reviews-2")] == ["healthy", "healthy"]
    ok(mesh, "PUT", "calls/orders/reviews", b"{}")
    until(lambda: requests(mesh, "reviews-1") > 10 and requests(mesh, "reviews-2") > 10)
    graph = ok(mesh, "GET", "topology")
    assert ["orders", "reviews"] in graph["calls"]
    gone = mesh.instance("reviews-1")
    assert ok(mesh, "DELETE", "services/reviews")["changed"]
    assert names(mesh) == ["front-1", "front-2", "orders-1", "orders-2", "orders-3", "spare-1"]
    assert not any(alive(pid) for pid in gone["pids"].values())
    assert not any(listens(port) for port in gone["ports"].values())
    until(lambda: mesh.endpoint("orders-1", "reviews-1") is None, 30)
    assert ["orders", "reviews"] not in ok(mesh, "GET", "topology")["calls"]
    assert "orders>reviews" not in until(lambda: _calm(mesh), 20)["edges"]
    assert mesh.load()["failed"] == 0


def _calm(mesh: RealMesh) -> Any:
    picture = ok(mesh, "GET", "picture")
    return picture if "orders>reviews" not in picture["edges"] else None


def test_replicas_come_and_go_without_an_error(mesh: RealMesh) -> None:
    """A new one gets its share; one that goes finishes what it has, also when it is paused or dead."""
    mesh.reset_load()
    assert mesh.ok("scale", "orders", "5") == "orders: 5 replicas (3 before)\n"
    until(lambda: requests(mesh, "orders-5") > 10)
    leaving = [mesh.instance(name)["pids"]["app"] for name in ("orders-4", "orders-5")]
    ok(mesh, "PUT", "services/orders", b'{"numReplicas": 3}')
    assert not any(alive(pid) for pid in leaving)
    assert "orders-4" not in names(mesh)
    assert mesh.load()["failed"] == 0
    mesh.ok("kill", "orders-3")
    mesh.ok("pause", "orders-2")
    ok(mesh, "PUT", "services/orders", b'{"numReplicas": 1}')
    assert [name for name in names(mesh) if name.startswith("orders")] == ["orders-1"]
    until(lambda: mesh.endpoint("front-1", "orders-3") is None)
    ok(mesh, "PUT", "services/orders", b'{"numReplicas": 3}')
    until(lambda: mesh.instance("orders-3")["healthy"])


def test_latency_and_errors_change_in_the_running_processes(mesh: RealMesh) -> None:
    """The same pids behave otherwise, and one that is started later does too."""
    pids = {name: mesh.instance(name)["pids"] for name in ("orders-1", "orders-2", "orders-3")}
    ok(mesh, "PUT", "services/orders", b'{"latency": "120ms"}')
    until(lambda: (mesh.snapshot("orders-1")["inbound"]["window"]["p50_ms"] or 0) > 100, 20)
    assert {name: mesh.instance(name)["pids"] for name in pids} == pids
    mesh.ok("kill", "orders-2")
    mesh.ok("heal", "orders-2")
    until(lambda: (mesh.snapshot("orders-2")["inbound"]["window"]["p50_ms"] or 0) > 100, 20)
    ok(mesh, "PUT", "services/orders", b'{"latency": "1ms", "errorRate": "100%"}')
    until(lambda: mesh.snapshot("orders-1")["inbound"]["window"]["error_rate"] > 0, 20)
    ok(mesh, "PUT", "services/orders", b'{"latency": null, "errorRate": null}')
    wait(1)


def test_a_wrong_change_changes_nothing(mesh: RealMesh) -> None:
    """One line, and the same processes as before."""
    before = (names(mesh), ok(mesh, "GET", "topology"), mesh.state.topology_path.read_text())
    for method, path, body, status, words in (
        ("PUT", "services/orders", b'{"numReplicas": 0}', 400, "out of range"),
        ("PUT", "services/orders", b"nonsense", 400, "not JSON"),
        ("PUT", "services/orders", b'{"command": "rm -rf /"}', 400, "topology file only"),
        ("PUT", "services/Orders!", b"{}", 400, "host name"),
        ("PUT", "calls/orders/front", b"{}", 400, "never end"),
        ("PUT", "calls/orders/nobody", b"{}", 404, 'no service is named "nobody"'),
        ("DELETE", "services/nobody", None, 404, 'no service is named "nobody"'),
        ("DELETE", "services/front", None, 409, "entrypoint"),
        ("PUT", "services/orders", b'{"x": "' + b"a" * 70_000 + b'"}', 400, "larger than 64 KB"),
    ):
        answer = say(mesh, method, path, body)
        assert (answer.status, "\n" in answer.json()["error"]) == (status, False), answer.body
        assert words in answer.json()["error"]
    for service, number, words in (
        ("order", "2", 'no service is named "order" (did you mean "orders"?)'),
        ("orders", "-1", "orders: numReplicas: -1 is out of range"),
        ("orders", "1001", "orders: numReplicas: 1001 is out of range"),
    ):
        ran = mesh.run("scale", service, number)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert ran.err.startswith(f"mesh scale: {words}")
    assert (names(mesh), ok(mesh, "GET", "topology"), mesh.state.topology_path.read_text()) == before


def test_what_runs_is_saved_and_starts_again(mesh: RealMesh, tmp_path: Path) -> None:
    """The file is one for `mesh validate`, and a crash of an app starts it as it is now."""
    ok(mesh, "PUT", "services/later", b'{"errorRate": 0.5}')
    ok(mesh, "PUT", "calls/spare/later", b'{"probability": 20}')
    answer = say(mesh, "GET", "topology.yaml")
    assert 'filename="small.yaml"' in answer.headers["Content-Disposition"]
    saved = tmp_path / "saved.yaml"
    saved.write_bytes(answer.body)
    assert "4 services, 7 instances" in mesh.ok("validate", str(saved))
    events = [each for each in ok(mesh, "GET", "events")["events"] if each["kind"] == "topology"]
    assert [(each["action"], each["target"]) for each in events][-2:] == [
        ("add", "later"),
        ("connect", "spare>later"),
    ]
    assert "later-1" in mesh.ok("status")
