"""Spans of sampled exchanges, made after the fact and handed to OpenTelemetry's batch exporter.

The data path chooses the ids (they go out in `traceparent` before anything has happened), so a span
is built when its exchange ends, from numbers that were taken anyway; nothing of the SDK runs before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from ..policy.machine import WORDS
from .lengths import SPAN_PATH
from .lengths import WORDS as MAX_WORDS

if TYPE_CHECKING:
    from ..attempt import Attempt
    from ..exchange import Exchange
    from ..side_try import Mirror
    from ..wire.events import RequestHead

# At most this many finished spans wait for the exporter, at 2.5 KB each, and whatever a client sends no more
# than 5 KB; more are dropped, never awaited.
QUEUE_SPANS = 2048
EXPORT_EVERY_MS = 1000

_SCOPE = InstrumentationScope("sidecar")
_OK = Status(StatusCode.UNSET)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)

Attributes = dict[str, str | int | float | bool]


class Tracer:
    """Exports spans by OTLP over HTTP to `endpoint` (its base URL), from a thread of its own.

    Args:
        clock: the data path's clock. wall_clock: seconds since the epoch at the same moment.
            exporter: where spans go instead of to `endpoint`.
    """

    def __init__(
        self,
        endpoint: str,
        service: str,
        instance: str,
        version: str,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        exporter: SpanExporter | None = None,
    ) -> None:
        session = requests.Session()
        # The collector is named outright; looking for system proxies also crashes forked processes on macOS.
        session.trust_env = False
        self._processor = BatchSpanProcessor(
            exporter
            or OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces", session=session, timeout=2),
            max_queue_size=QUEUE_SPANS,
            schedule_delay_millis=EXPORT_EVERY_MS,
            max_export_batch_size=QUEUE_SPANS // 4,
        )
        self._resource = Resource(
            {
                "service.name": service,
                "service.instance.id": instance,
                "service.version": version,
                "telemetry.sdk.language": "python",
                "mesh.component": "sidecar",
            }
        )
        self._offset = wall_clock() - clock()

    def record(self, exchange: Exchange, kind: str) -> None:
        """Export an exchange's span and, for outbound ones, one for each of its attempts."""
        now = exchange.proxy.clock()
        span = exchange.span
        trace_id = int(span.trace_id, 16)
        context = _context(trace_id, span.span_id)
        head = exchange.head
        path = _path(head)
        method = head.method.decode("latin-1")
        failed = exchange.status >= 500 or exchange.flag is not None
        attributes: Attributes = {
            "http.request.method": method,
            "url.path": path,
            "http.response.status_code": exchange.status,
            "server.address": exchange.target_name,
            "response_flags": exchange.flags,
            "request_id": exchange.request_id.decode("latin-1"),
            "mesh.attempts": len(exchange.attempts),
        }
        detail = exchange.detail[:MAX_WORDS]
        if detail:
            attributes["response_code_details"] = detail
        if exchange.route is not None:
            attributes["mesh.route"] = exchange.route.name
        inbound = kind == "inbound"
        self._export(
            f"{method} {path}" if inbound else f"{method} {exchange.target_name}",
            context,
            _context(trace_id, span.parent_id) if span.parent_id else None,
            SpanKind.SERVER if inbound else SpanKind.CLIENT,
            attributes | {"mesh.direction": kind},
            failed,
            exchange.started,
            now,
            words=detail,
        )
        if inbound:
            return
        for attempt in exchange.attempts:
            self._export(
                f"attempt {attempt.number} {attempt.endpoint.id}",
                _context(trace_id, attempt.span_id),
                context,
                SpanKind.CLIENT,
                _attempt_attributes(attempt),
                attempt.failed,
                attempt.started,
                attempt.ended or now,
            )

    def record_mirror(self, copy: Mirror) -> None:
        """Export the span of a copy: a trace of its own, with a link to the request that it is a copy of."""
        attempt = copy.attempt
        self._export(
            f"mirror {attempt.endpoint.id}",
            _context(int(copy.span.trace_id, 16), attempt.span_id),
            None,
            SpanKind.CLIENT,
            {
                "http.request.method": copy.head.method.decode("latin-1"),
                "url.path": _path(copy.head),
                "request_id": copy.request_id.decode("latin-1"),
                "mesh.mirror": copy.target.name,
                **_attempt_attributes(attempt),
            },
            attempt.failed,
            attempt.started,
            attempt.ended,
            links=(Link(_context(int(copy.of.trace_id, 16), copy.of.span_id), {"mesh.link": "mirror of"}),),
        )

    def _export(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Attributes,
        failed: bool,
        started: float,
        ended: float,
        *,
        links: tuple[Link, ...] = (),
        words: str = "",
    ) -> None:
        self._processor.on_end(
            ReadableSpan(
                name=name,
                context=context,
                parent=parent,
                resource=self._resource,
                attributes=attributes,
                links=links,
                kind=kind,
                status=Status(StatusCode.ERROR, words or None) if failed else _OK,
                start_time=int((started + self._offset) * 1e9),
                end_time=int((ended + self._offset) * 1e9),
                instrumentation_scope=_SCOPE,
            )
        )

    def close(self) -> None:
        """Send what is queued, and end the thread."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]  # the SDK leaves it untyped


def _context(trace_id: int, span_id: bytes) -> SpanContext:
    return SpanContext(trace_id, int(span_id, 16), is_remote=False, trace_flags=_SAMPLED)


def _path(head: RequestHead) -> str:
    return head.target.partition(b"?")[0][:SPAN_PATH].decode("latin-1")


def _attempt_attributes(attempt: Attempt) -> Attributes:
    """Where it went, why it was made, and in what state it found the breaker."""
    attributes: Attributes = {
        "mesh.attempt": attempt.number,
        "mesh.endpoint": attempt.endpoint.id,
        "server.address": attempt.endpoint.host,
        "server.port": attempt.endpoint.port,
        "mesh.outcome": attempt.outcome.name.lower(),
        "mesh.breaker": WORDS[attempt.breaker],
    }
    if attempt.probe:
        attributes["mesh.probe"] = True  # the breaker let it through to see whether the endpoint is well
    if attempt.connected:
        attributes["mesh.connected_ms"] = round((attempt.connected - attempt.started) * 1000, 3)
    if attempt.status:
        attributes["http.response.status_code"] = attempt.status
    if attempt.reason:
        attributes["mesh.retry_reason"] = attempt.reason[:MAX_WORDS]
    return attributes
