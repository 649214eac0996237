"""A scripted service does its steps through its sidecar and answers with what came of them."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from services.app import ScriptedService, build_app
from services.behaviour import Behaviour
from services.health import Health, connect_check
from services.metrics import Metrics
from services.peers import Peers
from services.script import parse_topology
from tests.fakes.clock import FakeClock
from tests.services.fake_outbound import FakeOutbound, Seen

PEERS = "".join(f"- name: {name}\n" for name in ("users", "orders", "payments"))


class Running:
    """A service `a` with a script, its sidecar faked, its sleeps an advance of the clock."""

    def __init__(self, base: str, outbound: FakeOutbound, clock: FakeClock, behaviour: Behaviour) -> None:
        self.base = base
        self.outbound = outbound
        self.clock = clock
        self.behaviour = behaviour
        self.session = aiohttp.ClientSession()

    async def ask(
        self, path: str = "/", method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, Any]:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, self.base + path, data=body, headers=names) as response:
            return response.status, json.loads(await response.read() or b"null")

    @property
    def called(self) -> list[str]:
        return [seen.service for seen in self.outbound.seen]


Run = Callable[[str], AbstractAsyncContextManager[Running]]


@pytest.fixture
def run() -> Run:
    @asynccontextmanager
    async def running(keys: str) -> AsyncIterator[Running]:
        text = "services:\n- name: a\n  isEntrypoint: true\n"
        text += "".join(f"  {line}\n" for line in keys.splitlines()) + PEERS
        instance = parse_topology(text, "f").service("a").instance(1)
        clock = FakeClock(0.0)

        async def sleep(seconds: float) -> None:
            clock.advance(seconds)

        async with FakeOutbound() as outbound:
            peers = Peers(outbound.address, clock, max_answer=50_000)
            behaviour = Behaviour(instance.service, random.Random(1))
            service = ScriptedService(instance, behaviour, peers, clock, sleep)
            health = Health({"outbound": connect_check(outbound.address, "the sidecar")})
            app = build_app(service, health, Metrics(clock), clock, None)
            server = TestServer(app)
            await server.start_server(access_log=None)
            each = Running(str(server.make_url("")), outbound, clock, behaviour)
            try:
                yield each
            finally:
                await each.session.close()
                await peers.close()
                await server.close()

    return running


async def test_the_answer_is_the_tree(run: Run) -> None:
    async with run("script: [call: users, sleep: 5ms, call: orders]") as service:
        status, tree = await service.ask("/any/path?x=1")
    assert status == 200
    assert [call.pop("duration_ms") for call in tree["calls"]] == [0, 0]
    assert tree == {
        "service": "a",
        "instance": "a-1",
        "version": "v1",
        "status": 200,
        "duration_ms": 5.0,
        "calls": [
            {"service": name, "status": 200, "answer": {"service": name, "status": 200, "calls": []}}
            for name in ("users", "orders")
        ],
    }


async def test_a_call_is_a_proxy_request_as_the_script_says(run: Run) -> None:
    script = """\
