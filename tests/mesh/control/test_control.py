"""The control API over a fake operator: what it passes on, what it refuses and how, and spans in and out."""

import asyncio
import gzip
import io
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from mesh.actions import Action
from mesh.control.app import MAX_BODY_BYTES, control_app
from mesh.draft import Draft
from mesh.errors import ActionRefused, MeshError
from mesh.logs import tail
from mesh.plan import Part
from mesh.ports import LOOPBACK, Ports
from mesh.traces import TraceStore
from mesh.words import unknown_name
from tests.mesh.test_traces import SECOND, TRACE, batch

SERVICES = """\
services:
- name: front
  isEntrypoint: true
  script: [{call: catalog}]
- name: catalog
- name: basket
  versions: [v1, v2]
  numReplicas: 2
"""


class FakeOperator:
    """Remembers what was asked."""

    def __init__(self, logs: Path) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.file = logs
        self.topology = Draft(SERVICES, "fake.yaml")

    async def fresh_status(self) -> dict[str, Any]:
        return {"topology": "fake"}

    async def act(self, action: Action, name: str, part: Part | None) -> dict[str, Any]:
        if name == "order-1":
            raise unknown_name("instance", name, ["orders-1"])
        if name == "busy-1":
            raise ActionRefused("busy-1 is down: there is nothing to pause")
        if name == "gone-1":
            raise MeshError("the mesh is stopping")
        if name == "bug-1":
            raise ZeroDivisionError
        self.asked.append((action, name, part))
        return {"name": name}

    async def set_load(self, rate: float | None, pattern: str | Mapping[str, Any] | None) -> dict[str, Any]:
        self.asked.append(("load", rate, pattern))
        return {"rate": rate}

    async def logs(self, name: str, part: Part | None, lines: int) -> dict[str, list[str]]:
        found = {Part.APP.value: tail(self.file, lines), Part.SIDECAR.value: []}
        return found if part is None else {part.value: found[part.value]}

    def log_paths(self, name: str) -> dict[str, str]:
        return {"app": str(self.file), "sidecar": "/nowhere"}

    def draft(self) -> Draft:
        return self.topology

    async def reshape(self, change: Callable[[Draft], Draft]) -> bool:
        before, self.topology = self.topology, change(self.topology)
        return self.topology is not before

    def stop(self) -> None:
        self.asked.append(("stop",))


@pytest.fixture
def operator(tmp_path: Path) -> FakeOperator:
    log = tmp_path / "a.log"
    log.write_text("one\ntwo\nthree\n")
    return FakeOperator(log)


@pytest.fixture
async def api(operator: FakeOperator) -> AsyncIterator[aiohttp.ClientSession]:
    ports = Ports()
    port = ports.free()
    runner = web.AppRunner(control_app(operator, TraceStore(), port), shutdown_timeout=0.1)
    await runner.setup()
    ports.hand_over(port)
    await web.TCPSite(runner, LOOPBACK, port, reuse_address=True).start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        yield session
    await runner.cleanup()
    ports.close()


async def said(answer: aiohttp.ClientResponse) -> tuple[int, str]:
    return answer.status, (await answer.json())["error"]


@pytest.mark.parametrize(
    ("query", "part"),
    [("", None), ("?part=both", None), ("?part=app", Part.APP), ("?part=sidecar", Part.SIDECAR)],
)
async def test_an_action_is_passed_on(
    api: aiohttp.ClientSession, operator: FakeOperator, query: str, part: Part | None
) -> None:
    """With the part that was named."""
    async with api.post(f"/api/instances/orders-1/kill{query}") as answer:
        assert (answer.status, await answer.json()) == (200, {"name": "orders-1"})
    assert operator.asked == [(Action.KILL, "orders-1", part)]


