"""What people see of endpoints and of the pool's yardstick: plain dictionaries, ready for JSON."""

import math
from collections.abc import Sequence

from ..policy.machine import WORDS
from .endpoints import Endpoint
from .health import colour_of
from .p2c import cost_of, is_stalled
from .reference import Reference


def endpoint_view(endpoint: Endpoint) -> dict[str, object]:
    """One endpoint of a snapshot."""
    breaker = endpoint.breaker
    colour, reason = colour_of(endpoint)
    report = endpoint.report
    return {
        "id": endpoint.id,
        "address": endpoint.address,
        "health": endpoint.health,
        "colour": colour,
        "colour_reason": reason,
        "weight": endpoint.weight,
        "zone": endpoint.zone,
        "version": endpoint.version,
        "breaker": WORDS[breaker.state],
        "breaker_reason": breaker.reason,
        "held": breaker.held,
        "forced": breaker.forced is not None,
        "opens": breaker.opens,
        "ramp": breaker.ramp,
        "share": round(endpoint.share, 4),
        "window": {
            "total": breaker.window.total,
            "failed": breaker.window.bad,
            "slow": breaker.window.slow,
        },
        "reported": None if report is None else report._asdict(),
        "in_flight": endpoint.pending,
        "ewma_ms": round(endpoint.ewma * 1000, 3) if endpoint.measured else None,
        "requests": endpoint.requests,
        "failures": endpoint.failures,
    }


def reference_view(reference: Reference) -> dict[str, float | None]:
    """The yardstick in milliseconds; None = not measured yet."""

    def ms(seconds: float | None) -> float | None:
        return None if seconds is None or math.isinf(seconds) else round(seconds * 1000, 3)

    return {
        "p50_ms": ms(reference.p50_s),
        "p95_ms": ms(reference.p95_s),
        "p99_ms": ms(reference.p99_s),
        "slow_ms": ms(reference.slow_s),
        "stall_ms": ms(reference.stall_s),
        "hedge_ms": ms(reference.hedge_s),
    }


def candidates_view(
    endpoints: Sequence[Endpoint], reference: Reference, now: float
) -> list[dict[str, object]]:
    """Every endpoint as a pick would see it now: cost, share, state."""
    return [
        {
            "id": endpoint.id,
            "cost_ms": round(1000 * cost_of(endpoint, reference, now), 3) if endpoint.share > 0.0 else None,
            "share": round(endpoint.share, 4),
            "gate": round(endpoint.gate, 4),
            "pending": endpoint.pending,
            "stalled": is_stalled(endpoint, reference, now),
            "breaker": WORDS[endpoint.breaker.state],
            "held": endpoint.breaker.held,
        }
        for endpoint in endpoints
    ]
