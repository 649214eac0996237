"""Spans: kept within bounds, found by trace and service, and told in Jaeger's JSON."""

from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mesh.jaeger import envelope, operation_documents, trace_document
from mesh.traces import TraceStore, store_batch

SERVER, CLIENT = 2, 3
TRACE = "0af7651916cd43dd8448eb211c80319c"
SECOND = 1_000_000_000


def batch(
    service: str = "orders",
    trace: str = TRACE,
    span: str = "00000000000000aa",
    parent: str = "",
    *,
    name: str = "GET /",
    start: int = 5 * SECOND,
    took_us: int = 1500,
    failed: str = "",
) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add()
    for key, value in (("service.name", service), ("service.instance.id", f"{service}-1")):
        attribute = spans.resource.attributes.add(key=key)
        attribute.value.string_value = value
    one = spans.scope_spans.add().spans.add(
        trace_id=bytes.fromhex(trace),
        span_id=bytes.fromhex(span),
        parent_span_id=bytes.fromhex(parent),
        name=name,
        kind=SERVER,
        start_time_unix_nano=start,
        end_time_unix_nano=start + took_us * 1000,
    )
    one.attributes.add(key="http.response.status_code").value.int_value = 200
    one.attributes.add(key="retried").value.bool_value = True
    one.attributes.add(key="share").value.double_value = 0.5
    words = one.attributes.add(key="hosts").value.array_value
    words.values.add().string_value = "a"
    words.values.add().string_value = "b"
    one.events.add(name="retry", time_unix_nano=start + 1000)
    if failed:
        one.status.code = 2
        one.status.message = failed
    return request


def store_of(*batches: ExportTraceServiceRequest, **limits: int) -> TraceStore:
    store = TraceStore(**limits)
    for each in batches:
        assert store_batch(store, each.resource_spans) == 1
    return store


def tags(span: dict[str, Any]) -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in span["tags"]}


def test_a_trace_is_told_as_jaeger_tells_it() -> None:
    """Ids, references, microseconds, typed tags, logs and processes."""
    store = store_of(
        batch("orders", span="00000000000000bb", parent="00000000000000aa", start=6 * SECOND, failed="boom"),
        batch("front", span="00000000000000aa"),
    )
    trace = store.get(TRACE)
    assert trace is not None
    document = trace_document(trace)
    assert document["traceID"] == TRACE
    first, second = document["spans"]
    assert [first["spanID"], second["spanID"]] == ["00000000000000aa", "00000000000000bb"]
    assert first["references"] == []
    assert second["references"] == [{"refType": "CHILD_OF", "traceID": TRACE, "spanID": "00000000000000aa"}]
    assert (first["startTime"], first["duration"]) == (5_000_000, 1500)
    assert first["operationName"] == "GET /"
    assert tags(first) == {
        "http.response.status_code": 200,
        "retried": True,
        "share": 0.5,
        "hosts": "a, b",
        "span.kind": "server",
    }
    types = {tag["key"]: tag["type"] for tag in first["tags"]}
    assert types["http.response.status_code"] == "int64"
    assert types["retried"] == "bool"
    assert types["share"] == "float64"
    assert tags(second)["error"] is True
    assert tags(second)["otel.status_description"] == "boom"
    assert first["logs"] == [
        {"timestamp": 5_000_001, "fields": [{"key": "event", "type": "string", "value": "retry"}]}
    ]
    assert document["processes"][first["processID"]] == {
        "serviceName": "front",
        "tags": [{"key": "service.instance.id", "type": "string", "value": "front-1"}],
    }
    assert document["processes"][second["processID"]]["serviceName"] == "orders"


def test_a_short_trace_id_is_filled_up() -> None:
    """Jaeger's page leaves leading zeros out."""
    store = store_of(batch(trace="0" * 28 + "beef"))
    assert store.get("BEEF") is not None
    assert store.get("beee") is None


def test_services_and_operations_are_listed() -> None:
    """For the search form."""
    store = store_of(batch("orders"), batch("front", name="GET /cart", span="00000000000000cc"))
    assert store.services() == {"orders", "front"}
    assert store.operations("front") == {("GET /cart", SERVER)}
    assert operation_documents(store.operations("front")) == [{"name": "GET /cart", "spanKind": "server"}]
    assert envelope(["a"]) == {"data": ["a"], "total": 1, "limit": 0, "offset": 0, "errors": None}


def test_the_oldest_trace_makes_room() -> None:
    """Memory is bounded by spans, whole traces go."""
    ids = [f"{number:032x}" for number in range(1, 6)]
    store = store_of(*(batch(trace=each) for each in ids), max_spans=3)
    assert [trace.trace_id for trace in store.newest()] == list(reversed(ids[2:]))
    assert (len(store), store.evicted) == (3, 2)


def test_one_endless_trace_does_not_push_the_others_out() -> None:
    """It is cut, and the rest is counted."""
    store = store_of(*(batch(span=f"{number:016x}") for number in range(1, 8)), max_spans_per_trace=5)
    assert (len(store), store.dropped) == (5, 2)


def test_a_process_without_a_name_has_opentelemetry_s() -> None:
    """`unknown_service`."""
    request = batch()
    del request.resource_spans[0].resource.attributes[:]
    assert store_of(request).services() == {"unknown_service"}