script:
- call: {service: users, size: 1 KB, extra-header: {x-user: ada}}
- call: {service: orders, method: POST, path: "/a%2Fb?new=%7E1"}"""
    async with run(script) as service:
        await service.ask()
        users, orders = service.outbound.seen
    assert (users.method, users.target, users.headers["x-user"]) == ("GET", "http://users/", "ada")
    assert len(users.body) == 1024
    assert (orders.method, orders.target, orders.body) == ("POST", "http://orders/a%2Fb?new=%7E1", b"")


async def test_connections_to_the_sidecar_are_kept(run: Run) -> None:
    async with run("script: [call: users]") as service:
        for _ in range(5):
            await service.ask()
        assert service.outbound.connections == 1


async def test_any_method_does_the_script_and_a_body_is_read(run: Run) -> None:
    async with run("script: [call: users]") as service:
        for method in ("GET", "POST", "PUT", "DELETE"):
            status, _ = await service.ask(method=method, body=b"x" * 500_000)
            assert status == 200
        assert service.called == ["users"] * 4


async def test_it_answers_after_the_whole_request_has_come(run: Run) -> None:
    """An answer amid the caller's sending would cost the connection, or the caller's patience."""
    async with run("") as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(service.base.rpartition(":")[2]))
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readline(), 0.1)
        writer.write(b"cd")
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        writer.close()


async def test_a_caller_that_stops_in_the_middle_is_not_waited_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """408; who is slow, but goes on, is."""
    monkeypatch.setattr("services.app.BODY_IDLE_S", 0.2)
    async with run("") as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(service.base.rpartition(":")[2]))
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n")
        for _ in range(4):
            await asyncio.sleep(0.1)
            writer.write(b"ab")
        async with asyncio.timeout(5):
            assert await reader.readline() == b"HTTP/1.1 408 Request Timeout\r\n"
        writer.close()


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_answer_without_end_is_a_failed_call(run: Run, chunked: bool) -> None:
    """Whether it says its length before or not."""

    async def endless(_: Seen) -> web.Response:
        response = web.Response(body=b" " * 50_001)
        if chunked:
            response.enable_chunked_encoding()
        return response

    async with run("script: [call: users]") as service:
        service.outbound.answer("users", endless)
        status, tree = await service.ask()
    assert status == 502
    assert tree["calls"][0]["error"] == "the answer is larger than 50,000 bytes"


async def test_a_redirect_is_an_answer(run: Run) -> None:
    """Where a mesh sends a caller is the caller's to see, not the client library's to hide."""

    async def elsewhere(_: Seen) -> web.Response:
        return web.Response(status=302, headers={"Location": "http://orders/"})

    async with run("script: [call: users]") as service:
        service.outbound.answer("users", elsewhere)
        status, tree = await service.ask()
        assert service.called == ["users"]
    assert (status, tree["calls"][0]["status"]) == (200, 302)


async def test_concurrent_calls_run_at_once_and_are_shown_in_the_scripts_order(run: Run) -> None:
    """Neither gets its answer before the other has arrived; the one that answers last stays first."""
    both = asyncio.Barrier(2)
    second = asyncio.Event()

    async def users(_: Seen) -> web.Response:
        await both.wait()
        await second.wait()
        return web.json_response({})

    async def orders(_: Seen) -> web.Response:
        await both.wait()
        second.set()
        return web.json_response({})

    async with run("script:\n- - call: users\n  - call: orders") as service:
        service.outbound.answer("users", users)
        service.outbound.answer("orders", orders)
        _, tree = await service.ask()
    assert [call["service"] for call in tree["calls"]] == ["users", "orders"]


async def test_a_failed_call_fails_the_answer_and_ends_the_script(run: Run) -> None:
    async def refuse(_: Seen) -> web.Response:
        return web.Response(status=503, headers={"x-mesh-reason": "UO: the breaker is open"})

    async with run("script: [call: users, call: orders, call: payments]") as service:
        service.outbound.answer("orders", refuse)
        status, tree = await service.ask()
        assert service.called == ["users", "orders"]
    assert (status, tree["status"]) == (502, 502)
    assert [call["status"] for call in tree["calls"]] == [200, 503]
    assert tree["calls"][1]["error"] == "UO: the breaker is open"
    assert tree["calls"][1]["answer"] is None


async def test_a_failed_concurrent_call_lets_the_others_finish(run: Run) -> None:
    async def fail(_: Seen) -> web.Response:
        return web.Response(status=500)

    async with run("script:\n- - call: users\n  - call: orders\n- call: payments") as service:
        service.outbound.answer("users", fail)
        status, tree = await service.ask()
    assert status == 502
    assert [(call["service"], call["status"]) for call in tree["calls"]] == [("users", 500), ("orders", 200)]


async def test_a_call_that_is_not_required_only_shows(run: Run) -> None:
    async def fail(_: Seen) -> web.Response:
        return web.Response(status=500)

    async with run("script:\n- call: {service: users, required: false}\n- call: orders") as service:
        service.outbound.answer("users", fail)
        status, tree = await service.ask()
    assert status == 200
    assert [call["status"] for call in tree["calls"]] == [500, 200]


async def test_a_failing_callees_tree_is_shown(run: Run) -> None:
    async def fail(_: Seen) -> web.Response:
        return web.json_response({"service": "users", "status": 502, "calls": []}, status=502)

    async with run("script: [call: users]") as service:
        service.outbound.answer("users", fail)
        _, tree = await service.ask()
    assert tree["calls"][0]["answer"] == {"service": "users", "status": 502, "calls": []}


async def test_an_answer_that_is_no_tree_is_null(run: Run) -> None:
    async def page(_: Seen) -> web.Response:
        return web.Response(text="<html>", content_type="text/html")

    async with run("script: [call: users]") as service:
        service.outbound.answer("users", page)
        status, tree = await service.ask()
    assert status == 200
    assert tree["calls"][0]["answer"] is None


async def test_a_sidecar_that_is_gone_is_a_failed_call_and_critical_health(run: Run) -> None:
    async with run("script: [call: users]") as service:
        address = service.outbound.address
        assert (await service.ask("/health"))[0] == 200
        await service.outbound.close()
        status, tree = await service.ask()
        assert status == 502
        assert tree["calls"][0]["status"] is None
        assert tree["calls"][0]["error"] == f"cannot connect to {address}: Connection refused"
        status, health = await service.ask("/health")
    assert (status, health["status"]) == (503, "critical")
    assert health["checks"]["outbound"]["ok"] is False


async def test_a_connection_that_breaks_is_a_failed_call(run: Run) -> None:
    async def breaks(_: Seen) -> None:
        return None

    async with run("script: [call: {service: users, method: POST}]") as service:
        service.outbound.answer("users", breaks)
        status, tree = await service.ask()
    assert status == 502
    assert tree["calls"][0]["error"] == "ServerDisconnectedError: Server disconnected"


async def test_a_call_has_a_timeout_of_its_own(run: Run) -> None:
    async def hang(_: Seen) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with run(
        "script: [call: {service: users, timeout: 20ms, required: false}, call: orders]"
    ) as service:
        service.outbound.answer("users", hang)
        async with asyncio.timeout(0.8):
            status, tree = await service.ask()
    assert status == 200
    assert tree["calls"][0]["error"] == "no answer within 0.02 s"
    assert tree["calls"][1]["status"] == 200


async def test_an_error_of_its_own_is_a_500_without_any_call(run: Run) -> None:
    async with run("errorRate: 100%\nscript: [call: users]") as service:
        status, tree = await service.ask()
        assert service.called == []
    assert (status, tree["status"], tree["error"]) == (500, 500, "drawn by errorRate")


async def test_a_response_has_its_size(run: Run) -> None:
    async with run("responseSize: 16 KB") as service:
        response = await service.session.get(service.base)
        assert response.content_length == 16384
        assert response.content_type == "application/json"
        assert (await response.json())["service"] == "a"


# --- headers and deadlines --------------------------------------------------------------------


async def test_what_came_with_the_request_goes_with_its_calls(run: Run) -> None:
    brought = {
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "a=b",
        "x_request_id": "r-1",
        "x_mesh_criticality": "sheddable",
    }
    async with run("script: [call: users]") as service:
        await service.ask(**brought)
        headers = service.outbound.seen[0].headers
    assert {name: headers[name.replace("_", "-")] for name in brought} == brought


async def test_each_call_has_the_time_that_is_left(run: Run) -> None:
    async with run("latency: 300ms\nscript: [call: users, sleep: 200ms, call: orders]") as service:
        await service.ask(x_envoy_expected_rq_timeout_ms="60000")
        left = [seen.headers["x-envoy-expected-rq-timeout-ms"] for seen in service.outbound.seen]
    assert left == ["59700", "59500"]


async def test_when_the_time_is_over_it_answers_504_without_the_work(run: Run) -> None:
    async with run("script: [call: users]") as service:
        status, tree = await service.ask(x_envoy_expected_rq_timeout_ms="0")
        assert service.called == []
    assert (status, tree["status"], tree["error"]) == (504, 504, "the caller's deadline is over")


async def test_a_call_ends_with_the_deadline_and_the_tree_shows_how_far_it_came(run: Run) -> None:
    async def hang(_: Seen) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with run("script: [call: users, call: orders, call: payments]") as service:
        service.outbound.answer("orders", hang)
        status, tree = await service.ask(x_envoy_expected_rq_timeout_ms="50")
        assert service.called == ["users", "orders"]
    assert (status, tree["instance"]) == (504, "a-1")
    assert [(call["service"], call["status"]) for call in tree["calls"]] == [("users", 200), ("orders", None)]
    assert tree["calls"][1]["error"] == "unfinished"


async def test_a_call_that_fails_by_the_same_deadline_is_out_of_time_too(run: Run) -> None:
    """The callee's clock is cut to whole milliseconds, so it gives up just before the caller would."""
    async with run("script: [call: users]") as service:

        async def gives_up(_: Seen) -> web.Response:
            service.clock.advance(9.999)
            return web.Response(status=504)

        service.outbound.answer("users", gives_up)
        status, _ = await service.ask(x_envoy_expected_rq_timeout_ms="10000")
    assert status == 504


