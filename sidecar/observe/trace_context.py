"""W3C trace context: read, decide once at the root, pass on.

An unsampled request keeps its `traceparent` byte for byte and costs nothing more.
"""

from __future__ import annotations

import random
import re
from hashlib import blake2b

# https://www.w3.org/TR/trace-context/ section 3.2; version ff and all-zero ids are invalid.
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_HEX = b"0123456789abcdef"
_VARIANTS = b"89ab"
_DRAW_DIGITS = 12
_DRAWS = 16**_DRAW_DIGITS
_ZERO_TRACE = b"0" * 32
_ZERO_SPAN = b"0" * 16


class TraceContext:
    """One exchange's place in its trace. Ids are lower-case hex."""

    __slots__ = ("parent_id", "sampled", "span_id", "trace_id")

    def __init__(self, trace_id: bytes, parent_id: bytes, span_id: bytes, sampled: bool) -> None:
        self.trace_id = trace_id
        self.parent_id = parent_id  # b"" at the root
        self.span_id = span_id  # of this exchange; equals parent_id where no span is made
        self.sampled = sampled

    def traceparent(self, span_id: bytes) -> bytes:
        return b"00-%b-%b-%b" % (self.trace_id, span_id, b"01" if self.sampled else b"00")

    def apart(self, rng: random.Random) -> TraceContext:
        """For a copy that nobody waits for: a trace of its own, if this one is recorded."""
        if not self.sampled:
            return self
        return TraceContext(b"%032x" % (rng.getrandbits(128) or 1), b"", new_span_id(rng), True)


def new_span_id(rng: random.Random) -> bytes:
    return b"%016x" % (rng.getrandbits(64) or 1)


def trace_id_of(request_id: bytes) -> bytes:
    """The trace that a request id begins: the same for the same id, in every process."""
    # A UUID of version 4 is random by its own rules, so all of it serves, and its end as a draw.
    if (
        len(request_id) == 36
        and request_id[14] == 0x34
        and request_id[19] in _VARIANTS
        and request_id.translate(None, _HEX) == b"----"
    ):
        return request_id.translate(None, b"-")
    return blake2b(request_id, digest_size=16).hexdigest().encode()


def read(
    value: bytes | None, request_id: bytes, sample_ratio: float, recording: bool, rng: random.Random
) -> TraceContext:
    """The context of an exchange: the caller's, or a new root.

    A root's trace id, and whether it is sampled, follow from the request id: who sends that id again gets
    the same trace id and the same decision.

    Args:
        sample_ratio: share of new roots that are sampled; a caller's decision is never changed.
        recording: whether this process exports spans; if not, no span id of its own is made.
    """
    if value is not None:
        match = _TRACEPARENT.fullmatch(value)
        if match is not None:
            version, trace_id, parent_id, flags, rest = match.groups()
            if (
                version != b"ff"
                and not (version == b"00" and rest)
                and trace_id != _ZERO_TRACE
                and parent_id != _ZERO_SPAN
            ):
                sampled = int(flags, 16) & 1 == 1
                span_id = new_span_id(rng) if sampled and recording else parent_id
                return TraceContext(trace_id, parent_id, span_id, sampled)
    trace_id = trace_id_of(request_id)
    sampled = recording and int(trace_id[-_DRAW_DIGITS:], 16) < sample_ratio * _DRAWS
    return TraceContext(trace_id, b"", new_span_id(rng), sampled)
