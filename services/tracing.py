"""Spans of the service itself, sent by OTLP/HTTP; only sampled requests ever come here.

The sidecars record each hop; these spans show what the app did between them. Implements
`services.context.SpanMaker` on OpenTelemetry's SDK, which batches and sends from a thread of its own.
"""

import logging
from collections.abc import Sequence
from urllib.parse import urlsplit

import requests
from aiohttp import web
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)
from opentelemetry.trace import Span as SdkSpan

# A person who looks at a trace of a request just made should find it: a second, not the SDK's five.
SEND_EVERY_MS = 1000
# A collector that does not answer must not hold up the end of the process.
SEND_TIMEOUT_S = 1.0
# The flag of a trace whose id is random: who continues the trace passes it on (W3C Trace Context, level 2).
RANDOM = 0x02

# A path or an id may be 8 KB, and two thousand spans wait for a collector that is away: 256 characters are
# what Envoy keeps of a path.
LIMITS = SpanLimits(max_span_attribute_length=256)
MAX_ERROR = 256

log = logging.getLogger("services.tracing")


class Tracing:
    """Makes spans for one instance and sends them to a collector.

    Args:
        exporter: where finished spans go; `collector(url)` for OTLP.
        service: the resource's service.name; instance its service.instance.id; version likewise.
    """

    def __init__(self, exporter: "Reported", service: str, instance: str, version: str) -> None:
        resource = Resource(
            {"service.name": service, "service.instance.id": instance, "service.version": version}
        )
        # the caller decided to sample; deciding again would tear traces
        self._provider = TracerProvider(
            resource=resource, sampler=ALWAYS_ON, shutdown_on_exit=False, span_limits=LIMITS
        )
        self._exporter = exporter
        self._provider.add_span_processor(
            BatchSpanProcessor(self._exporter, schedule_delay_millis=SEND_EVERY_MS)
        )
        self._tracer = self._provider.get_tracer("services")

    def server(self, traceparent: str, tracestate: str, request: web.BaseRequest) -> "ServiceSpan | None":
        """The span of an incoming request, a child of the caller's; None when the header is broken."""
        parent = _parse(traceparent, tracestate)
        if parent is None:
            return None
        span = self._tracer.start_span(
            f"{request.method} {_route(request)}",
            context=set_span_in_context(NonRecordingSpan(parent)),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": request.method,
                "http.route": _route(request),
                "url.path": request.path,
                "url.scheme": "http",
                "network.peer.address": request.remote or "",
                "request.id": request.headers.get("x-request-id", ""),
            },
        )
        return ServiceSpan(span, self._tracer, errors_from=500, random_id=parent.trace_flags & RANDOM)

    def close(self) -> None:
        """Send what is left; at once over when the collector is known to be away, else in about a second."""
        if not self._exporter.working:
            self._exporter.shutdown()  # ends its retries, which the provider would wait for
        self._provider.shutdown()


class ServiceSpan:
    """One span; `services.context.Span`.

    `errors_from` is the first status that is an error: 4xx is the caller's fault, so it is one for
    the span of a call and none for the span of a request.
    """

    __slots__ = ("_errors_from", "_random_id", "_span", "_tracer", "traceparent")

    def __init__(self, span: SdkSpan, tracer: Tracer, errors_from: int, random_id: int) -> None:
        self._errors_from = errors_from
        self._random_id = random_id
        own = span.get_span_context()
        self._span = span
        self._tracer = tracer
        self.traceparent = f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags | random_id:02x}"

    def child(self, method: str, host: str, path: str) -> "ServiceSpan":
        """The span of a call to another service."""
        span = self._tracer.start_span(
            f"{method} {host}",
            context=set_span_in_context(self._span),
            kind=SpanKind.CLIENT,
            attributes={
                "http.request.method": method,
                "server.address": host,
                "url.path": path,
            },
        )
        return ServiceSpan(span, self._tracer, errors_from=400, random_id=self._random_id)

    def end(self, status: int | None, error: str = "") -> None:
        """It is over: the HTTP status, or None and what went wrong."""
        if status is not None:
            self._span.set_attribute("http.response.status_code", status)
        if error:
            self._span.set_attribute("error.type", error.split(":")[0])
        if error or status is None or status >= self._errors_from:
            self._span.set_status(Status(StatusCode.ERROR, error[:MAX_ERROR] or None))
        self._span.end()


def collector(url: str) -> "Reported":
    """Sends to an OTLP/HTTP collector; `http://host:4318` stands for its `/v1/traces`."""
    endpoint = url if urlsplit(url).path.strip("/") else f"{url.rstrip('/')}/v1/traces"
    session = requests.Session()
    session.trust_env = False  # HTTP_PROXY may name the sidecar: traces are no traffic of the mesh
    return Reported(OTLPSpanExporter(endpoint, timeout=SEND_TIMEOUT_S, session=session))


class Reported(SpanExporter):
    """Says once when spans cannot be sent, and once when they can again, instead of every second.

    `working` is whether the last ones were taken.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.working = True
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        working = result is SpanExportResult.SUCCESS
        if working != self.working:
            self.working = working
            log.warning("spans reach the collector again" if working else "spans do not reach the collector")
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _route(request: web.BaseRequest) -> str:
    """The route's pattern, which is one of few, where the path may be anything."""
    resource = request.match_info.route.resource if isinstance(request, web.Request) else None
    return resource.canonical if resource is not None else "/"


def _parse(traceparent: str, tracestate: str) -> SpanContext | None:
    parts = traceparent.split("-")
    try:
        trace_id, span_id, flags = int(parts[1], 16), int(parts[2], 16), int(parts[3], 16)
    except (IndexError, ValueError):
        return None
    flags &= TraceFlags.SAMPLED | RANDOM if parts[0] == "00" else TraceFlags.SAMPLED
    context = SpanContext(trace_id, span_id, True, TraceFlags(flags), TraceState.from_header([tracestate]))
    return context if context.is_valid and parts[0] != "ff" else None
