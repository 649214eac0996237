"""Policies, faults and explanations over HTTP: what is passed on, what is refused and how."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from mesh.control.app import control_app
from mesh.ports import LOOPBACK, Ports
from mesh.traces import TraceStore
from tests.mesh.control.policy_world import (
    PolicyWorld,
    as_written,
    destination_rule,
    policy_world,
    virtual_service,
)
from tests.mesh.control.test_control import FakeOperator

Api = tuple[aiohttp.ClientSession, PolicyWorld]
PAIR = {"documents": [virtual_service(), destination_rule()]}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
async def api(tmp_path: Any) -> AsyncIterator[Api]:
    async with policy_world() as world:
        ports = Ports()
        port = ports.free()
        app = control_app(FakeOperator(tmp_path), TraceStore(), port, None, world.desks)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        ports.hand_over(port)
        await web.TCPSite(runner, LOOPBACK, port, reuse_address=True).start()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            yield session, world
        await runner.cleanup()
        ports.close()


async def call(api: Api, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    async with api[0].request(method, path, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_a_set_is_put_listed_and_removed(api: Api) -> None:
    """Who did it is written down; to remove it again is 404."""
    status, done = await call(api, "PUT", "/api/policies", PAIR, **{"X-Mesh-Client": "page"})
    assert (status, [change["change"] for change in done["changes"]]) == (200, ["created", "created"])
    assert [event["by"] for event in api[1].events] == ["page", "page"]
    status, listed = await call(api, "GET", "/api/policies?kind=vs")
    assert [row["name"] for row in listed["documents"]] == ["orders"]
    status, one = await call(api, "GET", "/api/policies/dr/orders")
    assert as_written(one["documents"][0]) == destination_rule()
    path = "/api/policies?key=VirtualService/orders&key=dr/orders"
    status, done = await call(api, "DELETE", path)
    assert (status, [change["change"] for change in done["changes"]]) == (200, ["deleted", "deleted"])
    assert (await call(api, "DELETE", path))[0] == 404


async def test_one_is_put_and_removed_by_its_name(api: Api) -> None:
    """Which must be the document's own."""
    path = "/api/policies/DestinationRule/orders"
    status, done = await call(api, "PUT", f"{path}?dry_run=true", destination_rule())
    assert (status, done["sidecars"]) == (200, None)
    assert (await call(api, "GET", path))[0] == 404
    assert (await call(api, "PUT", path, destination_rule()))[0] == 200
    status, error = await call(api, "PUT", path, destination_rule("users"))
    assert (status, error["error"]) == (
        400,
        "the document is not DestinationRule/orders: its kind, metadata.name or .namespace say otherwise",
    )
    assert (await call(api, "DELETE", path))[0] == 200


async def test_what_is_wrong_with_documents_is_listed(api: Api) -> None:
    """`error` is one line as everywhere, `problems` are all of them."""
    status, error = await call(api, "PUT", "/api/policies", {"documents": [{"kind": "Gateway"}, 5]})
    assert status == 400
    assert len(error["problems"]) == 2
    assert error["error"] == f"{error['problems'][0]} (and 1 more problem)"
    assert api[1].events == []


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        ("PUT", "/api/policies", {}, 'write {"documents": '),
        ("PUT", "/api/policies", [], 'write {"documents": '),
        ("PUT", "/api/policies", {"documents": []}, 'write {"documents": '),
        ("PUT", "/api/policies", {"documents": [{}] * 201}, "documents: at most 200 at once"),
        ("PUT", "/api/policies?wait=60", PAIR, "wait: write whole seconds from 0 to 10"),
        ("PUT", "/api/policies?dry_run=yes", PAIR, "dry_run: write true or false"),
        ("DELETE", "/api/policies", None, "key: name what is to go"),
        ("DELETE", "/api/policies?key=orders", None, 'key: "orders" is not Kind/name'),
        ("GET", "/api/policies?kind=pods", None, '"pods" is no kind of policy'),
        ("GET", "/api/policies/pods/orders", None, '"pods" is no kind of policy'),
        ("POST", "/api/faults", [], "the body is not a JSON object"),
        ("GET", "/api/explain/4bf92", None, "trace_id: write the 32 hexadecimal digits"),
    ],
)
async def test_a_wrong_request_is_refused(api: Api, method: str, path: str, body: Any, words: str) -> None:
    """400 with words, and nothing is done."""
    status, error = await call(api, method, path, body)
    assert (status, error["error"][: len(words)]) == (400, words)
    assert await api[1].store.read() == []


async def test_faults_are_put_listed_and_cleared(api: Api) -> None:
    """By name, by target or all."""
    status, done = await call(api, "POST", "/api/faults", {"target": "orders-1", "action": "hang"})
    assert (status, done["fault"]["instance"]) == (200, "orders-1")
    status, listed = await call(api, "GET", "/api/faults")
    assert [fault["name"] for fault in listed["faults"]] == ["orders-1"]
    assert (await call(api, "DELETE", "/api/faults/payments"))[0] == 404
    assert (await call(api, "DELETE", "/api/faults/orders"))[1]["cleared"] == ["orders-1"]
    assert (await call(api, "DELETE", "/api/faults"))[1] == {"cleared": [], "sidecars": None}


def exchange(instance: str, at: float, trace: str = TRACE) -> dict[str, Any]:
    return {"trace_id": trace, "instance": instance, "at": at}


async def test_a_trace_is_put_together_from_all_sidecars(api: Api) -> None:
    """In the order of time; who did not answer is named."""
    sidecars = api[1].sidecars
    sidecars["orders-1"].explained = [exchange("orders-1", 2.0), exchange("orders-1", 1.0, "f" * 32)]
    sidecars["payments-1"].explained = [exchange("payments-1", 3.0), exchange("payments-1", 1.0)]
    sidecars["orders-2"].silent = True
    status, found = await call(api, "GET", f"/api/explain/{TRACE.upper()}")
    assert status == 200
    assert found == {
        "trace_id": TRACE,
        "exchanges": [exchange("payments-1", 1.0), exchange("orders-1", 2.0), exchange("payments-1", 3.0)],
        "silent": ["orders-2"],
    }
    status, error = await call(api, "GET", f"/api/explain/{'0' * 32}")
    assert status == 404
    assert "no sidecar remembers the trace" in error["error"]
    assert json.dumps(error).count("\\n") == 0
