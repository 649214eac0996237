"""What control shows and takes on containers: real requests on the page, logs, faults, the boards' marks."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.request import Request, urlopen

import pytest

from grafana.boards.panels import ACTIONS
from tests.docker.project import TOKEN, Project, docker, eventually

MESH = [sys.executable, "-m", "mesh"]

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


def messages(shop: Project, seconds: float) -> Iterator[tuple[str, str]]:
    """(event, data) of the live page's stream."""
    request = Request(f"{shop.url('CONTROL')}/api/stream", headers={"Authorization": f"Bearer {TOKEN}"})
    deadline = time.monotonic() + seconds
    with urlopen(request, timeout=seconds) as stream:
        event = ""
        while time.monotonic() < deadline and (line := stream.readline().decode()):
            if line.startswith("event:"):
                event = line[6:].strip()
            elif line.startswith("data:"):
                yield event, line[5:]


def test_the_page_shows_real_requests(shop: Project) -> None:
    """Jaeger hands on what it takes: flights whose trace Jaeger knows too."""
    found = next(json.loads(data) for event, data in messages(shop, 60) if event == "flights")
    flight = found["flights"][0]
    assert flight["hops"]

    def attempts() -> int:
        (trace,) = shop.get("JAEGER", f"/api/traces/{flight['id']}")["data"]
        return sum(span["operationName"].startswith("attempt ") for span in trace["spans"])

    eventually(lambda: attempts() >= len(flight["hops"]), 20, "the same hops in Jaeger")


def test_logs_are_followed_across_a_restart(shop: Project) -> None:
    """`mesh logs --follow`: what comes later is printed, also by the container's next run."""
    environment = {**os.environ, "MESH_CONTROL": shop.url("CONTROL"), "MESH_TOKEN": TOKEN}
    command = [*MESH, "logs", "users-2", "--part", "app", "--follow", "-n", "0"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as following:
        try:
            time.sleep(3)
            shop.act("kill", "users-2")
            shop.act("heal", "users-2")
            assert following.stdout is not None
            assert json.loads(following.stdout.readline()) == {"http": "127.0.0.1:9000"}
        finally:
            following.terminate()


def test_a_fault_by_command_acts_and_is_marked_on_the_boards(shop: Project) -> None:
    """Put through control into Consul, acted on by the sidecars, ended; the boards' query finds both."""
    environment = {**os.environ, "MESH_CONTROL": shop.url("CONTROL"), "MESH_TOKEN": TOKEN}

    def mesh(*words: str) -> str:
        done = subprocess.run(
            [*MESH, *words], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    began = time.time()
    mesh("fault", "users", "--abort", "503", "--for", "2m")
    listed = json.loads(mesh("get", "--json"))
    assert "users" in json.dumps(listed)
    stored = shop.get("CONSUL", "/v1/kv/mesh/policy/Fault/", keys="")
    assert len(stored) == 1
    eventually(
        lambda: shop.query('sum(rate(istio_requests_total{response_flags="FI"}[30s])) > 0'),
        40,
        "requests are aborted",
    )
    mesh("fault", "clear", "users")
    query = {"query": ACTIONS, "start": f"{began:.0f}", "step": "5"}

    def marked() -> bool:
        rows = shop.get("PROMETHEUS", "/api/v1/query_range", end=f"{time.time():.0f}", **query)
        found = {row["metric"]["action"] for row in rows["data"]["result"]}
        return found >= {"fault began", "fault ended"}

    eventually(marked, 40, "marks of the fault")


def test_a_crash_is_started_again_and_a_kill_is_not(shop: Project) -> None:
    """An end that nobody asked for: the process dies of a signal from inside its own container."""
    name = shop.container("users-1-app")
    before = docker("inspect", "-f", "{{.RestartCount}}", name).strip()
    # not by Docker, and from outside: no signal of its own namespace ends the first process of a container
    pid = docker("inspect", "-f", "{{.State.Pid}}", name).strip()
    outside = ["--pid", "host", "--user", "0", "--entrypoint", "bash", "local-mesh"]
    docker("run", "--rm", *outside, "-c", f"kill -9 {pid}")
    eventually(
        lambda: (
            docker("inspect", "-f", "{{.RestartCount}} {{.State.Running}}", name).split()
            == [str(int(before) + 1), "true"]
        ),
        30,
        "started again",
    )
    eventually(lambda: shop.instance("users-1")["healthy"], 60, "healthy again")
    docker("kill", name)
    time.sleep(5)
    assert docker("inspect", "-f", "{{.State.Running}}", name).strip() == "false"
    shop.act("heal", "users-1")
    eventually(lambda: shop.instance("users-1")["healthy"], 60, "healed")


def test_an_exemplar_of_a_number_leads_to_its_trace(shop: Project) -> None:
    """Prometheus keeps trace ids beside the buckets of latency; Jaeger has those traces."""

    def found() -> list[str]:
        answer = shop.get(
            "PROMETHEUS",
            "/api/v1/query_exemplars",
            query='istio_request_duration_milliseconds_bucket{reporter="source"}',
            start=f"{time.time() - 60:.0f}",
            end=f"{time.time():.0f}",
        )
        return [one["labels"]["trace_id"] for series in answer["data"] for one in series["exemplars"]]

    trace_id = eventually(found, 40, "exemplars")[-1]
    eventually(lambda: shop.get("JAEGER", f"/api/traces/{trace_id}")["data"], 20, "its trace in Jaeger")
