"""Requests under way when their replica, or the whole mesh, is to end: they finish, within one limit."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.real_mesh import Answer, RealMesh, http, until, wait

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

# Longer than what a drain waited for once, which was 5 s; and the last hop is called late.
TOPOLOGY = """
services:
- name: front
  isEntrypoint: true
  script: [{call: slow}]
- name: slow
  numReplicas: 2
  script: [{sleep: 6s}, {call: {service: last, required: true}}]
- name: last
"""
REQUESTS = 4


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[RealMesh]:
    real = RealMesh(tmp_path)
    (tmp_path / "slow.yaml").write_text(TOPOLOGY)
    yield real
    real.run("down")


def posts(pool: ThreadPoolExecutor, mesh: RealMesh) -> list[Future[Answer]]:
    """POSTs that are all at a replica of `slow` when this returns, at least one at each."""
    url = mesh.status()["entrypoint"]
    asked = [pool.submit(http, url, "POST", None, b"x" * 100, 40.0) for _ in range(REQUESTS)]

    def at_work() -> bool:
        found = [mesh.snapshot(name)["inbound"]["in_flight"] for name in ("slow-1", "slow-2")]
        return sum(found) == REQUESTS and all(found)

    until(at_work, 10)
    return asked


def test_who_is_scaled_away_or_drained_finishes_what_it_has(mesh: RealMesh) -> None:
    """Six seconds of a POST; the replica goes then, and not before, and the command waits for it."""
    mesh.up("slow.yaml", "--no-load")
    with ThreadPoolExecutor(REQUESTS) as pool:
        asked = posts(pool, mesh)
        began = time.monotonic()
        assert mesh.ok("scale", "slow", "1") == "slow: 1 replica (2 before)\n"
        assert [each.result().status for each in asked] == [200] * REQUESTS
        assert 4.0 < time.monotonic() - began < 15.0
        mesh.ok("scale", "slow", "2")
        # a new replica takes its share by a ramp of ten seconds
        until(lambda: (mesh.endpoint("front-1", "slow-2") or {}).get("ramp") == 1.0, 20)
        asked = posts(pool, mesh)
        mesh.ok("drain", "slow-1")
        mesh.ok("heal", "slow-1")
        assert [each.result().status for each in asked] == [200] * REQUESTS
        until(lambda: mesh.instance("slow-1")["state"] == "healthy", 15)


def test_down_lets_requests_finish(mesh: RealMesh) -> None:
    """Those through the entrypoint, with all that they still call; then everything is gone."""
    mesh.up("slow.yaml", "--no-load")
    with ThreadPoolExecutor(REQUESTS) as pool, mesh.leaves_nothing():
        asked = posts(pool, mesh)
        assert mesh.ok("down") == "slow is down\n"
        assert [each.result().status for each in asked] == [200] * REQUESTS


def test_the_limit_is_what_somebody_says(mesh: RealMesh) -> None:
    """One second: what is under way then is cut, its callers are told who cut it, and what is safe to repeat
    is rescued by the replica that stays.
    """
    (mesh.directory / "slow.yaml").write_text(TOPOLOGY.replace("6s", "12s"))
    mesh.up("slow.yaml", "--no-load", "--drain-timeout", "1s")
    assert mesh.status()["drain_s"] == 1.0
    with ThreadPoolExecutor(REQUESTS) as pool, mesh.leaves_nothing():
        asked = posts(pool, mesh)
        mesh.ok("scale", "slow", "1")
        assert [each.result().status for each in asked] == [200] * REQUESTS
        lines = (mesh.directory / ".mesh/logs/slow-2.access.log").read_text().splitlines()
        last = [json.loads(line) for line in lines]
        assert {"LR"} == {line["response_flags"] for line in last if line["direction"] == "inbound"}
        asked = [pool.submit(http, mesh.status()["entrypoint"], timeout_s=40.0)]
        wait(0.5)
        mesh.ok("down")
        assert asked[0].result().status == 503


@pytest.mark.parametrize("text", ["5", "0s", "2h", "soon"])
def test_a_limit_that_is_none_is_refused(mesh: RealMesh, text: str) -> None:
    """One line, and nothing is started."""
    ran = mesh.run("up", "slow.yaml", "--drain-timeout", text)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("mesh up: --drain-timeout: ")
    assert not mesh.state.path.exists()
