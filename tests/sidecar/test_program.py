"""The sidecar as a process: its ready line, its listeners, its admin paths, its end."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

RUNNING: list[asyncio.subprocess.Process] = []


@pytest.fixture(autouse=True)
async def leave_none() -> AsyncIterator[None]:
    """A test that fails half-way leaves no process behind either."""
    yield
    while RUNNING:
        process = RUNNING.pop()
        if process.returncode is None:
            process.kill()
            await process.wait()


class Sidecar:
    """A running `python -m sidecar`."""

    def __init__(self, process: asyncio.subprocess.Process, ready: dict[str, str]) -> None:
        self.process = process
        self.ready = ready

    @classmethod
    async def start(cls, *argv: str) -> Sidecar:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "sidecar",
            *argv,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        RUNNING.append(process)
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        return cls(process, json.loads(line) if line else {})

    def url(self, listener: str, path: str) -> str:
        return f"http://{self.ready[listener]}{path}"

    async def stop(self) -> int:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(self.process.communicate(), 10)
        assert self.process.returncode is not None
        return self.process.returncode


def own_address() -> str:
    """One of this machine's that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: it only chooses a route
        return str(probe.getsockname()[0])


class Receiver:
    """An app and an OTLP collector in one."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.requests: list[web.Request] = []
        self.address = ""

    async def app(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        status = int(request.query.get("status", "200"))
        return web.Response(status=status, text="hello", headers={"x-envoy-overloaded": "forged"})

    async def traces(self, request: web.Request) -> web.Response:
        export = ExportTraceServiceRequest.FromString(await request.read())
        for resource in export.resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return web.Response(body=b"", content_type="application/x-protobuf")

    def attributes(self, span: Any) -> dict[str, Any]:
        return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/v1/traces", receiver.traces)
    application.router.add_route("*", "/{path:.*}", receiver.app)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.address = "{}:{}".format(*runner.addresses[0])
    yield receiver
    await runner.cleanup()


async def test_the_status_listener(receiver: Receiver, tmp_path: Path) -> None:
    """The admin's paths at a second address, and the app's own metrics; another machine needs the token.

    To ask at an address of its own that is not loopback is as good as to be another machine.
    """
    token = tmp_path / "token"
    sidecar = await Sidecar.start(
        *("--name", "orders-1", "--inbound", "127.0.0.1:0", "--app", receiver.address),
        *("--admin", "127.0.0.1:0", "--status", "0.0.0.0:0", "--admin-token-file", str(token)),
    )
    address = f"{own_address()}:{sidecar.ready['status'].rpartition(':')[2]}"
    async with aiohttp.ClientSession() as session:

        async def ask(method: str, path: str, **headers: str) -> int:
            async with session.request(method, f"http://{address}{path}", headers=headers) as answer:
                return answer.status

        for path in ("/ready", "/healthz/ready", "/metrics", "/stats/prometheus"):
            assert await ask("GET", path) == 200
        async with session.get(f"http://{address}/app/metrics") as answer:
            assert (answer.status, await answer.text()) == (200, "hello")
        assert [request.path for request in receiver.requests] == ["/metrics"]
        guarded = (("GET", "/snapshot"), ("GET", "/config_dump"), ("POST", "/quitquitquit"))
        for method, path in guarded:
            assert await ask(method, path) == 403  # there is no token to send yet
        token.write_text("secret\n")
        token.chmod(0o600)
        for method, path in guarded:
            assert await ask(method, path) == 401
            assert await ask(method, path, Authorization="Bearer wrong") == 401
            assert await ask(method, path, Authorization="Bearer secret") == 200
    assert await asyncio.wait_for(sidecar.process.wait(), 10) == 0


async def test_a_status_address_in_use_is_named(busy: int) -> None:
    """And the sidecar does not serve half of what it was told."""
    sidecar = await Sidecar.start(
        *("--name", "me", "--outbound", "127.0.0.1:0", "--status", f"127.0.0.1:{busy}")
    )
    _, said = await sidecar.process.communicate()
    assert sidecar.process.returncode == 2
    assert f"--status 127.0.0.1:{busy}: cannot listen".encode() in said


async def test_both_directions_and_every_admin_path(receiver: Receiver, tmp_path: Path) -> None:
    """A request goes out through one listener and in through the other; all that is told of it agrees."""
    log = tmp_path / "access.log"
    inner = await Sidecar.start(
        *("--name", "orders-1", "--inbound", "127.0.0.1:0", "--app", receiver.address),
        *("--admin", "127.0.0.1:0", "--app-health", "/health", "--otlp", f"http://{receiver.address}"),
    )
    outer = await Sidecar.start(
        *("--name", "gateway-1", "--outbound", "127.0.0.1:0", "--admin", "127.0.0.1:0"),
        *("--upstream", f"orders={inner.ready['inbound']}", "--access-log", str(log)),
        *("--otlp", f"http://{receiver.address}"),
    )
    async with aiohttp.ClientSession() as session:
        async with session.get(outer.url("outbound", "/a?b=c"), headers={"Host": "orders"}) as answer:
            assert (answer.status, await answer.text()) == (200, "hello")
            assert "x-envoy-upstream-service-time" in answer.headers
            assert "x-envoy-overloaded" not in answer.headers
        proxied = session.get("http://orders/p", proxy=f"http://{outer.ready['outbound']}")
        async with proxied as answer:
            assert answer.status == 200
        seen = next(request for request in receiver.requests if request.path == "/a")
        assert seen.headers["Host"] == "orders"
        assert seen.headers["x-envoy-attempt-count"] == "1"
        assert "x-envoy-expected-rq-timeout-ms" not in seen.headers, "nobody named a deadline"
        assert seen.headers["Via"] == "1.1 gateway-1"
        assert "x-envoy-peer-metadata-id" not in seen.headers

        async with session.get(inner.url("admin", "/ready")) as answer:
            assert (answer.status, await answer.text()) == (200, "LIVE\n")
        async with session.get(inner.url("admin", "/metrics")) as answer:
            text = await answer.text()
            assert 'source_workload="gateway"' in text
            assert 'reporter="destination"' in text
        async with session.get(outer.url("admin", "/stats/prometheus")) as answer:
            text = await answer.text()
            assert 'circuit_breaker_state{endpoint="orders-1",service="orders"} 0.0' in text
        async with session.get(outer.url("admin", "/snapshot")) as answer:
            snapshot = await answer.json()
            assert snapshot["outbound"]["requests"] == 2
            assert snapshot["upstreams"]["orders"]["endpoints"][0]["requests"] == 2
            assert snapshot["app"] is None
        async with session.get(outer.url("admin", "/clusters?format=json")) as answer:
            clusters = await answer.json()
            assert clusters["cluster_statuses"][0]["host_statuses"][0]["id"] == "orders-1"
        async with session.get(outer.url("admin", "/clusters")) as answer:
            assert "::breaker::closed" in await answer.text()
        async with session.get(outer.url("admin", "/stats?usedonly&filter=upstream_rq_2")) as answer:
            found = "cluster.orders.upstream_rq_200: 2\ncluster.orders.upstream_rq_2xx: 2\n"
            assert await answer.text() == found
        async with session.get(outer.url("admin", "/stats?format=json&filter=server.live")) as answer:
            assert await answer.json() == {"stats": [{"name": "server.live", "value": 1}]}
        async with session.get(outer.url("admin", "/stats?format=prometheus")) as answer:
            assert "# TYPE istio_requests_total counter" in await answer.text()
        async with session.get(outer.url("admin", "/stats?filter=(")) as answer:
            assert answer.status == 400
        async with session.get(outer.url("admin", "/listeners")) as answer:
            assert f"outbound::{outer.ready['outbound']}\n" in await answer.text()
        async with session.get(outer.url("admin", "/server_info")) as answer:
            assert (await answer.json())["state"] == "LIVE"
        async with session.get(outer.url("admin", "/config_dump")) as answer:
            assert (await answer.json())["bootstrap"]["name"] == "gateway-1"

        async with session.post(inner.url("admin", "/healthcheck/fail")) as answer:
            assert answer.status == 200
        async with session.get(inner.url("admin", "/ready")) as answer:
            assert answer.status == 503
            assert "failed by an operator" in await answer.text()
        async with session.post(
            inner.url("admin", "/quitquitquit"), headers={"Origin": "http://evil.example"}
        ) as answer:
            assert answer.status == 403
        async with session.post(inner.url("admin", "/logging?level=loud")) as answer:
            assert answer.status == 400
            assert "debug" in await answer.text()
        async with session.get(inner.url("admin", "/events")) as answer:
            event = await answer.content.readuntil(b"\n\n")
            assert b"event: health" in event
    assert await outer.stop() == 0
    assert await inner.stop() == 0

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["path"] for line in lines] == ["/a?b=c", "/p"]
    assert lines[0]["upstream_host"] == "orders-1"
    by_trace = [span for span in receiver.spans if span.trace_id.hex() == lines[0]["trace_id"]]
    names = sorted(span.name for span in by_trace)
    assert names == ["GET /a", "GET orders", "attempt 1 orders-1"]
    parents = {span.name: span.parent_span_id for span in by_trace}
    ids = {span.name: span.span_id for span in by_trace}
    assert parents["GET orders"] == b""
    assert parents["attempt 1 orders-1"] == ids["GET orders"]
    assert parents["GET /a"] == ids["attempt 1 orders-1"]
    attempt = next(span for span in by_trace if span.name.startswith("attempt"))
    assert receiver.attributes(attempt)["mesh.endpoint"] == "orders-1"


async def test_the_ingress_believes_no_stranger(receiver: Receiver) -> None:
    """With a default service: every host goes there, and forged mesh headers do not."""
    ingress = await Sidecar.start(
        *("--name", "ingress", "--outbound", "127.0.0.1:0"),
        *("--upstream", f"web={receiver.address}", "--default-service", "web"),
    )
    forged = {
        "x-envoy-expected-rq-timeout-ms": "1",
        "x-envoy-attempt-count": "7",
        "x-mesh-criticality": "critical",
        "x-forwarded-for": "6.6.6.6",
        "x-request-id": "mine",
    }
    url = ingress.url("outbound", "/x")
    async with aiohttp.ClientSession() as session, session.get(url, headers=forged) as answer:
        assert answer.status == 200
        assert answer.headers["x-request-id"] == "mine"
        assert answer.headers["traceresponse"].startswith("00-")
        assert "x-envoy-overloaded" not in answer.headers
    seen = receiver.requests[0].headers
    assert seen["x-envoy-attempt-count"] == "1"
    assert "x-envoy-expected-rq-timeout-ms" not in seen
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert "x-mesh-criticality" not in seen
    assert await ingress.stop() == 0


async def test_behind_a_trusted_proxy_the_client_is_whom_it_names(receiver: Receiver, tmp_path: Path) -> None:
    """In the access log too; what stands left of it in the chain is the client's own story."""
    log = tmp_path / "access.log"
    ingress = await Sidecar.start(
        *("--name", "ingress", "--outbound", "127.0.0.1:0", "--trusted-hops", "1"),
        *("--upstream", f"web={receiver.address}", "--default-service", "web", "--access-log", str(log)),
    )
    told = {"x-forwarded-for": "6.6.6.6, 203.0.113.9", "x-forwarded-proto": "https"}
    url = ingress.url("outbound", "/x")
    async with aiohttp.ClientSession() as session, session.get(url, headers=told) as answer:
        assert answer.status == 200
    seen = receiver.requests[0].headers
    assert (seen["x-forwarded-for"], seen["x-forwarded-proto"]) == ("203.0.113.9, 127.0.0.1", "https")
    assert await ingress.stop() == 0
    assert json.loads(log.read_text())["downstream_remote_address"] == "203.0.113.9"


