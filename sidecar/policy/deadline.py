"""Time left: one deadline per request, every attempt within it; none where nobody named one."""

from typing import Final

HEADER_MAX_MS: Final = 86_400_000


def parse_remaining(value: bytes) -> float | None:
    """Seconds from `x-envoy-expected-rq-timeout-ms`; None if it is not a plain number of ms (then it is
    ignored).
    """
    if not value or len(value) > 9 or not value.isdigit():
        return None
    return min(int(value), HEADER_MAX_MS) / 1000.0
