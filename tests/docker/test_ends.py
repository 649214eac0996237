"""Nothing is left, a second one beside it, and what goes wrong at the start is one clear line."""

import os
import subprocess
import sys

import pytest

from tests.docker.project import ROOT, Project, docker

pytestmark = [pytest.mark.docker, pytest.mark.timeout(420)]

# Without what the first project has already shown; three replicas of our own are enough here.
SMALL = ("ingress", "users-1-app", "users-2-app", "consul")


def leftovers(name: str) -> str:
    label = f"label=com.docker.compose.project={name}"
    return (
        docker("ps", "--all", "--quiet", "--filter", label)
        + docker("network", "ls", "--quiet", "--filter", label)
        + docker("volume", "ls", "--quiet", "--filter", label)
    )


def test_two_projects_side_by_side_and_nothing_left_of_either(engine: None) -> None:
    """Other names, other ports; each knows its own instances only; `down -v`, and `up` again."""
    first, second = Project("meshtest-a"), Project("meshtest-b")
    try:
        for project in (first, second):
            done = project.compose("up", "--detach", "--wait", "--pull", "never", *SMALL)
            assert done.returncode == 0, done.stderr[-2000:]
        for project in (first, second):
            entries = project.get("CONSUL", "/v1/health/service/users")
            assert {entry["Service"]["Address"] for entry in entries} == {
                project.container("users-1-sidecar"),
                project.container("users-2-sidecar"),
            }
        second.down()
        assert leftovers(second.name) == ""
        assert len(first.get("CONSUL", "/v1/health/service/users")) == 2
        done = second.compose("up", "--detach", "--wait", "--pull", "never", "consul")
        assert done.returncode == 0, done.stderr[-2000:]
    finally:
        first.down()
        second.down()
    assert leftovers(first.name) + leftovers(second.name) == ""


def test_control_0_starts_nothing_that_has_the_socket(engine: None) -> None:
    """The mesh works all the same: instances register, and nobody can reach Docker through it."""
    project = Project("meshtest-e", variables={"CONTROL": "0"})
    try:
        done = project.compose("up", "--detach", "--wait", "--pull", "never", *SMALL, "control")
        assert done.returncode == 0, done.stderr[-2000:]
        label = f"label=com.docker.compose.project={project.name}"
        found = docker("ps", "--quiet", "--filter", label).split()
        told = docker("inspect", "--format", "{{.Name}} {{range .Mounts}}{{.Source}} {{end}}", *found)
        assert len(told.splitlines()) == len(found) == 6
        assert "control" not in told
        assert "docker.sock" not in told
        assert len(project.get("CONSUL", "/v1/health/service/users", passing="1")) == 2
    finally:
        project.down()


def test_a_published_port_in_use_is_one_clear_line(engine: None) -> None:
    """Docker's own, with the port in it."""
    holder, project = Project("meshtest-c"), Project("meshtest-d")
    project.environment["CONSUL_PORT"] = str(holder.ports["CONSUL"])
    try:
        assert holder.compose("up", "--detach", "--pull", "never", "consul").returncode == 0
        done = project.compose("up", "--detach", "--pull", "never", "consul")
        assert done.returncode != 0
        last = done.stderr.strip().splitlines()[-1]
        assert f"127.0.0.1:{holder.ports['CONSUL']}" in last
        assert "already" in last
    finally:
        holder.down()
        project.down()


def control(**settings: str) -> subprocess.CompletedProcess[str]:
    """Of a project `shop`, with these settings; it must end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "mesh.docker"],
        cwd=ROOT,
        env={**os.environ, "MESH_PROJECT": "shop", **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_no_docker_is_one_clear_line() -> None:
    """Control says so and ends with 1."""
    done = control(DOCKER_HOST="unix:///nowhere/docker.sock")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("mesh.docker: no Docker engine answers")


def test_an_unreadable_topology_is_one_clear_line() -> None:
    """Control refuses it with file and reason, and exit code 2."""
    done = control(MESH_TOPOLOGY="/nowhere/shop.yaml")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "/nowhere/shop.yaml: no such file" in done.stderr
