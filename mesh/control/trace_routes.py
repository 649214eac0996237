"""Traces: takes spans as an OTLP receiver does (`POST /v1/traces`), answers as Jaeger's query API does."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from aiohttp import web

from mesh.errors import UsageError
from mesh.jaeger import envelope, operation_documents, trace_document
from mesh.otlp import MAX_SPAN_BYTES, OtlpError, Request
from mesh.traces import MAX_PARTS_PER_SPAN, MAX_PARTS_PER_TRACE, Arrival, Trace, TraceStore, arrivals

PROTOBUF = "application/x-protobuf"

DEFAULT_TRACES = 20  # as Jaeger's
MAX_TRACES = 1500  # as Jaeger's
# Of one answer: twice the largest trace, so that any one of them can be had.
MAX_PARTS = 2 * MAX_PARTS_PER_TRACE

# What an exporter is told, to say to its owner.
REFUSED = (
    f"a span has ids of 16 and 8 bytes, at most {MAX_SPAN_BYTES >> 10} KiB, and at most {MAX_PARTS_PER_SPAN} "
    "attributes, events and links"
)

_DURATION = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,19})?)(us|µs|ms|s|m|h)")
_MICROSECONDS = {"us": 1, "µs": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000}


Came = Callable[[list[Arrival]], None]


def add_receiver(app: web.Application, store: TraceStore, came: Came | None = None) -> None:
    """Add the route that takes spans; `came` is told those of every request that was stored."""

    async def receive(request: web.Request) -> web.Response:
        if request.content_type != PROTOBUF:
            raise web.HTTPUnsupportedMediaType(reason=f"send spans as {PROTOBUF}")
        # Only when spans come: the generated messages take 40 ms to import, and a start is counted.
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it has no stubs
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

        try:
            found, refused = arrivals(Request(await request.read()))
        except (DecodeError, OtlpError) as error:
            words = f": {error}" if isinstance(error, OtlpError) else ""
            raise UsageError(f"the body is not an OTLP ExportTraceServiceRequest{words}") from None
        for each in found:
            store.add(each)
        if came is not None:
            came(found)
        answer = ExportTraceServiceResponse()
        if refused:
            answer.partial_success.rejected_spans = refused
            answer.partial_success.error_message = REFUSED
        return web.Response(body=answer.SerializeToString(), content_type=PROTOBUF)

    app.router.add_post("/v1/traces", receive)


def add(app: web.Application, store: TraceStore, came: Came | None = None) -> None:
    """Add all routes; `came` as for `add_receiver`."""
    add_receiver(app, store, came)

    async def services(_: web.Request) -> web.Response:
        return web.json_response(envelope(sorted(store.services())))

    async def operation_names(request: web.Request) -> web.Response:
        found = {name for name, _ in store.operations(request.match_info["service"])}
        return web.json_response(envelope(sorted(found)))

    async def operations(request: web.Request) -> web.Response:
        found = store.operations(_wanted(request, "service"))
        return web.json_response(envelope(operation_documents(found)))

    async def one_trace(request: web.Request) -> web.Response:
        trace = store.get(request.match_info["id"])
        if trace is None:
            error = {"code": 404, "msg": "trace not found"}
            return web.json_response(envelope(None, [error]), status=404)
        return web.json_response(envelope([trace_document(trace)]))

    async def traces(request: web.Request) -> web.Response:
        found: list[dict[str, Any]] = []
        limit = _number(request, "limit", DEFAULT_TRACES, MAX_TRACES)
        parts = 0
        for trace in _matching(request, store):
            parts += trace.parts + len(trace.spans)
            if len(found) == limit or parts > MAX_PARTS:
                break
            found.append(trace_document(trace))
        return web.json_response(envelope(found))

    app.router.add_get("/api/services", services)
    app.router.add_get("/api/services/{service}/operations", operation_names)
    app.router.add_get("/api/operations", operations)
    app.router.add_get("/api/traces", traces)
    app.router.add_get("/api/traces/{id}", one_trace)


def _matching(request: web.Request, store: TraceStore) -> Iterator[Trace]:
    """By service (as in Jaeger it must be named), operation, start, end, minDuration, maxDuration."""
    service = _wanted(request, "service")
    operation = request.query.get("operation")
    earliest = _number(request, "start", 0, 2**63) * 1000
    latest = _number(request, "end", 2**62, 2**63) * 1000
    shortest, longest = _duration(request, "minDuration", 0), _duration(request, "maxDuration", 2**62)
    for trace in store.newest():
        mine = [span for span in trace.spans if span.service == service]
        if not mine or not earliest <= trace.start_ns <= latest:
            continue
        if operation is not None and all(span.name != operation for span in mine):
            continue
        if shortest <= (trace.end_ns - trace.start_ns) // 1000 <= longest:
            yield trace


def _wanted(request: web.Request, key: str) -> str:
    value = request.query.get(key)
    if not value:
        raise UsageError(f"{key} is missing: write ?{key}=orders")
    return value


def _number(request: web.Request, key: str, default: int, highest: int) -> int:
    text = request.query.get(key)
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise UsageError(f"{key}: {text[:40]!r} is not a number")
    return min(int(text), highest)


def _duration(request: web.Request, key: str, default: int) -> int:
    text = request.query.get(key)
    if not text:
        return default
    match = _DURATION.fullmatch(text)
    if match is None:
        raise UsageError(f"{key}: {text[:40]!r} is not a duration; write for example 500us, 20ms or 1.5s")
    return int(float(match.group(1)) * _MICROSECONDS[match.group(2)])
