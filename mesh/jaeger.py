"""Kept spans in the JSON of Jaeger's query API, so that Grafana's Jaeger data source reads them.

Pure. Times are microseconds, as there; ids are lower-case hex.
"""

from collections.abc import Iterable
from typing import Any

from mesh.traces import StoredSpan, Trace

# OTLP's span kinds by number, in Jaeger's words.
KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
STATUS_ERROR = 2
# A list or a map is shown as words, many times as long as its bytes; who wants more has the span.
MAX_WORDS = 4096


def envelope(data: Any, errors: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """What stands around every answer."""
    total = len(data) if isinstance(data, list) else 0
    return {"data": data, "total": total, "limit": 0, "offset": 0, "errors": errors}


def trace_document(trace: Trace) -> dict[str, Any]:
    """One trace: its spans in the order of their start, and the processes they are of."""
    # only when somebody looks at a trace: the generated messages take 40 ms to import
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

    processes: dict[str, dict[str, Any]] = {}
    numbers: dict[bytes, str] = {}
    spans = []
    for stored in sorted(trace.spans, key=lambda span: span.start_ns):
        if stored.resource not in numbers:
            number = numbers[stored.resource] = f"p{len(numbers) + 1}"
            attributes = Resource.FromString(stored.resource).attributes
            tags = [_tag(each) for each in attributes if each.key != "service.name"]
            processes[number] = {"serviceName": stored.service, "tags": tags}
        spans.append(_span(trace.trace_id, stored, numbers[stored.resource]))
    return {"traceID": trace.trace_id, "spans": spans, "processes": processes, "warnings": None}


def operation_documents(operations: Iterable[tuple[str, int]]) -> list[dict[str, str]]:
    """For /api/operations."""
    return [{"name": name, "spanKind": KINDS.get(kind, "")} for name, kind in sorted(operations)]


def _span(trace_id: str, stored: StoredSpan, process: str) -> dict[str, Any]:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    span = Span.FromString(stored.span)
    references = []
    if span.parent_span_id:
        references.append(_reference("CHILD_OF", trace_id, span.parent_span_id.hex()))
    references += [_reference("FOLLOWS_FROM", link.trace_id.hex(), link.span_id.hex()) for link in span.links]
    tags = [_tag(attribute) for attribute in span.attributes]
    if span.kind in KINDS:
        tags.append({"key": "span.kind", "type": "string", "value": KINDS[span.kind]})
    if span.status.code == STATUS_ERROR:
        tags.append({"key": "error", "type": "bool", "value": True})
        tags.append({"key": "otel.status_code", "type": "string", "value": "ERROR"})
        if span.status.message:
            tags.append({"key": "otel.status_description", "type": "string", "value": span.status.message})
    return {
        "traceID": trace_id,
        "spanID": span.span_id.hex(),
        "operationName": span.name,
        "references": references,
        "startTime": span.start_time_unix_nano // 1000,
        "duration": max(0, span.end_time_unix_nano - span.start_time_unix_nano) // 1000,
        "tags": tags,
        "logs": [_log(event) for event in span.events],
        "processID": process,
        "warnings": None,
    }


def _reference(kind: str, trace_id: str, span_id: str) -> dict[str, str]:
    return {"refType": kind, "traceID": trace_id, "spanID": span_id}


def _log(event: Any) -> dict[str, Any]:
    fields = [{"key": "event", "type": "string", "value": event.name}]
    fields += [_tag(attribute) for attribute in event.attributes]
    return {"timestamp": event.time_unix_nano // 1000, "fields": fields}


def _tag(attribute: Any) -> dict[str, Any]:
    kind = attribute.value.WhichOneof("value")
    value: Any = getattr(attribute.value, kind) if kind else ""
    match kind:
        case "bool_value":
            return {"key": attribute.key, "type": "bool", "value": value}
        case "int_value":
            return {"key": attribute.key, "type": "int64", "value": value}
        case "double_value":
            return {"key": attribute.key, "type": "float64", "value": value}
        case "bytes_value":
            return {"key": attribute.key, "type": "binary", "value": value.hex()}
        case "array_value":
            words = [str(getattr(one, one.WhichOneof("value") or "string_value")) for one in value.values]
            return {"key": attribute.key, "type": "string", "value": ", ".join(words)[:MAX_WORDS]}
        case "kvlist_value":
            return {"key": attribute.key, "type": "string", "value": str(value)[:MAX_WORDS]}
        case _:
            return {"key": attribute.key, "type": "string", "value": str(value)}