async def test_a_port_in_use_is_one_line_and_exit_2(receiver: Receiver) -> None:
    """Nothing is half started."""
    sidecar = await Sidecar.start("--name", "a-1", "--outbound", receiver.address)
    _, errors = await sidecar.process.communicate()
    assert sidecar.process.returncode == 2
    assert errors.decode().count("\n") == 1
    assert f"--outbound {receiver.address}: cannot listen: " in errors.decode()


async def test_an_unknown_service_is_named(receiver: Receiver) -> None:
    """The answer says who made it, why, and what there is."""
    sidecar = await Sidecar.start(
        *("--name", "a-1", "--outbound", "127.0.0.1:0", "--upstream", f"orders={receiver.address}")
    )
    url = sidecar.url("outbound", "/")
    async with aiohttp.ClientSession() as session, session.get(url, headers={"Host": "ordrs"}) as answer:
        assert answer.status == 503
        assert answer.headers["server"] == "mesh"
        assert answer.headers["x-mesh-reason"] == "NC: no service is named 'ordrs'; known are orders"
    assert await sidecar.stop() == 0


FAULT = """
apiVersion: mesh/v1
kind: Fault
metadata: {name: teapot}
spec: {host: orders, action: abort, status: 418, ttl: 60s, match: [{uri: {prefix: /tea}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: orders
  annotations:
    mesh/rate-limit: "{total: {rate: 0.01, burst: 2}}"
    mesh/concurrency: "{initial: 50}"
spec: {host: orders}
"""


