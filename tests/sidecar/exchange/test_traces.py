"""What becomes of exchanges in a tracer: spans, their attributes, their parents and links."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from sidecar.observe.lengths import AUTHORITY, SPAN_PATH, WORDS
from sidecar.observe.trace_context import trace_id_of
from sidecar.observe.tracing import Tracer
from tests.fakes.upstream import OK, ScriptedUpstream, replies

from .harness import Rig, until
from .test_routes import FAIL, GET, service

ID = b"7b1d2c6e-55aa-4f0e-9c3b-0123456789ab"
ASKED = GET[:-2] + b"x-request-id: " + ID + b"\r\n\r\n"
PARENT = b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=1\r\n"
STATED = ASKED[:-2] + PARENT + b"\r\n"
RETRIED = service("{name: shop, route: [{destination: {host: svc}}], retries: {attempts: 2, retryOn: 5xx}}")


class Traced:
    """A tracer that keeps what it would send."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        wall, clock = time.time, time.monotonic  # noqa: TID251 - the rig runs on real sockets
        self.tracer = Tracer("http://unused", "test", "test-1", "v1", clock, wall, self._exporter)

    async def spans(self) -> list[ReadableSpan]:
        """All that ended so far, by start."""
        await asyncio.to_thread(self.tracer.close)
        found: Sequence[ReadableSpan] = self._exporter.get_finished_spans()
        return sorted(found, key=lambda span: span.start_time or 0)


@pytest.fixture
def traced() -> Traced:
    return Traced()


async def test_attempts_are_children_and_say_why_where_and_how(traced: Traced) -> None:
    """The first fails, the second answers: reason, endpoint, breaker; only what failed is an error."""
    async with (
        ScriptedUpstream(replies(FAIL)) as bad,
        ScriptedUpstream(replies(OK)) as good,
        Rig({"svc": [bad.address, good.address]}, policies=RETRIED, tracer=traced.tracer) as rig,
    ):
        for _ in range(8):  # until one began with the bad one
            assert (await rig.ask(GET)).status == 200
        await rig.settled()
    spans = await traced.spans()
    retry = next(span for span in spans if span.name == "attempt 2 svc-2")
    assert retry.attributes is not None
    assert retry.parent is not None
    assert "URX: svc-1: answered 500" in str(retry.attributes["mesh.retry_reason"])
    assert retry.attributes["mesh.endpoint"] == "svc-2"
    assert retry.attributes["mesh.breaker"] == "closed"
    assert retry.attributes["mesh.connected_ms"] >= 0  # type: ignore[operator]
    assert retry.status.status_code is StatusCode.UNSET
    mine = [span for span in spans if span.context and span.context.trace_id == retry.parent.trace_id]
    exchange = next(span for span in mine if span.name == "GET svc")
    first = next(span for span in mine if span.name == "attempt 1 svc-1")
    assert retry.parent == exchange.context == first.parent
    assert first.status.status_code is StatusCode.ERROR
    assert first.attributes is not None
    assert "mesh.retry_reason" not in first.attributes
    assert exchange.attributes is not None
    assert exchange.attributes["mesh.route"] == "svc/shop"
    assert (exchange.status.status_code, exchange.kind) == (StatusCode.UNSET, SpanKind.CLIENT)


async def test_a_failed_exchange_is_an_error_that_says_why(traced: Traced) -> None:
    """The status description is the detail."""
    async with Rig({"svc": [("127.0.0.1", 1)]}, tracer=traced.tracer) as rig:
        assert (await rig.ask(GET)).status == 503
        await rig.settled()
    exchange = next(span for span in await traced.spans() if span.name == "GET svc")
    assert exchange.status.status_code is StatusCode.ERROR
    assert exchange.status.description
    assert exchange.attributes is not None
    assert exchange.attributes["response_code_details"] == exchange.status.description


async def test_a_request_id_decides_the_trace(traced: Traced) -> None:
    """The same one twice is one trace id, which anybody can compute."""
    async with (
        ScriptedUpstream(replies(OK)) as up,
        Rig({"svc": [up.address]}, tracer=traced.tracer) as rig,
    ):
        for _ in range(2):
            assert (await rig.ask(ASKED)).status == 200
        await rig.settled()
    found = {span.context.trace_id for span in await traced.spans() if span.context}
    assert found == {int(trace_id_of(ID), 16)} == {int(ID.replace(b"-", b""), 16)}


