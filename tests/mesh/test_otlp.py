"""OTLP requests taken apart: as protobuf reads them, and refused before they are unpacked."""

import contextlib
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from mesh.otlp import MAX_FIELDS, MAX_RESOURCE_BYTES, MAX_SPAN_BYTES, MAX_SPANS, OtlpError, Request
from mesh.traces import MAX_NAME, MAX_PARTS_PER_SPAN, arrivals

WORDS = st.text(max_size=20)


def message(field: int, body: bytes) -> bytes:
    """A field that holds bytes, as it is on the wire."""
    size, length = b"", len(body)
    while length > 0x7F:
        size += bytes([length & 0x7F | 0x80])
        length >>= 7
    return bytes([field << 3 | 2]) + size + bytes([length]) + body


def request(*spans: bytes, resource: bytes = b"") -> bytes:
    """One batch."""
    scope = b"".join(message(2, span) for span in spans)
    return message(1, message(1, resource) + message(2, scope))


def span(**fields: object) -> Span:
    return Span(**({"trace_id": b"t" * 16, "span_id": b"s" * 8, "name": "GET /"} | fields))  # type: ignore[arg-type]


@given(st.lists(st.tuples(WORDS, st.lists(st.lists(WORDS, max_size=4), max_size=3)), max_size=3))
def test_it_is_what_protobuf_reads(batches: list[tuple[str, list[list[str]]]]) -> None:
    """Resources and spans, in any number of scopes, byte for byte."""
    whole = ExportTraceServiceRequest()
    for service, scopes in batches:
        batch = whole.resource_spans.add(schema_url="s")
        batch.resource.attributes.add(key="service.name").value.string_value = service
        for names in scopes:
            scope = batch.scope_spans.add()
            scope.scope.name = "x"
            for name in names:
                scope.spans.add(name=name, start_time_unix_nano=5, trace_state="y")
    found = Request(whole.SerializeToString())
    assert found.refused == 0
    assert [Resource.FromString(batch.resource) for batch in found.batches] == [
        batch.resource for batch in whole.resource_spans
    ]
    assert [[Span.FromString(one) for one in batch.spans] for batch in found.batches] == [
        [one for scope in batch.scope_spans for one in scope.spans] for batch in whole.resource_spans
    ]


@given(st.binary(max_size=60))
def test_rubbish_is_an_error_of_its_own(body: bytes) -> None:
    """Or it is a request, maybe one of fields that nobody knows."""
    with contextlib.suppress(OtlpError):
        Request(body)


@pytest.mark.parametrize(
    "body", [b"\xff\xff\xff", b"\x0a", b"\x0a\x05ab", b"\x0b", b"\x09abc", b"\x0a" + b"\x80" * 20]
)
def test_what_is_cut_off_is_refused(body: bytes) -> None:
    """A number without end, a length beyond the end, a type that there is not."""
    with pytest.raises(OtlpError):
        Request(body)


def test_a_resource_in_two_parts_is_one() -> None:
    """As protobuf merges them."""
    parts = [Resource(dropped_attributes_count=3), Resource()]
    parts[1].attributes.add(key="service.name").value.string_value = "orders"
    body = message(1, b"".join(message(1, part.SerializeToString()) for part in parts))
    [batch] = Request(body).batches
    assert Resource.FromString(batch.resource).dropped_attributes_count == 3
    assert Resource.FromString(batch.resource).attributes[0].value.string_value == "orders"


def test_what_is_too_large_is_counted_and_left_out() -> None:
    """The spans beside it stay; with a resource too large, all of its spans go."""
    good, large = span().SerializeToString(), span(name="x" * MAX_SPAN_BYTES).SerializeToString()
    found = Request(request(good, large, good))
    assert ([batch.spans for batch in found.batches], found.refused) == ([[good, good]], 1)
    found = Request(request(good, good, resource=b"x" * (MAX_RESOURCE_BYTES + 1)))
    assert ([batch.spans for batch in found.batches], found.refused) == ([[]], 2)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (request(*[b""] * (MAX_SPANS + 1)), "spans at once"),
        (message(1, message(2, b"") * (MAX_FIELDS + 1)), "fields at once"),
        (b"\x08\x00" * (MAX_FIELDS + 1), "fields at once"),
    ],
)
def test_more_than_anybody_sends_is_refused_before_it_is_unpacked(body: bytes, words: str) -> None:
    """Unpacked, each of these millions of empty messages would take a hundred bytes."""
    tracemalloc.start()
    try:
        with pytest.raises(OtlpError, match=words):
            Request(body)
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "bad",
    [
        span(trace_id=b""),
        span(trace_id=b"t" * 17),
        span(trace_id=b"\0" * 16),
        span(span_id=b"s" * 1000),
        span(span_id=b"\0" * 8),
        span(parent_span_id=b"p" * 9),
        span(attributes=[{}] * (MAX_PARTS_PER_SPAN + 1)),
        span(events=[{"attributes": [{}] * 100}] * 10),
        span(links=[{}] * (MAX_PARTS_PER_SPAN + 1)),
    ],
)
def test_a_span_that_nobody_can_show_is_refused(bad: Span) -> None:
    """Ids of a length of their own, and more attributes than anybody looks at; the one beside it is kept."""
    found, refused = arrivals(Request(request(bad.SerializeToString(), span().SerializeToString())))
    assert (len(found), refused) == (1, 1)


def test_long_names_are_cut() -> None:
    """What lists and charts are made of."""
    resource = Resource()
    for key in ("service.name", "service.instance.id"):
        resource.attributes.add(key=key).value.string_value = "n" * 5000
    body = request(span(name="x" * 5000).SerializeToString(), resource=resource.SerializeToString())
    [came], _ = arrivals(Request(body))
    assert {len(came.span.name), len(came.span.service), len(came.instance)} == {MAX_NAME}