async def test_inbound_policies_act_and_are_shown(receiver: Receiver, tmp_path: Path) -> None:
    """From a file to the answer, the access log, the events, the metrics and the dump."""
    policy, log = tmp_path / "policy.yaml", tmp_path / "access.log"
    policy.write_text(FAULT)
    sidecar = await Sidecar.start(
        *("--name", "orders-1", "--inbound", "127.0.0.1:0", "--app", receiver.address),
        *("--admin", "127.0.0.1:0", "--policy", str(policy), "--access-log", str(log)),
    )
    async with aiohttp.ClientSession() as session:
        statuses = []
        for path in ("/tea", "/a", "/a"):
            async with session.get(sidecar.url("inbound", path)) as answer:
                statuses.append(answer.status)
        assert statuses == [418, 200, 429]
        async with session.get(sidecar.url("admin", "/config_dump")) as answer:
            shown = (await answer.json())["inbound"]
        async with session.get(sidecar.url("admin", "/snapshot")) as answer:
            live = (await answer.json())["inbound"]
        for state in (shown, live):
            (fault,) = state["faults"]
            assert (fault["name"], fault["injected"], fault["active"]) == ("teapot", 1, 0)
            assert 30 < fault["ends_in_s"] <= 60
            assert fault["what"] == "answer 418 for 100 %, ends after 60 s"
            assert state["rate_limits"][0]["enforced"] == 1
            assert (state["concurrency"]["limit"], state["concurrency"]["in_flight"]) == (50.0, 0)
            assert state["shedding"]["lag_ms"] >= 0.0
        assert live["requests"] == 3
        async with session.get(sidecar.url("admin", "/metrics")) as answer:
            lines = (await answer.text()).splitlines()
        for line in (
            "mesh_fault_aborts_injected_total 1.0",
            "mesh_fault_active_faults 0.0",
            'mesh_http_local_rate_limit_enforced_total{rule="orders"} 1.0',
            "mesh_adaptive_concurrency_concurrency_limit 50.0",
            'mesh_overload_shed_total{lane="sheddable"} 0.0',
        ):
            assert line in lines
        assert any(line.startswith("mesh_event_loop_lag_seconds ") for line in lines)
        async with session.get(sidecar.url("admin", "/events")) as answer:
            async with asyncio.timeout(10):
                event = b""
                while b"event: fault" not in event:
                    event = await answer.content.readuntil(b"\n\n")
            assert b'"reason":"fault teapot: answer 418 for 100 %, ends after 60 s"' in event
    assert await sidecar.stop() == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["response_flags"] for line in lines] == ["FI", "-", "RL"]
    assert lines[0]["response_code_details"] == "fault teapot: aborted"
