"""In containers: what a neighbour, even an app that was taken over, can reach of others, and what that gives.

The neighbour is the app of `web-1`: in the project's network, behind its own sidecar, and it runs what these
tests say. Its own pod is its own affair; the pods of `orders`, the registry and the rest of the mesh are not.
"""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from mesh.export.compose import compose_file
from services.script import load_topology
from tests.docker.project import ROOT, Project, docker, eventually, need_engine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(420)]

TOPOLOGY = """
load: {rate: 20/s}
services:
- name: web
  isEntrypoint: true
  script: [{call: orders}]
- name: orders
  numReplicas: 2
"""

# Standard input: [[method, url, headers, body], …]. Standard output: [status or why there is none, text].
ASK = """
import http.client, json, sys, urllib.error, urllib.request
answers = []
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for method, url, headers, body in json.load(sys.stdin):
    request = urllib.request.Request(url, body.encode() if body else None, headers, method=method)
    try:
        with opener.open(request, timeout=5) as answer:
            answers.append([answer.status, answer.read(100_000).decode(errors="replace")])
    except urllib.error.HTTPError as error:
        answers.append([error.code, error.read(10_000).decode(errors="replace")])
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        answers.append([type(reason).__name__, str(reason)])
json.dump(answers, sys.stdout)
"""

Answer = list[Any]


