"""W3C trace context: what is kept, what is refused, who decides."""

from __future__ import annotations

import random
import re
import uuid

import pytest

from sidecar.observe.trace_context import TraceContext, read, trace_id_of

TRACE = b"0af7651916cd43dd8448eb211c80319c"
SPAN = b"b7ad6b7169203331"
ID = b"7b1d2c6e-55aa-4f0e-9c3b-0123456789ab"


def test_a_callers_context_is_continued() -> None:
    """Same trace, its span as our parent, its decision ours."""
    context = read(b"00-%b-%b-01" % (TRACE, SPAN), None, ID, 0.0, True, random.Random(1))
    assert (context.trace_id, context.parent_id, context.sampled) == (TRACE, SPAN, True)
    assert context.span_id not in (SPAN, b"")
    assert context.traceparent(context.span_id) == b"00-%b-%b-01" % (TRACE, context.span_id)


@pytest.mark.parametrize(("flags", "recording"), [(b"00", True), (b"01", False)])
def test_what_is_not_recorded_is_passed_on_as_it_came(flags: bytes, recording: bool) -> None:
    """Unsampled, or nobody to export to: the next hop's parent is the caller's span."""
    value = b"00-%b-%b-%b" % (TRACE, SPAN, flags)
    context = read(value, None, ID, 1.0, recording, random.Random(1))
    assert context.traceparent(context.span_id) == value


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"garbage",
        b"ff-%b-%b-01" % (TRACE, SPAN),
        b"00-%b-%b-01" % (b"0" * 32, SPAN),
        b"00-%b-%b-01" % (TRACE, b"0" * 16),
        b"00-%b-%b-01-more" % (TRACE, SPAN),
        b"00-%b-%b-01" % (TRACE.upper(), SPAN),
        b"00-%b-%b-1" % (TRACE, SPAN),
        b"00-%b-%b-0x" % (TRACE, SPAN),
        b"00-%b-%b-01-" % (TRACE, SPAN),
        b"01-%b-%b-01extra" % (TRACE, SPAN),
        b"00-%b-%b-01,00-%b-%b-01" % (TRACE, SPAN, TRACE, SPAN),
        b"00 -%b-%b-01" % (TRACE, SPAN),
        b"\x0b00-%b-%b-01" % (TRACE, SPAN),
    ],
)
def test_a_bad_context_starts_a_new_trace(value: bytes | None) -> None:
    """The specification's rule: what does not parse is as if it were not there."""
    context = read(value, b"vendor=x", ID, 1.0, True, random.Random(1))
    assert context.trace_id != TRACE
    assert context.state == b""
    assert len(context.trace_id) == 32
    assert context.parent_id == b""
    assert context.sampled


def test_a_later_version_with_more_fields_is_read() -> None:
    """Section 4.3 of the specification: the first four fields are kept."""
    context = read(b"01-%b-%b-01-extra" % (TRACE, SPAN), None, ID, 0.0, True, random.Random(1))
    assert context.trace_id == TRACE


@pytest.mark.parametrize("value", [b" \t00-%b-%b-01", b"00-%b-%b-01 ", b"\t01-%b-%b-01-x \t"])
def test_white_space_around_the_value_is_no_part_of_it(value: bytes) -> None:
    """RFC 9110 section 5.5; parsers of heads leave it where it is."""
    context = read(value % (TRACE, SPAN), b" a=1 ", ID, 0.0, False, random.Random(1))
    assert context.lines(SPAN) == [b"traceparent: 00-%b-%b-01\r\n" % (TRACE, SPAN), b"tracestate: a=1\r\n"]


@pytest.mark.parametrize(
    ("version", "given", "passed"),
    [
        (b"00", b"02", b"02"),
        (b"00", b"03", b"03"),
        (b"00", b"ff", b"03"),
        (b"00", b"fc", b"00"),
        (b"01", b"ff", b"01"),
        (b"fe", b"02", b"00"),
    ],
)
@pytest.mark.parametrize("recording", [True, False])
def test_flags_that_the_text_knows_are_passed_on(
    version: bytes, given: bytes, passed: bytes, recording: bool
) -> None:
    """Sampled, and that the trace id is random; of a later version the first alone; all others are zero."""
    value = b"%b-%b-%b-%b" % (version, TRACE, SPAN, given)
    context = read(value, None, ID, 1.0, recording, random.Random(1))
    assert context.traceparent(SPAN) == b"00-%b-%b-%b" % (TRACE, SPAN, passed)


def test_the_ratio_decides_new_roots_only() -> None:
    """A quarter of the roots, whatever the ids look like; nothing without an exporter."""
    rng = random.Random(7)
    makers = [
        lambda number: b"request-%d" % number,
        lambda number: str(uuid.UUID(int=rng.getrandbits(128), version=4)).encode(),
        lambda number: str(uuid.UUID(int=number, version=1)).encode(),
    ]
    for make in makers:
        share = sum(read(None, None, make(number), 0.25, True, rng).sampled for number in range(4000)) / 4000
        assert 0.22 < share < 0.28
    assert not read(None, None, ID, 1.0, False, rng).sampled
    assert not read(None, None, ID, 0.0, True, rng).sampled


@pytest.mark.parametrize("request_id", [ID, b"order 17", b"0" * 200])
def test_the_same_request_id_begins_the_same_trace(request_id: bytes) -> None:
    """The same trace id and the same decision, whoever draws; only the span is a new one."""
    one, other = (read(None, None, request_id, 0.5, True, random.Random(seed)) for seed in (1, 2))
    assert (one.trace_id, one.sampled) == (other.trace_id, other.sampled)
    assert one.span_id != other.span_id
    assert re.fullmatch(rb"[0-9a-f]{32}", one.trace_id)


def test_a_random_request_id_is_seen_in_its_trace_id() -> None:
    """Version 4 is taken as it is; what may not be random is mixed."""
    assert trace_id_of(ID) == ID.replace(b"-", b"")
    assert trace_id_of(b"a") != trace_id_of(b"b")
    assert trace_id_of(b"00000000-0000-1000-8000-000000000000") != b"00000000000010008000000000000000"


def test_a_copy_has_a_trace_of_its_own_if_it_is_recorded() -> None:
    """And stays in the caller's where nothing is: no id is made for nobody."""
    rng = random.Random(1)
    recorded = TraceContext(TRACE, b"", SPAN, True)
    copy = recorded.apart(rng)
    assert copy.trace_id != TRACE
    assert (copy.sampled, copy.parent_id) == (True, b"")
    silent = TraceContext(TRACE, SPAN, SPAN, False)
    assert silent.apart(rng) is silent