async def test_a_body_that_does_not_come_is_not_waited_for(
    api: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is sent to."""
    monkeypatch.setattr("mesh.control.app.BODY_S", 0.1)

    async def half() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    for path in ("/api/load", "/v1/traces", "/nowhere"):
        async with api.put(path, data=half()) as answer:
            assert await said(answer) == (408, "the body did not arrive within 0.1 s")
            assert answer.headers["Connection"] == "close"


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("order-1/kill", 404, 'no instance is named "order-1" (did you mean "orders-1"?)'),
        ("busy-1/pause", 409, "busy-1 is down: there is nothing to pause"),
        ("gone-1/kill", 503, "the mesh is stopping"),
        ("bug-1/kill", 500, "the control API failed; its log says why"),
        ("orders-1/melt", 400, '"melt" is not one of kill, pause, resume, drain, heal, cut'),
        ("orders-1/kill?part=all", 400, 'part: "all" is not one of app, sidecar, both'),
    ],
)
async def test_an_error_has_its_status_and_its_words(
    api: aiohttp.ClientSession, path: str, status: int, words: str
) -> None:
    """Always `{"error": one line}`."""
    async with api.post(f"/api/instances/{path}") as answer:
        assert await said(answer) == (status, words)


async def test_the_load_is_passed_on(api: aiohttp.ClientSession, operator: FakeOperator) -> None:
    """Rate, pattern or both."""
    async with api.put("/api/load", json={"rate": 5}) as answer:
        assert answer.status == 200
    async with api.put("/api/load", json={"pattern": "sine"}) as answer:
        assert answer.status == 200
    assert operator.asked == [("load", 5.0, None), ("load", None, "sine")]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"rat": 1}', b'{"rate": "fast"}', b'{"rate": true}']
)
async def test_a_wrong_load_is_refused(
    api: aiohttp.ClientSession, operator: FakeOperator, body: bytes
) -> None:
    """Before anything is passed on."""
    async with api.put("/api/load", data=body) as answer:
        status, words = await said(answer)
        assert status == 400
        assert words
    assert operator.asked == []


async def test_logs_are_the_last_lines(api: aiohttp.ClientSession) -> None:
    """Of the parts that were asked for; a part that wrote nothing has none."""
    async with api.get("/api/instances/orders-1/logs?lines=2") as answer:
        assert await answer.json() == {"app": ["two", "three"], "sidecar": []}
    async with api.get("/api/instances/orders-1/logs?part=app&lines=1") as answer:
        assert await answer.json() == {"app": ["three"]}
    async with api.get("/api/instances/orders-1/logs?lines=many") as answer:
        assert await said(answer) == (400, "lines: write a number from 0 to 10000")


async def test_status_and_shutdown(api: aiohttp.ClientSession, operator: FakeOperator) -> None:
    """One reads, the other ends it and answers before it has."""
    async with api.get("/api/status") as answer:
        assert await answer.json() == {"topology": "fake"}
    async with api.post("/api/shutdown") as answer:
        assert answer.status == 202
    assert operator.asked == [("stop",)]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1:1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1"},
    ],
)
async def test_another_host_or_a_foreign_page_may_do_nothing(
    api: aiohttp.ClientSession, operator: FakeOperator, headers: dict[str, str]
) -> None:
    """DNS rebinding and pages that send requests blindly."""
    async with api.post("/api/shutdown", headers=headers) as answer:
        status, words = await said(answer)
    assert status == 403
    assert words
    assert operator.asked == []


async def test_its_own_page_may(api: aiohttp.ClientSession, operator: FakeOperator) -> None:
    """By any name of this machine."""
    async with api.get("/api/status") as answer:
        port = answer.url.port
    headers = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"}
    async with api.post("/api/shutdown", headers=headers) as answer:
        assert answer.status == 202


async def test_an_unknown_path_is_said_in_the_same_shape(api: aiohttp.ClientSession) -> None:
    """404 and 405 too."""
    async with api.get("/api/nothing") as answer:
        assert await said(answer) == (404, "GET /api/nothing: Not Found")
    async with api.delete("/api/load") as answer:
        assert await said(answer) == (405, "DELETE /api/load: Method Not Allowed")


PROTOBUF = {"Content-Type": "application/x-protobuf"}


async def send(api: aiohttp.ClientSession, body: bytes, **headers: str) -> int:
    async with api.post("/v1/traces", data=io.BytesIO(body), headers=PROTOBUF | headers) as answer:
        return answer.status


async def test_spans_come_in_by_otlp_and_go_out_as_jaeger_s(api: aiohttp.ClientSession) -> None:
    """Plain and compressed; then by id, and by search."""
    first = batch("front", start=5 * SECOND, took_us=900)
    second = batch("orders", span="00000000000000bb", parent="00000000000000aa", start=5 * SECOND)
    other = batch("orders", trace="f" * 32, start=9 * SECOND, took_us=50_000)
    assert await send(api, first.SerializeToString()) == 200
    assert await send(api, gzip.compress(second.SerializeToString()), **{"Content-Encoding": "gzip"}) == 200
    assert await send(api, other.SerializeToString()) == 200

    async def found(path: str) -> list[str]:
        async with api.get(path) as answer:
            assert answer.status == 200
            return [trace["traceID"] for trace in (await answer.json())["data"]]

    async with api.get(f"/api/traces/{TRACE}") as answer:
        [trace] = (await answer.json())["data"]
    assert len(trace["spans"]) == 2
    assert await found("/api/traces?service=orders") == ["f" * 32, TRACE]
    assert await found("/api/traces?service=front") == [TRACE]
    assert await found("/api/traces?service=orders&limit=1") == ["f" * 32]
    assert await found("/api/traces?service=orders&minDuration=10ms") == ["f" * 32]
    assert await found("/api/traces?service=orders&maxDuration=2000us") == [TRACE]
    assert await found(f"/api/traces?service=orders&end={6 * 1_000_000}") == [TRACE]
    assert await found(f"/api/traces?service=orders&start={6 * 1_000_000}") == ["f" * 32]
    assert await found("/api/traces?service=orders&operation=other") == []
    async with api.get("/api/services") as answer:
        assert (await answer.json())["data"] == ["front", "orders"]
    async with api.get("/api/services/front/operations") as answer:
        assert (await answer.json())["data"] == ["GET /"]
    async with api.get("/api/operations?service=front") as answer:
        assert (await answer.json())["data"] == [{"name": "GET /", "spanKind": "server"}]


async def test_an_unknown_trace_is_said_as_jaeger_says_it(api: aiohttp.ClientSession) -> None:
    """Grafana looks at `errors`."""
    async with api.get("/api/traces/beef") as answer:
        assert answer.status == 404
        assert (await answer.json())["errors"] == [{"code": 404, "msg": "trace not found"}]


@pytest.mark.parametrize(
    "query", ["", "?service=a&limit=x", "?service=a&minDuration=5", "?service=a&start=-1"]
)
async def test_a_wrong_search_is_refused(api: aiohttp.ClientSession, query: str) -> None:
    """With words, not with a traceback."""
    async with api.get(f"/api/traces{query}") as answer:
        assert (await said(answer))[0] == 400


async def test_what_are_no_spans_is_refused(api: aiohttp.ClientSession) -> None:
    """Another encoding, rubbish, too much, and a little that becomes too much."""
    async with api.post("/v1/traces", json={}) as answer:
        assert await said(answer) == (415, "POST /v1/traces: send spans as application/x-protobuf")
    assert await send(api, b"\xff\xff\xff") == 400
    assert await send(api, b"\0" * (MAX_BODY_BYTES + 1)) == 413
    bomb = gzip.compress(b"\0" * (MAX_BODY_BYTES + 1))
    assert len(bomb) < 10_000
    assert await send(api, bomb, **{"Content-Encoding": "gzip"}) == 413
    assert await send(api, b"not gzip", **{"Content-Encoding": "gzip"}) == 400


async def test_spans_that_nobody_can_keep_are_told_to_who_sent_them(api: aiohttp.ClientSession) -> None:
    """By OTLP's own partial success; the others of the same request are kept."""
    body = batch("orders")
    large = body.resource_spans[0].scope_spans[0].spans.add()
    large.CopyFrom(body.resource_spans[0].scope_spans[0].spans[0])
    large.name = "x" * 100_000
    async with api.post("/v1/traces", data=body.SerializeToString(), headers=PROTOBUF) as answer:
        said_ = ExportTraceServiceResponse.FromString(await answer.read()).partial_success
    assert (answer.status, said_.rejected_spans) == (200, 1)
    assert "at most 64 KiB" in said_.error_message
    async with api.get(f"/api/traces/{TRACE}") as answer:
        assert len((await answer.json())["data"][0]["spans"]) == 1


async def test_of_a_refused_request_nothing_is_kept(api: aiohttp.ClientSession) -> None:
    """A good span before one that is none."""
    body = batch("orders").SerializeToString() + b"\x0a\x06\x12\x04\x12\x02\x0a\xff"
    assert await send(api, body) == 400
    async with api.get("/api/services") as answer:
        assert (await answer.json())["data"] == []


@pytest.mark.parametrize("method", ["PUT /api/load", "PUT /api/services/a", "POST /v1/traces"])
async def test_a_client_that_goes_away_is_no_error(
    api: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    """In the middle of its body; nothing is written down of it."""
    async with api.get("/api/services") as answer:
        host, port = answer.url.host or "", answer.url.port or 0
    _, writer = await asyncio.open_connection(host, port)
    writer.write(
        f"{method} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/x-protobuf\r\n"
        "Content-Length: 99\r\n\r\nhalf".encode()
    )
    await writer.drain()
    async with api.get("/api/services"):
        pass  # by now the other request is being read
    writer.transport.abort()
    for _ in range(20):
        async with api.get("/api/services") as answer:
            assert answer.status == 200
    assert [record.message for record in caplog.records if record.levelname != "DEBUG"] == []
