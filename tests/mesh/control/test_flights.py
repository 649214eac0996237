"""Sampled real requests: an even sample with its 1:k, and hops that hang together."""

import random
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from mesh.control.flights import DELAY_S, FLIGHTS_PER_S, RATE_S, Sampler, attempts_at, flight, roots, summary
from mesh.otlp import Request
from mesh.traces import Arrival, TraceStore, arrivals

TRACE = bytes(range(16))


def attribute(key: str, value: str | int) -> KeyValue:
    told = AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)
    return KeyValue(key=key, value=told)


def batch(service: str, instance: str, *spans: Span) -> ResourceSpans:
    owner = [attribute("service.name", service), attribute("service.instance.id", instance)]
    return ResourceSpans(resource=Resource(attributes=owner), scope_spans=[ScopeSpans(spans=spans)])


def span(name: str, number: int, parent: int, start_ms: int, end_ms: int, **attributes: Any) -> Span:
    return Span(
        trace_id=TRACE, span_id=bytes([number] * 8), parent_span_id=bytes([parent] * 8) if parent else b"",
        name=name, start_time_unix_nano=10**18 + start_ms * 10**6, end_time_unix_nano=10**18 + end_ms * 10**6,
        attributes=[attribute(key.replace("__", "."), value) for key, value in attributes.items()],
    )  # fmt: skip


def attempt(number: int, span_number: int, parent: int, target: str, start: int, end: int) -> Span:
    fields = {"mesh__attempt": number, "mesh__endpoint": target}
    return span(f"attempt {number} {target}", span_number, parent, start, end, **fields)


def whole(*, inbound: bool = True) -> list[ResourceSpans]:
    failed = attempt(1, 5, 4, "b-1", 5, 6)
    failed.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR))
    inner = [span("GET /", 3, 2, 2, 29, mesh__direction="inbound")] if inbound else []
    status = {"http__response__status_code": 200}
    root = span("GET a", 1, 0, 0, 31, mesh__attempts=1, **status)
    call = span("GET b", 4, 3, 4, 28, mesh__attempts=2)
    return [
        batch("ingress", "ingress", root, attempt(1, 2, 1, "a-1", 1, 30)),
        batch("a", "a-1", *inner, call, failed, attempt(2, 6, 4, "b-2", 8, 27)),
    ]  # fmt: skip


def came(batches: list[ResourceSpans]) -> list[Arrival]:
    request = ExportTraceServiceRequest(resource_spans=batches)
    return arrivals(Request(request.SerializeToString()))[0]


def stored(batches: list[ResourceSpans]) -> TraceStore:
    store = TraceStore()
    for each in came(batches):
        store.add(each)
    return store


def test_a_flight_is_the_hops_that_were_taken() -> None:
    """Each with the hop before it, its times, what came of it and its number."""
    trace = stored(whole()).get(TRACE.hex())
    assert trace is not None
    found = flight(trace)
    assert found is not None
    assert (found["id"], found["ms"], found["status"]) == (TRACE.hex(), 31.0, 200)
    assert found["hops"] == [
        [-1, "ingress", "a-1", 1.0, 29.0, "ok", 1, 0],
        [0, "a-1", "b-1", 5.0, 1.0, "error", 1, 0],
        [0, "a-1", "b-2", 8.0, 19.0, "ok", 2, 0],
    ]
    line = summary(trace)
    assert (line["retries"], line["whole"], line["services"]) == (1, True, ["a", "ingress"])


def test_it_holds_together_when_a_span_between_is_missing() -> None:
    """The hop that brought the request to the caller is the one before."""
    trace = stored(whole(inbound=False)).get(TRACE.hex())
    assert trace is not None
    found = flight(trace)
    assert found is not None
    assert [hop[0] for hop in found["hops"]] == [-1, 0, 0]


def test_a_trace_without_its_root_is_no_flight() -> None:
    """Half a request is not drawn."""
    trace = stored(whole()[1:]).get(TRACE.hex())
    assert trace is not None
    assert flight(trace) is None


def test_roots_are_requests_that_came_in() -> None:
    """Not their attempts, and not what other sidecars say."""
    assert list(roots(came(whole()))) == [(TRACE.hex(), 10**9)]


def test_attempts_are_told_with_who_made_them() -> None:
    """For the stopwatches: which instance, by whom, and whether it failed."""
    found = list(attempts_at(came(whole()), frozenset({"b-1", "b-2"})))
    assert [(name, each.instance, each.failed) for name, each in found] == [
        ("b-1", "a-1", True),
        ("b-2", "a-1", False),
    ]


def test_numbers_that_are_none_are_no_error() -> None:
    """Anybody may send spans: an attempt's number in words, a status without end."""
    odd = span("GET a", 1, 0, 0, 31, mesh__attempt="first", http__response__status_code="all")
    trace = stored([batch("ingress", "ingress", odd)]).get(TRACE.hex())
    assert trace is not None
    assert flight(trace) is None
    assert summary(trace)["status"] == 0


def test_the_sample_is_even_and_says_how_many_each_stands_for() -> None:
    """At ten times what is shown, one in ten; at less, all."""
    sampler = Sampler(random.Random(7))
    rate = FLIGHTS_PER_S * 10
    count = int(rate * 20)
    shown = 0
    for number in range(count):
        now = number / rate
        sampler.offer(now, str(number), now)
        shown += len(list(sampler.due(now)))
    now = count / rate
    shown += len(list(sampler.due(now + DELAY_S + 1)))
    assert sampler.k(now) == 10.0
    assert 0.75 * count / 10 < shown < 1.25 * count / 10 + FLIGHTS_PER_S * RATE_S
    assert sampler.k(now + RATE_S + 1) == 1.0
