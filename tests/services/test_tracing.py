"""Sampled requests get spans of the service; others never touch the SDK; collectors may come and go."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, make_mocked_request
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from services.app import ScriptedService, build_app
from services.behaviour import Behaviour
from services.health import Health
from services.metrics import Metrics
from services.peers import Peers
from services.script import parse_topology
from services.tracing import Reported, Tracing
from tests.fakes.clock import FakeClock
from tests.services.fake_outbound import FakeOutbound, Seen

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


class Traced:
    """A service that calls `users`, its spans kept in memory."""

    def __init__(
        self, base: str, outbound: FakeOutbound, tracing: Tracing, exporter: InMemorySpanExporter
    ) -> None:
        self.base = base
        self.outbound = outbound
        self.tracing = tracing
        self.exporter = exporter

    async def ask(self, traceparent: str) -> int:
        async with aiohttp.ClientSession() as session:
            response = await session.get(
                self.base + "/x", headers={"traceparent": traceparent, "tracestate": "a=b"}
            )
            return response.status

    async def spans(self) -> Sequence[ReadableSpan]:
        await asyncio.to_thread(self.tracing.close)
        return self.exporter.get_finished_spans()


@pytest.fixture
async def traced() -> AsyncIterator[Traced]:
    text = "services: [{name: a, isEntrypoint: true, version: v7, script: [call: users]}, {name: users}]"
    instance = parse_topology(text, "f").service("a").instance(1)
    clock = FakeClock()
    exporter = InMemorySpanExporter()
    async with FakeOutbound() as outbound:
        tracing = Tracing(Reported(exporter), "a", "a-1", "v7")
        peers = Peers(outbound.address, clock)
        service = ScriptedService(instance, Behaviour(instance.service, random.Random(1)), peers, clock)
        server = TestServer(build_app(service, Health({}), Metrics(clock), clock, tracing))
        await server.start_server(access_log=None)
        yield Traced(str(server.make_url("")), outbound, tracing, exporter)
        await peers.close()
        await server.close()
        await asyncio.to_thread(tracing.close)


async def test_a_sampled_request_is_a_server_span_and_its_call_a_child(traced: Traced) -> None:
    assert await traced.ask(f"00-{TRACE}-{CALLER}-01") == 200
    call, request = await traced.spans()
    assert call.parent is not None
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == CALLER
    assert call.parent.span_id == request.context.span_id
    assert f"{request.context.trace_id:032x}" == f"{call.context.trace_id:032x}" == TRACE
    assert (request.kind, call.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    assert (request.name, call.name) == ("GET /{path}", "GET users")
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 200
    assert request.resource.attributes["service.name"] == "a"
    assert request.resource.attributes["service.instance.id"] == "a-1"
    assert request.resource.attributes["service.version"] == "v7"
    headers = traced.outbound.seen[0].headers
    assert headers["traceparent"] == f"00-{TRACE}-{call.context.span_id:016x}-01"
    assert headers["tracestate"] == "a=b"


async def test_a_request_that_is_not_sampled_is_passed_on_as_it_came(traced: Traced) -> None:
    await traced.ask(f"00-{TRACE}-{CALLER}-00")
    assert traced.outbound.seen[0].headers["traceparent"] == f"00-{TRACE}-{CALLER}-00"
    assert await traced.spans() == ()


@pytest.mark.parametrize(
    "broken", [f"00-{'0' * 32}-{CALLER}-01", f"00-{'g' * 32}-{CALLER}-01", f"ff-{TRACE}-{CALLER}-01"]
)
async def test_a_broken_traceparent_makes_no_span(traced: Traced, broken: str) -> None:
    assert await traced.ask(broken) == 200
    assert await traced.spans() == ()


async def test_a_failed_call_is_an_error_in_both_spans(traced: Traced) -> None:
    async def refuse(_: Seen) -> web.Response:
        return web.Response(status=404)

    traced.outbound.answer("users", refuse)
    assert await traced.ask(f"00-{TRACE}-{CALLER}-01") == 502
    call, request = await traced.spans()
    assert (call.status.status_code, request.status.status_code) == (StatusCode.ERROR, StatusCode.ERROR)
    assert call.attributes is not None
    assert call.attributes["http.response.status_code"] == 404


async def test_a_call_that_could_not_be_made_is_an_error(traced: Traced) -> None:
    await traced.outbound.close()
    assert await traced.ask(f"00-{TRACE}-{CALLER}-01") == 502
    call, _ = await traced.spans()
    assert call.status.status_code is StatusCode.ERROR
    assert call.attributes is not None
    assert call.attributes["error.type"] == "ClientProxyConnectionError"


async def test_a_caller_that_goes_away_ends_its_spans(traced: Traced) -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def hang(_: Seen) -> web.Response:
        arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        raise AssertionError

    traced.outbound.answer("users", hang)
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(traced.ask(f"00-{TRACE}-{CALLER}-01"))
        await arrived.wait()
        asking.cancel()
    await gone.wait()
    call, request = await traced.spans()
    assert call.attributes is not None
    assert call.attributes["error.type"] == "CancelledError"
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 499


class Collector(SpanExporter):
    """A collector that is there or not, by `working`; `log` says what was asked of it."""

    def __init__(self, working: bool = True) -> None:
        self.working = working
        self.log: list[str] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.log.append("export")
        return SpanExportResult.SUCCESS if self.working else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self.log.append("shutdown")


def test_a_collector_that_is_away_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    collector = Collector()
    reported = Reported(collector)
    for working in (True, False, False, False, True, True):
        collector.working = working
        reported.export(())
    assert [record.message for record in caplog.records] == [
        "spans do not reach the collector",
        "spans reach the collector again",
    ]


@pytest.mark.parametrize(("working", "first"), [(True, "export"), (False, "shutdown")])
def test_the_end_waits_only_for_a_collector_that_answers(working: bool, first: str) -> None:
    """One that is away would be tried again and again while the process should be gone."""
    collector = Collector(working)
    reported = Reported(collector)
    reported.export(())
    collector.log.clear()
    tracing = Tracing(reported, "a", "a-1", "v1")
    span = tracing.server(f"00-{TRACE}-{CALLER}-01", "", make_mocked_request("GET", "/"))
    assert span is not None
    span.end(200)
    tracing.close()
    assert collector.log[0] == first


async def test_what_a_client_sends_is_cut(traced: Traced) -> None:
    """Spans wait for a collector, each with a path and an id of some kilobytes."""
    async with aiohttp.ClientSession() as session:
        headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "x-request-id": "i" * 4000}
        async with session.get(f"{traced.base}/{'p' * 4000}", headers=headers) as answer:
            assert answer.status == 200
    spans = await traced.spans()
    assert len(spans) == 2
    for span in spans:
        said = [span.name, *(str(value) for value in (span.attributes or {}).values())]
        assert max(map(len, said)) <= 256
