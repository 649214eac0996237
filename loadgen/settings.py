"""The limits and settings of a run, checked when they are made."""

import math
from dataclasses import dataclass

from loadgen.patterns import Pattern

MAX_RATE = 20_000.0
"""Requests/s, at the peak of a pattern: what one process was seen to send to a bare server on 2 cores with a
start lateness p99 of 4 ms. A lower rate that is too high for a machine shows on the generator lamp."""

MAX_TIMEOUT = 120.0
"""Seconds: the histogram's last bucket ends at 134 s."""

MAX_IN_FLIGHT = 20_000
"""Each request in flight holds a socket."""


class SettingError(ValueError):
    """A setting out of range; its text is one line that names the setting and the remedy."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long one request may take (s), how many may be in flight, and what share is traced (0..1)."""

    timeout: float = 10.0
    max_in_flight: int = 1000
    trace_sample: float = 1.0

    def __post_init__(self) -> None:
        if not 0.001 <= self.timeout <= MAX_TIMEOUT:
            raise SettingError(f"timeout must be between 1ms and {MAX_TIMEOUT:g}s")
        if not 1 <= self.max_in_flight <= MAX_IN_FLIGHT:
            raise SettingError(f"max-in-flight must be between 1 and {MAX_IN_FLIGHT}")
        if not 0 <= self.trace_sample <= 1:
            raise SettingError("trace-sample must be between 0 and 1")


def check_rate(value: object, pattern: Pattern) -> float:
    """A rate in requests/s that is a finite number and, at the pattern's peak, within MAX_RATE."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SettingError("rate must be a number of requests per second")
    # compared before it becomes a float: a whole number may be larger than any float
    if value != value or not 0 <= value <= MAX_RATE:
        shown = f"{value:g}" if isinstance(value, float) else str(value)[:20]
        raise SettingError(f"rate must be between 0 and {MAX_RATE:g} requests/s, not {shown}")
    rate = float(value)
    peak = rate * pattern.shape.peak()
    if not math.isfinite(peak) or peak > MAX_RATE:
        raise SettingError(
            f"rate {rate:g} with pattern {pattern.name!r} peaks at {peak:g} requests/s; at most {MAX_RATE:g}"
        )
    return rate
