"""Time left: one deadline per request, every attempt within it.

deadline = min(what the caller has left, the route's timeout). An attempt that may be followed by another gets
at most half of what is left, so that the other has a chance; the last one gets all.
"""

from typing import Final

MARGIN_S: Final = 0.002  # our own part: parsing, queueing and the way back
HEADER_MAX_MS: Final = 86_400_000


def parse_remaining(value: bytes) -> float | None:
    """Seconds from `x-envoy-expected-rq-timeout-ms`; None if it is not a plain number of ms (then it is
    ignored).
    """
    if not value or len(value) > 9 or not value.isdigit():
        return None
    return min(int(value), HEADER_MAX_MS) / 1000.0


def render_remaining(remaining_s: float) -> bytes:
    """The header for the next hop: what is left, less our own part; never negative."""
    return b"%d" % max(0, int((remaining_s - MARGIN_S) * 1000.0))


def time_allowed(route_s: float, caller_s: float | None) -> float:
    """Seconds for the whole request."""
    return route_s if caller_s is None or route_s < caller_s else caller_s


def per_try(remaining_s: float, limit_s: float, last: bool) -> float:
    """Seconds for one attempt."""
    if last:
        return remaining_s
    half = remaining_s / 2
    return half if half < limit_s else limit_s


def hopeless(remaining_s: float, usual_s: float | None) -> bool:
    """True if no answer can come in time: nothing left, or less than the service's usual time (its p50)."""
    return remaining_s <= 0.0 or (usual_s is not None and remaining_s < usual_s)
