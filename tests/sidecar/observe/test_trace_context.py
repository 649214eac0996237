"""W3C trace context: what is kept, what is refused, who decides."""

from __future__ import annotations

import random

import pytest

from sidecar.observe.trace_context import read

TRACE = b"0af7651916cd43dd8448eb211c80319c"
SPAN = b"b7ad6b7169203331"


def test_a_callers_context_is_continued() -> None:
    """Same trace, its span as our parent, its decision ours."""
    context = read(b"00-%b-%b-01" % (TRACE, SPAN), 0.0, True, random.Random(1))
    assert (context.trace_id, context.parent_id, context.sampled) == (TRACE, SPAN, True)
    assert context.span_id not in (SPAN, b"")
    assert context.traceparent(context.span_id) == b"00-%b-%b-01" % (TRACE, context.span_id)


@pytest.mark.parametrize(("flags", "recording"), [(b"00", True), (b"01", False)])
def test_what_is_not_recorded_is_passed_on_as_it_came(flags: bytes, recording: bool) -> None:
    """Unsampled, or nobody to export to: the next hop's parent is the caller's span."""
    value = b"00-%b-%b-%b" % (TRACE, SPAN, flags)
    context = read(value, 1.0, recording, random.Random(1))
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
    ],
)
def test_a_bad_context_starts_a_new_trace(value: bytes | None) -> None:
    """The specification's rule: what does not parse is as if it were not there."""
    context = read(value, 1.0, True, random.Random(1))
    assert context.trace_id != TRACE
    assert len(context.trace_id) == 32
    assert context.parent_id == b""
    assert context.sampled


def test_a_later_version_with_more_fields_is_read() -> None:
    """Section 4.3 of the specification: the first four fields are kept."""
    context = read(b"01-%b-%b-01-extra" % (TRACE, SPAN), 0.0, True, random.Random(1))
    assert context.trace_id == TRACE


def test_the_ratio_decides_new_roots_only() -> None:
    """A quarter of the roots, by the seeded draw; nothing without an exporter."""
    rng = random.Random(7)
    share = sum(read(None, 0.25, True, rng).sampled for _ in range(4000)) / 4000
    assert 0.22 < share < 0.28
    assert not read(None, 1.0, False, rng).sampled
