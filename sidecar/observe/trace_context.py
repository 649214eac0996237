"""W3C trace context, level 2: read, decide once at the root, pass on.

An unsampled request keeps its `traceparent` and costs nothing more; of its flags, those that the text knows.
"""

from __future__ import annotations

import random
import re
from hashlib import blake2b

from .trace_state import checked

# https://www.w3.org/TR/trace-context-2/ section 3.2; version ff and all-zero ids are invalid. White space
# around the value is no part of it (RFC 9110 section 5.5).
_TRACEPARENT = re.compile(
    rb"[ \t]*(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?[ \t]*"
)
SAMPLED, RANDOM = 1, 2
_HEX = b"0123456789abcdef"
_VARIANTS = b"89ab"
_DRAW_DIGITS = 12
_DRAWS = 16**_DRAW_DIGITS
_FLAGS = (b"00", b"01", b"02", b"03")


class TraceContext:
    """One exchange's place in its trace. Ids are lower-case hex.

    `random_id`: RANDOM if who began the trace says so of its id. `state`: of other systems, b"" for none.
    """

    __slots__ = ("_flags", "parent_id", "sampled", "span_id", "state", "trace_id")

    def __init__(
        self,
        trace_id: bytes,
        parent_id: bytes,
        span_id: bytes,
        sampled: bool,
        random_id: int = 0,
        state: bytes = b"",
    ) -> None:
        self._flags = _FLAGS[random_id | sampled]
        self.state = state
        self.trace_id = trace_id
        self.parent_id = parent_id  # b"" at the root
        self.span_id = span_id  # of this exchange; equals parent_id where no span is made
        self.sampled = sampled

    def traceparent(self, span_id: bytes) -> bytes:
        return b"00-%b-%b-%b" % (self.trace_id, span_id, self._flags)

    def lines(self, span_id: bytes) -> list[bytes]:
        """The field lines of a request whose parent is this span."""
        line = b"traceparent: 00-%b-%b-%b\r\n" % (self.trace_id, span_id, self._flags)
        return [line, b"tracestate: %b\r\n" % self.state] if self.state else [line]

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
    value: bytes | None,
    state: bytes | None,
    request_id: bytes,
    sample_ratio: float,
    recording: bool,
    rng: random.Random,
) -> TraceContext:
    """The context of an exchange: the caller's, or a new root, which has no `state`.

    A root's trace id, and whether it is sampled, follow from the request id: who sends that id again gets
    the same trace id and the same decision.

    Args:
        sample_ratio: share of new roots that are sampled; a caller's decision is never changed.
        recording: whether this process exports spans; if not, no span id of its own is made.
    """
    if value is not None:
        match = _TRACEPARENT.fullmatch(value)
        if match is not None:
            version, trace_id, parent_id, digits, rest = match.groups()
            if not (rest and version == b"00"):
                flags = int(digits, 16)
                sampled = flags & SAMPLED == SAMPLED
                # of a later version no other flag is known to mean the same
                random_id = flags & RANDOM if version == b"00" else 0
                span_id = new_span_id(rng) if sampled and recording else parent_id
                others = b"" if state is None else checked(state)
                return TraceContext(trace_id, parent_id, span_id, sampled, random_id, others)
    trace_id = trace_id_of(request_id)
    sampled = recording and int(trace_id[-_DRAW_DIGITS:], 16) < sample_ratio * _DRAWS
    return TraceContext(trace_id, b"", new_span_id(rng), sampled)