async def test_a_504_long_before_the_deadline_is_a_failed_call(run: Run) -> None:
    async def gives_up(_: Seen) -> web.Response:
        return web.Response(status=504)

    async with run("script: [call: users]") as service:
        service.outbound.answer("users", gives_up)
        status, _ = await service.ask(x_envoy_expected_rq_timeout_ms="10000")
    assert status == 502


# --- metrics ----------------------------------------------------------------------------------


async def test_requests_are_counted_by_method_route_and_status(run: Run) -> None:
    async with run("latency: 2ms\nscript: [call: users]") as service:
        await service.ask("/one")
        await service.ask("/two", method="POST")
        await service.ask("/health")
        await service.ask(x_envoy_expected_rq_timeout_ms="0")
        text = await (await service.session.get(service.base + "/metrics")).text()
    assert 'http_requests_total{method="GET",route="/{path}",status_code="200"} 1.0' in text
    assert 'http_requests_total{method="POST",route="/{path}",status_code="200"} 1.0' in text
    assert 'http_requests_total{method="GET",route="/{path}",status_code="504"} 1.0' in text
    assert 'http_request_duration_seconds_bucket{le="0.001",method="POST",route="/{path}"} 0.0' in text
    assert 'http_request_duration_seconds_bucket{le="0.0025",method="POST",route="/{path}"} 1.0' in text
    assert 'http_request_duration_seconds_sum{method="POST",route="/{path}"} 0.002' in text
    assert 'route="/health"' not in text


async def test_a_method_that_nobody_knows_makes_no_label_of_its_own(run: Run) -> None:
    async with run("") as service:
        for method in ("PROPFIND", "LOCK"):
            assert (await service.ask(method=method))[0] == 200
        text = await (await service.session.get(service.base + "/metrics")).text()
    assert 'http_requests_total{method="other",route="/{path}",status_code="200"} 2.0' in text
    assert "PROPFIND" not in text


async def test_the_same_request_id_gets_the_same_and_a_retry_is_drawn_anew(run: Run) -> None:
    """Twenty tries of one id agree; those of other ids, and later attempts, do not all."""
    async with run("errorRate: 50%") as service:
        same = [(await service.ask(x_request_id="r-1"))[0] for _ in range(20)]
        tries = [
            (await service.ask(x_request_id="r-1", x_envoy_attempt_count=str(number)))[0]
            for number in range(1, 21)
        ]
        others = [(await service.ask(x_request_id=f"r-{number}"))[0] for number in range(20)]
    assert len(set(same)) == 1
    assert tries[0] == same[0]
    assert set(tries) == set(others) == {200, 500}