class Neighbour:
    """The app of web-1, which does as it is told."""

    def __init__(self, project: Project) -> None:
        self._container = project.container("web-1-app")

    def ask(self, *requests: tuple[str, str] | tuple[str, str, dict[str, str], str]) -> list[Answer]:
        """[status, text] of each; in the place of a status the name of what went wrong."""
        written = [[*each, *({}, "")[len(each) - 2 :]] for each in requests]
        done = subprocess.run(
            ["docker", "exec", "--interactive", self._container, "python", "-c", ASK],
            input=json.dumps(written),
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        answers: list[Answer] = json.loads(done.stdout)
        return answers

    def statuses(self, *requests: tuple[str, str] | tuple[str, str, dict[str, str], str]) -> list[Any]:
        return [answer[0] for answer in self.ask(*requests)]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    need_engine()
    folder = tmp_path_factory.mktemp("security")
    topology = folder / "small.yaml"
    topology.write_text(TOPOLOGY, encoding="utf-8")
    file = folder / "compose.yaml"
    file.write_text(compose_file(load_topology(str(topology)), str(topology), ROOT), encoding="utf-8")
    project = Project("meshtest-security", file=file)
    project.down()
    try:
        project.up()
        eventually(lambda: all_healthy(project), 60, "everybody healthy")
        yield project
    finally:
        project.down()


@pytest.fixture(scope="module")
def neighbour(mesh: Project) -> Neighbour:
    return Neighbour(mesh)


def all_healthy(mesh: Project) -> bool:
    return all(each["healthy"] for each in mesh.get("CONTROL", "/api/status")["instances"])


def inspected(mesh: Project) -> dict[str, dict[str, Any]]:
    """Container, without the project's name -> what Docker says of it."""
    label = f"label=com.docker.compose.project={mesh.name}"
    found = json.loads(docker("inspect", *docker("ps", "--all", "--quiet", "--filter", label).split()))
    return {each["Name"].removeprefix(f"/{mesh.name}-"): each for each in found}


# -- what is reached


def test_of_a_pod_two_ports_are_reached(neighbour: Neighbour) -> None:
    """Requests go in at 15006, and 15020 says how it does; nobody is behind the others."""
    for sidecar in ("orders-1-sidecar", "orders-2-sidecar"):
        closed = [("GET", f"http://meshtest-security-{sidecar}:{port}/") for port in (15000, 15001, 9000)]
        assert neighbour.statuses(*closed) == ["ConnectionRefusedError"] * 3
        (inbound,) = neighbour.statuses(("GET", f"http://meshtest-security-{sidecar}:15006/health"))
        assert inbound == 200
    assert neighbour.statuses(("GET", "http://ingress:15000/"), ("GET", "http://ingress:15006/")) == [
        "ConnectionRefusedError",
        "ConnectionRefusedError",
    ]
    assert neighbour.statuses(("GET", "http://ingress:15001/")) == [200]


OPEN = ("/ready", "/healthz/ready", "/metrics", "/stats/prometheus")
READS = ("/", "/snapshot", "/config_dump", "/clusters", "/clusters?format=json", "/explain", "/events")
ACTS = (
    "/quitquitquit",
    "/drain_listeners",
    "/drain_listeners?graceful",
    "/healthcheck/fail",
    "/healthcheck/ok",
    "/logging?level=debug",
)


def test_the_status_port_tells_how_it_does_and_obeys_nobody(mesh: Project, neighbour: Neighbour) -> None:
    """Neither without a token nor with a wrong one, and not by another method or spelling."""
    for base in ("http://meshtest-security-orders-1-sidecar:15020", "http://ingress:15020"):
        assert neighbour.statuses(*[("GET", base + path) for path in OPEN]) == [200] * len(OPEN)
        wrong = {"Authorization": "Bearer a-token-for-tests"}
        for headers in ({}, wrong, {"Host": "127.0.0.1:15000"}, {"X-Forwarded-For": "127.0.0.1"}):
            tried = [("GET", base + path, headers, "") for path in READS]
            tried += [(method, base + path, headers, "") for path in ACTS for method in ("POST", "GET")]
            assert set(neighbour.statuses(*tried)) <= {401, 403}
    (app,) = neighbour.ask(("GET", "http://meshtest-security-orders-1-sidecar:15020/app/metrics"))
    assert app[0] == 200
    assert "http_requests_total" in app[1]
    assert all_healthy(mesh)


def test_an_app_cannot_end_its_own_sidecar(mesh: Project, neighbour: Neighbour) -> None:
    """It shares the sidecar's loopback, and has no secret."""
    assert set(neighbour.statuses(*[("POST", f"http://127.0.0.1:15000{path}") for path in ACTS])) <= {
        401,
        403,
    }
    assert neighbour.statuses(("GET", "http://127.0.0.1:15000/ready")) == [200]


def test_the_secret_is_where_it_is_needed(mesh: Project) -> None:
    """No app has the volume; nor does a program of others but the one that makes it, nor any environment."""
    holders = {
        name
        for name, each in inspected(mesh).items()
        if any(mount["Destination"] == "/run/mesh-secret" for mount in each["Mounts"])
    }
    pods = {"web-1-sidecar", "orders-1-sidecar", "orders-2-sidecar"}
    assert holders == {*pods, "ingress", "loadgen", "control", "consul"}
    secret = docker("exec", mesh.container("consul"), "cat", "/run/mesh-secret/token").strip()
    assert len(secret) >= 32
    assert secret not in json.dumps(inspected(mesh))
    assert secret not in mesh.compose("logs", "--no-color").stdout
    for name in (*pods, "ingress", "control", "consul"):
        top = docker("top", mesh.container(name), "-eo", "pid,args")
        assert secret not in top
    with pytest.raises(AssertionError, match="No such file"):
        docker("exec", mesh.container("web-1-app"), "cat", "/run/mesh-secret/token")


# -- the registry

CONSUL = "http://consul:8500"
IMPOSTOR = json.dumps({"ID": "orders-9", "Name": "orders", "Address": "web-1-sidecar", "Port": 9999})


def test_nobody_registers_in_anothers_name(mesh: Project, neighbour: Neighbour) -> None:
    """Nor ends a registration, nor changes a policy; everybody may look."""
    policy = f"{CONSUL}/v1/kv/mesh/policy/VirtualService/orders"
    step = [{"KV": {"Verb": "set", "Key": "mesh/policy/VirtualService/orders", "Value": "e30="}}]
    entry = {"Node": "n", "Address": "10.0.0.1", "Service": {"Service": "orders", "Port": 1}}
    tried: list[tuple[str, str, dict[str, str], str]] = [
        (method, url, headers, body)
        for headers in ({}, {"X-Consul-Token": "a-token-for-tests"})
        for method, url, body in (
            ("PUT", f"{CONSUL}/v1/agent/service/register", IMPOSTOR),
            ("PUT", f"{CONSUL}/v1/agent/service/deregister/orders-1", ""),
            ("PUT", f"{CONSUL}/v1/agent/check/fail/service:orders-1", ""),
            ("PUT", f"{CONSUL}/v1/agent/service/maintenance/orders-1?enable=true", ""),
            ("PUT", f"{CONSUL}/v1/catalog/register", json.dumps(entry)),
            ("PUT", f"{CONSUL}/v1/catalog/deregister", json.dumps({"Node": "n"})),
            ("PUT", f"{CONSUL}/v1/agent/leave", ""),
            ("PUT", policy, "{}"),
            ("DELETE", policy, ""),
            ("PUT", f"{CONSUL}/v1/txn", json.dumps(step)),
            ("PUT", f"{CONSUL}/v1/acl/bootstrap", ""),
            ("PUT", f"{CONSUL}/v1/acl/token", "{}"),
        )
    ]
    # a transaction says in its body that it was refused
    assert set(neighbour.statuses(*tried)) <= {403, 409}
    health, kv = neighbour.ask(("GET", f"{CONSUL}/v1/health/service/orders"), ("GET", policy))
    assert {entry["Service"]["ID"] for entry in json.loads(health[1])} == {"orders-1", "orders-2"}
    assert kv[0] == 404


def test_a_registry_that_starts_again_is_closed_again(mesh: Project, neighbour: Neighbour) -> None:
    """It forgot what anybody may do; everybody who is allowed comes back by himself."""
    docker("restart", "--time", "2", mesh.container("consul"))

    def back() -> bool:
        found = mesh.get("CONSUL", "/v1/health/service/orders", passing="1")
        return {entry["Service"]["ID"] for entry in found} == {"orders-1", "orders-2"}

    eventually(back, 60, "registered again")
    assert neighbour.statuses(("PUT", f"{CONSUL}/v1/agent/service/register", {}, IMPOSTOR)) == [403]
    eventually(lambda: all_healthy(mesh), 60, "everybody healthy")


# -- the others


def test_control_gives_its_neighbours_counts_and_takes_spans(neighbour: Neighbour) -> None:
    """Its own API wants the token and this machine's name; the other listener has two paths."""
    assert set(neighbour.statuses(("GET", "http://control:4200/api/status"))) <= {401, 403}
    assert set(neighbour.statuses(("POST", "http://control:4200/api/instances/orders-1/kill"))) <= {401, 403}
    inner = "http://control:4201"
    assert neighbour.statuses(("GET", f"{inner}/metrics")) == [200]
    others = ("/", "/api/status", "/api/stream", "/api/traces", "/api/load", "/page/page.js", "/v1/traces")
    assert set(neighbour.statuses(*[("GET", inner + path) for path in others])) <= {404, 405}
    acts = ("/api/instances/orders-1/kill", "/api/shutdown", "/api/load", "/metrics")
    assert set(neighbour.statuses(*[("POST", inner + path) for path in acts])) <= {404, 405}


def test_the_load_is_nobodys_to_change(mesh: Project, neighbour: Neighbour) -> None:
    """Prometheus may read."""
    rate = json.dumps({"rate": 5000})
    assert neighbour.statuses(("PUT", "http://loadgen:9100/rate", {}, rate)) == [401]
    assert neighbour.statuses(("POST", "http://loadgen:9100/reset")) == [401]
    assert neighbour.statuses(("GET", "http://loadgen:9100/metrics")) == [200]
    assert mesh.load()["rate"] == 20


def test_prometheus_is_not_ended_or_reloaded(neighbour: Neighbour) -> None:
    """Its lifecycle API is off."""
    asked = [
        (method, f"http://prometheus:9090/-/{verb}")
        for verb in ("quit", "reload")
        for method in ("POST", "PUT")
    ]
    assert neighbour.statuses(*asked) == [403] * 4


def test_every_container_is_held_as_tightly(mesh: Project) -> None:
    """Those of others too: nothing written but where it is said, no capability, none to be had."""
    for name, each in inspected(mesh).items():
        host = each["HostConfig"]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert not host["CapAdd"], name
        assert host["SecurityOpt"] == ["no-new-privileges:true"], name
        assert not host["Privileged"], name


# -- who is allowed goes on as before


def test_the_operator_kills_heals_and_drains(mesh: Project) -> None:
    """By docker, and by the sidecars' status ports, with the secret."""
    done = mesh.compose("exec", "-T", "control", "mesh", "status", "--json")
    status = json.loads(done.stdout)
    assert {each["name"]: each["healthy"] for each in status["instances"]} == {
        "web-1": True,
        "orders-1": True,
        "orders-2": True,
    }
    assert mesh.act("kill", "orders-1")["state"] == "down"
    mesh.act("heal", "orders-1")
    eventually(lambda: mesh.instance("orders-1")["healthy"], 60, "orders-1 healthy")
    assert mesh.act("drain", "orders-2")["state"] == "draining"
    mesh.act("heal", "orders-2")
    eventually(lambda: all_healthy(mesh), 60, "everybody healthy")
    assert mesh.get("ENTRYPOINT", "/")["status"] == 200


def test_prometheus_finds_sidecars_and_apps_behind_them(mesh: Project) -> None:
    """Each by 15020."""

    def up() -> set[tuple[str, str]]:
        active = mesh.get("PROMETHEUS", "/api/v1/targets")["data"]["activeTargets"]
        assert [each["scrapeUrl"] for each in active if each["health"] != "up"] == []
        return {(each["labels"]["job"], each["labels"]["instance"]) for each in active}

    wanted = {(job, name) for job in ("sidecars", "services") for name in ("web-1", "orders-1", "orders-2")}
    eventually(lambda: up() >= wanted, 60, "every target up")
    assert mesh.query('http_requests_total{job="services", service="orders"}')
