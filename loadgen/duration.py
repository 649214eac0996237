"""Durations as people write them."""

import re

MAX_DURATION = 366 * 86_400.0
"""Seconds: longer than a year is a typing mistake."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Seconds from `250ms`, `30s`, `2m`, `1h` or a bare number of seconds; ValueError otherwise."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:40]!r} is not a duration; write it like 500ms, 30s, 2m or 1h")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds > MAX_DURATION:
        raise ValueError(f"{text[:40]!r} is longer than a year")
    return seconds
