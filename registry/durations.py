"""Go's duration strings, which Consul reads and writes: "1m30s" <-> 90.0 seconds."""

from __future__ import annotations

import re

MAX_SECONDS = 2**63 / 1e9
"""Go's durations are whole nanoseconds in 64 bits, 292 years."""

MAX_LENGTH = 100
"""Characters; a number that long is out of range, and to look for its unit from each digit takes quadratic
time.
"""

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_WHOLE = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|ms|s|m|h))+")


def parse_duration(text: str) -> float:
    """Seconds of a Go duration; "0" alone needs no unit. ValueError in Go's words otherwise."""
    text = text.strip()
    if text in ("0", "+0", "-0"):
        return 0.0
    if len(text) > MAX_LENGTH:
        raise ValueError(f'time: invalid duration "{text[:MAX_LENGTH]}…"')
    if not _WHOLE.fullmatch(text):
        if re.fullmatch(r"[+-]?[0-9]+\.?[0-9]*", text):
            raise ValueError(f'time: missing unit in duration "{text}"')
        raise ValueError(f'time: invalid duration "{text}"')
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if seconds >= MAX_SECONDS:
        raise ValueError(f'time: invalid duration "{text}"')
    return -seconds if text[0] == "-" else seconds


def format_duration(seconds: float) -> str:
    """Go's `Duration.String`: 90.0 -> "1m30s", 0.25 -> "250ms", 0 -> "0s"."""
    nanos = round(seconds * 1e9)
    if nanos == 0:
        return "0s"
    sign, nanos = ("-", -nanos) if nanos < 0 else ("", nanos)
    if nanos < 1_000_000_000:
        for unit, size in (("ms", 1_000_000), ("µs", 1_000), ("ns", 1)):
            if nanos >= size:
                return f"{sign}{_trim(nanos / size)}{unit}"
    hours, rest = divmod(nanos, 3_600_000_000_000)
    minutes, rest = divmod(rest, 60_000_000_000)
    text = f"{_trim(rest / 1e9)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    if hours:
        text = f"{hours}h{text}"
    return sign + text


def _trim(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")
