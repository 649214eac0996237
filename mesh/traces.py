"""The last spans of the mesh, by trace, in bounded memory.

Pure. A span is kept as the bytes it came in, with the few facts that it is searched by, and made readable
only when somebody asks: at two thousand spans a second almost none is ever looked at.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mesh.otlp import Request

# A kept span of ours costs about 600 bytes, so 30 MB at most; at 50 requests/s through the shop that is the
# last 25 seconds, five times as long as exporters keep a batch back.
MAX_SPANS = 50_000
# For spans of others, which may be a hundred times as large as ours.
MAX_BYTES = 48 * 1024 * 1024
# A loop of calls, or somebody who sends one trace id for ever, does not push everything else out.
MAX_SPANS_PER_TRACE = 2_000
MAX_BYTES_PER_TRACE = 4 * 1024 * 1024
# Attributes, events and links are shown as objects, of which each takes more than its two bytes on the wire.
MAX_PARTS_PER_SPAN = 1_000
MAX_PARTS_PER_TRACE = 50_000
# What Python keeps for a span beside its bytes.
SPAN_OVERHEAD = 300
# A name is for lists and for finding; more than this is no name.
MAX_NAME = 256

TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8
ERROR = 2


@dataclass(frozen=True, slots=True)
class StoredSpan:
    """A span: `span` is a serialized OTLP Span, `resource` the OTLP Resource of its process; times in ns."""

    service: str
    name: str
    kind: int
    start_ns: int
    end_ns: int
    resource: bytes
    span: bytes

    @property
    def size(self) -> int:
        """What it takes of memory; its resource, which others share, in full."""
        return len(self.span) + len(self.resource) + len(self.name) + SPAN_OVERHEAD


class Arrival(NamedTuple):
    """A span that came: `instance` is the `service.instance.id` of its process, `parts` how many attributes,
    events and links it has, with those of its process.
    """

    trace_id: str
    instance: str
    failed: bool
    parts: int
    span: StoredSpan


@dataclass(slots=True)
class Trace:
    """All spans that came of one trace, with what they take in bytes and in parts."""

    trace_id: str
    spans: list[StoredSpan] = field(default_factory=list)
    size: int = 0
    parts: int = 0

    @property
    def start_ns(self) -> int:
        """Of the first span to begin, since the epoch."""
        return min(span.start_ns for span in self.spans)

    @property
    def end_ns(self) -> int:
        """Of the last span to end, since the epoch."""
        return max(span.end_ns for span in self.spans)

    def services(self) -> set[str]:
        """The names of the services that it crossed."""
        return {span.service for span in self.spans}


class TraceStore:
    """Keeps the newest traces; the one whose first span came first goes first."""

    def __init__(
        self,
        max_spans: int = MAX_SPANS,
        max_spans_per_trace: int = MAX_SPANS_PER_TRACE,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._max_spans = max_spans
        self._max_spans_per_trace = max_spans_per_trace
        self._max_bytes = max_bytes
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        self._spans = 0
        self.size = 0  # bytes that the kept spans take
        self.dropped = 0  # spans that came for a trace that was full
        self.evicted = 0  # spans that made room

    def __len__(self) -> int:
        """How many spans are kept."""
        return self._spans

    def add(self, came: Arrival) -> None:
        """Keep a span."""
        trace_id, span, parts = came.trace_id, came.span, came.parts
        trace = self._traces.get(trace_id)
        if trace is None:
            trace = self._traces[trace_id] = Trace(trace_id)
        size = span.size
        if (
            len(trace.spans) >= self._max_spans_per_trace
            or trace.size + size > MAX_BYTES_PER_TRACE
            or trace.parts + parts > MAX_PARTS_PER_TRACE
        ):
            self.dropped += 1
            return
        trace.spans.append(span)
        trace.size += size
        trace.parts += parts
        self._spans += 1
        self.size += size
        while (self._spans > self._max_spans or self.size > self._max_bytes) and len(self._traces) > 1:
            _, oldest = self._traces.popitem(last=False)
            self._spans -= len(oldest.spans)
            self.size -= oldest.size
            self.evicted += len(oldest.spans)

    def get(self, trace_id: str) -> Trace | None:
        """By its 32 hex digits; shorter ones are filled with zeros in front, as Jaeger does."""
        return self._traces.get(trace_id.lower().zfill(32))

    def newest(self) -> Iterator[Trace]:
        """All of them, the one that began to arrive last first."""
        return reversed(self._traces.values())

    def services(self) -> set[str]:
        """Every service that a kept span is of."""
        return {name for trace in self._traces.values() for name in trace.services()}

    def operations(self, service: str) -> set[tuple[str, int]]:
        """(span name, OTLP span kind) of a service's kept spans."""
        return {
            (span.name, span.kind)
            for trace in self._traces.values()
            for span in trace.spans
            if span.service == service
        }


def arrivals(request: Request) -> tuple[list[Arrival], int]:
    """The spans of an OTLP request, and how many of it are refused; raises protobuf's DecodeError."""
    # only when spans come: the generated messages take 40 ms to import, and a start is counted
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    found: list[Arrival] = []
    refused = request.refused
    for batch in request.batches:
        resource = Resource.FromString(batch.resource)
        names = _names(resource)
        for raw in batch.spans:
            span = Span.FromString(raw)
            parts = len(resource.attributes) + len(span.attributes) + len(span.links)
            parts += sum(1 + len(event.attributes) for event in span.events)
            if parts > MAX_PARTS_PER_SPAN or not _valid_ids(span):
                refused += 1
                continue
            stored = StoredSpan(
                names.get("service.name", "unknown_service"),  # OpenTelemetry's word for one without a name
                span.name[:MAX_NAME],
                span.kind,
                span.start_time_unix_nano,
                span.end_time_unix_nano,
                batch.resource,
                raw,
            )
            failed = span.status.code == ERROR
            instance = names.get("service.instance.id", "")
            found.append(Arrival(span.trace_id.hex(), instance, failed, parts, stored))
    return found, refused


def _names(resource: Any) -> dict[str, str]:
    return {
        each.key: each.value.string_value[:MAX_NAME]
        for each in resource.attributes
        if each.key in ("service.name", "service.instance.id")
    }


def _valid_ids(span: Any) -> bool:
    """As OTLP has it: 16 and 8 bytes, not all zero; a root has no parent."""
    return (
        len(span.trace_id) == TRACE_ID_BYTES
        and len(span.span_id) == SPAN_ID_BYTES
        and len(span.parent_span_id) in (0, SPAN_ID_BYTES)
        and any(span.trace_id)
        and any(span.span_id)
    )
