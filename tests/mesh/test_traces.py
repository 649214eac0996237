"""Spans: kept within bounds, found by trace and service, and told in Jaeger's JSON."""

from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mesh.jaeger import MAX_WORDS, envelope, operation_documents, trace_document
from mesh.otlp import Request
from mesh.traces import (
    MAX_BYTES_PER_TRACE,
    MAX_PARTS_PER_TRACE,
    Arrival,
    StoredSpan,
    TraceStore,
    arrivals,
)

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
        [came], refused = arrivals(Request(each.SerializeToString()))
        assert refused == 0
        store.add(came)
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


def large(number: int, size: int, trace: str = "") -> Arrival:
    """A span of so many bytes; each of a trace of its own, or all of one."""
    span = StoredSpan("s", "n", SERVER, 0, 1, b"r" * 100, b"x" * size)
    return Arrival(trace or f"{number:032x}", "s-1", False, 1, span)


def test_memory_is_bounded_in_bytes() -> None:
    """Two hundred spans of 64 KB are no more than the bound, and what is counted is what is kept."""
    store = TraceStore(max_bytes=1_000_000)
    for number in range(200):
        store.add(large(number, 64_000))
        assert store.size <= 1_000_000
    kept = [span for trace in store.newest() for span in trace.spans]
    assert store.size == sum(span.size for span in kept)
    assert 10 <= len(kept) == len(store) <= 16


def test_one_trace_is_bounded_in_bytes_and_parts() -> None:
    """It is answered as a whole."""
    store = TraceStore()
    for number in range(200):
        store.add(large(number, 64_000, TRACE))
    assert store.size <= MAX_BYTES_PER_TRACE
    assert store.dropped == 200 - len(store) > 100
    store = TraceStore()
    for number in range(200):
        store.add(large(number, 10, TRACE)._replace(parts=1000))
    assert len(store) * 1000 == MAX_PARTS_PER_TRACE


def test_a_list_is_shown_as_words_of_a_length() -> None:
    """However many there are in it."""
    request = batch()
    words = request.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="many").value.array_value
    for _ in range(3000):
        words.values.add().string_value = "word"
    trace = store_of(request).get(TRACE)
    assert trace is not None
    assert len(tags(trace_document(trace)["spans"][0])["many"]) == MAX_WORDS


def test_a_process_without_a_name_has_opentelemetry_s() -> None:
    """`unknown_service`."""
    request = batch()
    del request.resource_spans[0].resource.attributes[:]
    assert store_of(request).services() == {"unknown_service"}
