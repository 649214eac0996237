"""The last spans of the mesh, by trace, in bounded memory.

Pure. A span is kept as the bytes it came in, with the few facts that it is searched by, and made readable
only when somebody asks: at two thousand spans a second almost none is ever looked at.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

# A kept span costs about 600 bytes, so 30 MB at most; at 50 requests/s through the shop that is the last
# 25 seconds, five times as long as exporters keep a batch back.
MAX_SPANS = 50_000
# A loop of calls, or somebody who sends one trace id for ever, does not push everything else out.
MAX_SPANS_PER_TRACE = 2_000


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


@dataclass(slots=True)
class Trace:
    """All spans that came of one trace."""

    trace_id: str
    spans: list[StoredSpan] = field(default_factory=list)

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

    def __init__(self, max_spans: int = MAX_SPANS, max_spans_per_trace: int = MAX_SPANS_PER_TRACE) -> None:
        self._max_spans = max_spans
        self._max_spans_per_trace = max_spans_per_trace
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        self._spans = 0
        self.dropped = 0  # spans that came for a trace that was full
        self.evicted = 0  # spans that made room

    def __len__(self) -> int:
        """How many spans are kept."""
        return self._spans

    def add(self, trace_id: str, span: StoredSpan) -> None:
        """Keep a span."""
        trace = self._traces.get(trace_id)
        if trace is None:
            trace = self._traces[trace_id] = Trace(trace_id)
        if len(trace.spans) >= self._max_spans_per_trace:
            self.dropped += 1
            return
        trace.spans.append(span)
        self._spans += 1
        while self._spans > self._max_spans and len(self._traces) > 1:
            _, oldest = self._traces.popitem(last=False)
            self._spans -= len(oldest.spans)
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


def store_batch(store: TraceStore, resource_spans: Iterable[Any]) -> int:
    """Keep every span of an OTLP request's `resource_spans` messages; returns how many came."""
    count = 0
    for batch in resource_spans:
        service = service_name(batch.resource)
        resource = batch.resource.SerializeToString(deterministic=True)
        for scope in batch.scope_spans:
            for span in scope.spans:
                stored = StoredSpan(
                    service,
                    span.name,
                    span.kind,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    resource,
                    span.SerializeToString(),
                )
                store.add(span.trace_id.hex(), stored)
                count += 1
    return count


def service_name(resource: Any) -> str:
    """`service.name` of an OTLP resource; OpenTelemetry's word for one that has none."""
    for attribute in resource.attributes:
        if attribute.key == "service.name":
            return str(attribute.value.string_value)
    return "unknown_service"
