"""Topologies in Istio isotope's own format run unchanged, with traffic."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.real_mesh import RealMesh, http, real_mesh, until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", params=["isotope-tree", "isotope-canonical"])
def graph(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    with real_mesh(tmp_path_factory.mktemp("isotope"), request.param, "--rate", "20") as mesh:
        yield mesh


def called(tree: dict[str, Any]) -> set[str]:
    return {tree["service"]}.union(*(called(call["answer"]) for call in tree["calls"]))


def test_it_is_healthy_and_answers_with_all_its_services(graph: RealMesh) -> None:
    """Every service of the graph is called by one request."""
    status = graph.status()
    assert all(one["healthy"] for one in status["instances"])
    answer = http(status["entrypoint"])
    assert answer.status == 200
    assert called(answer.json()) == {one["service"] for one in status["instances"]}


def test_traffic_flows_without_an_error(graph: RealMesh) -> None:
    """For some seconds of an open loop."""
    until(lambda: graph.load()["ok"] >= 60, 20)
    load = graph.load()
    assert (load["failed"], load["dropped"], load["errors"]) == (0, 0, {})
