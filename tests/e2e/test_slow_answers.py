"""Answers of any length in time: none is taken for a failure, none is asked for twice, through two hops.

ingress -> front -> back (three replicas); /next/… at the front is asked of the back.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.real_mesh import RealMesh, http, real_mesh

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

APP = Path(__file__).with_name("slow_app.py")
TOPOLOGY = f"""\
services:
- name: front
  isEntrypoint: true
  command: ["{sys.executable}", "{APP}", "{{port}}"]
  health: {{path: /health}}
- name: back
  numReplicas: 3
  command: ["{sys.executable}", "{APP}", "{{port}}"]
  health: {{path: /health}}
"""
PATIENCE = aiohttp.ClientTimeout(total=60)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    directory: Path = tmp_path_factory.mktemp("slow")
    (directory / "slow.yaml").write_text(TOPOLOGY)
    with real_mesh(directory, "slow.yaml", "--no-load") as running:
        yield running


def begun(mesh: RealMesh) -> Counter[str]:
    """What the replicas of the back have begun, asked past every sidecar."""
    found: Counter[str] = Counter()
    for each in mesh.status()["instances"]:
        if each["service"] == "back":
            found.update(http(f"http://127.0.0.1:{each['ports']['app']}/begun").json())
    return found


async def at_rate(url: str, per_s: float, count: int, method: str = "GET") -> Counter[int]:
    """The statuses of so many requests, begun at that rate, however long each takes."""
    async with aiohttp.ClientSession(timeout=PATIENCE) as session, asyncio.TaskGroup() as tasks:

        async def ask() -> int:
            async with session.request(method, url) as answer:
                await answer.read()
                return answer.status

        asked = []
        for _ in range(count):
            asked.append(tasks.create_task(ask()))
            await asyncio.sleep(1 / per_s)
    return Counter(task.result() for task in asked)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_service_whose_every_answer_takes_three_seconds_works(mesh: RealMesh, method: str) -> None:
    """At 4 requests/s on three replicas, through two hops; each is run once."""
    url = f"{mesh.status()['entrypoint']}/next/slow?s=3"
    before = begun(mesh)
    assert asyncio.run(at_rate(url, 4, 40, method)) == {200: 40}
    assert (begun(mesh) - before)["/slow?s=3"] == 40


def test_one_slow_route_among_fast_ones_changes_nothing_for_either(mesh: RealMesh) -> None:
    """Fast requests all the time, a slow one now and then: all are answered, once, and no breaker opens."""

    async def both() -> tuple[Counter[int], Counter[int]]:
        entry = mesh.status()["entrypoint"]
        return await asyncio.gather(
            at_rate(f"{entry}/next/slow?s=0", 60, 600), at_rate(f"{entry}/next/slow?s=2", 1, 10)
        )

    before = begun(mesh)
    fast, slow = asyncio.run(both())
    assert (fast, slow) == ({200: 600}, {200: 10})
    after = begun(mesh) - before
    assert (after["/slow?s=0"], after["/slow?s=2"]) == (600, 10)
    states = {each["breaker"] for each in mesh.snapshot("front-1")["upstreams"]["back"]["endpoints"]}
    assert states == {"closed"}


def test_half_a_minute_is_an_answer_and_so_is_a_stream(mesh: RealMesh) -> None:
    """A GET of 30 s is run once; server-sent events of 20 s pass through both sidecars."""

    async def events(url: str) -> bytes:
        async with aiohttp.ClientSession(timeout=PATIENCE) as session, session.get(url) as answer:
            return await answer.read()

    async def both() -> tuple[Counter[int], bytes]:
        entry = mesh.status()["entrypoint"]
        return await asyncio.gather(
            at_rate(f"{entry}/next/slow?s=30", 1, 1), events(f"{entry}/next/events?s=20")
        )

    before = begun(mesh)
    statuses, text = asyncio.run(both())
    assert statuses == {200: 1}
    assert text.count(b"data: ") == 20
    after = begun(mesh) - before
    assert (after["/slow?s=30"], after["/events?s=20"]) == (1, 1)
