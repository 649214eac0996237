"""Time left: one deadline per request, every attempt within it.

An attempt that may be followed by another gets at most half of what is left, so that the other has a chance;
the last one gets all.
"""

from typing import Final

HEADER_MAX_MS: Final = 86_400_000


def parse_remaining(value: bytes) -> float | None:
    """Seconds from `x-envoy-expected-rq-timeout-ms`; None if it is not a plain number of ms (then it is
    ignored).
    """
    if not value or len(value) > 9 or not value.isdigit():
        return None
    return min(int(value), HEADER_MAX_MS) / 1000.0


def per_try(remaining_s: float, limit_s: float, last: bool) -> float:
    """Seconds for one attempt."""
    if last:
        return remaining_s
    half = remaining_s / 2
    return half if half < limit_s else limit_s