async def test_the_state_of_a_trace_goes_with_it_and_with_nothing_else() -> None:
    """Of several lines one; without a valid traceparent it is about nothing."""
    parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}) as rig:
        for fields in (
            b"traceparent: %b \r\ntracestate: a=1\r\nTraceState: b=2\r\n" % parent,
            b"traceparent: %b\r\ntracestate: a=1,A=2\r\n" % parent,
            b"traceparent: ff%b\r\ntracestate: a=1\r\n" % parent[2:],
            b"tracestate: a=1\r\n",
        ):
            assert (await rig.ask(GET[:-2] + fields + b"\r\n")).status == 200
    heads = [head.lower() for head in up.heads]
    assert [b"\r\ntracestate: a=1,b=2\r\n" in head for head in heads] == [True, False, False, False]
    assert [b"tracestate" in head for head in heads] == [True, False, False, False]
    assert [parent in head for head in heads] == [True, True, False, False]
    assert all(head.count(b"traceparent: 00-") == 1 for head in heads)


@pytest.mark.parametrize("line", [b"x-request-id:\r\n", b"X-Request-Id: \t\r\n", b""])
async def test_an_empty_request_id_is_none(traced: Traced, line: bytes) -> None:
    """Or all such requests were one trace."""
    async with (
        ScriptedUpstream(replies(OK)) as up,
        Rig({"svc": [up.address]}, tracer=traced.tracer) as rig,
    ):
        for _ in range(3):
            assert (await rig.ask(GET[:-2] + line + b"\r\n")).status == 200
        await rig.settled()
    ids = {head.lower().split(b"x-request-id: ")[1].split(b"\r\n")[0] for head in up.heads}
    assert {len(each) for each in ids} == {36}
    found = {span.context.trace_id for span in await traced.spans() if span.context}
    assert len(ids) == len(found) == 3


async def test_a_mirror_is_a_trace_of_its_own_with_a_link_back(traced: Traced) -> None:
    """And its callee continues that trace, not the request's."""
    mirrored = service("{route: [{destination: {host: svc}}], mirror: {host: copy}}")
    async with (
        ScriptedUpstream(replies(OK)) as up,
        ScriptedUpstream(replies(FAIL)) as copy,
        Rig({"svc": [up.address], "copy": [copy.address]}, policies=mirrored, tracer=traced.tracer) as rig,
    ):
        assert (await rig.ask(STATED)).status == 200
        await until(lambda: rig.outbound.mirrored)
        await rig.settled()
        sent = copy.heads[0].lower()
    spans = await traced.spans()
    mirror = next(span for span in spans if span.name == "mirror copy-1")
    exchange = next(span for span in spans if span.name == "GET svc")
    assert mirror.context is not None
    assert exchange.context is not None
    assert mirror.context.trace_id != exchange.context.trace_id
    assert mirror.parent is None
    (link,) = mirror.links
    assert link.context == exchange.context
    assert mirror.status.status_code is StatusCode.ERROR
    assert b"traceparent: 00-%032x-%016x-01" % (mirror.context.trace_id, mirror.context.span_id) in sent
    assert b"x-request-id: " + ID in sent
    assert b"tracestate" not in sent
    assert b"tracestate: a=1" in up.heads[0].lower()


@pytest.mark.parametrize("quoted", [AUTHORITY, 50_000])
async def test_what_a_client_sends_is_cut(
    traced: Traced, monkeypatch: pytest.MonkeyPatch, quoted: int
) -> None:
    """Two thousand spans may wait for a collector that is away, each of a request of 64 KiB."""
    monkeypatch.setattr("sidecar.outbound.AUTHORITY", quoted)  # the words of a refusal quote the host
    huge = b"GET /%b HTTP/1.1\r\nHost: %b\r\n\r\n" % (b"p" * 15_000, b"h" * 30_000)
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}, tracer=traced.tracer) as rig:
        await rig.ask(huge)
        await rig.ask(huge.replace(b"h" * 30_000, b"svc"))
        await rig.settled()
    spans = await traced.spans()
    assert len(spans) == 3
    for span in spans:
        said = [span.name, str(span.status.description), *map(str, (span.attributes or {}).values())]
        assert max(map(len, said)) <= WORDS
        assert len(str((span.attributes or {}).get("url.path", ""))) <= SPAN_PATH
