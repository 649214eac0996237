"""What people see of endpoints and of the pool's yardstick: plain dictionaries, ready for JSON."""

import math
from collections.abc import Sequence
from typing import Any, Final

from ..policy.machine import WORDS
from .endpoints import Endpoint
from .health import colour_of
from .p2c import cost_of, is_stalled
from .reference import Reference


def endpoint_view(endpoint: Endpoint, rejections: int) -> dict[str, object]:
    """One endpoint of a snapshot; `rejections` are the attempts that its open breaker kept from it."""
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
        "rejections": rejections,
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
            "endpoint": endpoint.id,
            "address": endpoint.address,
            "version": endpoint.version,
            "health": endpoint.health,
            "weight": endpoint.weight,
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


# Which of several states of the same thing people must hear of.
_WORST: Final = ("open", "half-open", "closed")


def merged_view(parts: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Snapshots of one service's subsets as one: counts add up, of two states the worse one is shown.

    Shapes: (subset, '' = all of the service; a snapshot of `stack.Upstream`) -> a snapshot, with `subsets`.
    """
    busiest = max((part for _, part in parts), key=_requests)
    rows: dict[str, dict[str, Any]] = {}
    for _, part in parts:
        for row in part["endpoints"]:
            rows[row["id"]] = _merged_row(rows[row["id"]], row) if row["id"] in rows else row
    totals = {
        name: sum(part[name] for _, part in parts)
        for name in ("retries", "active", "active_high_water", "pending", "overflows")
    }
    budget = {name: round(sum(part["budget"][name] for _, part in parts), 2) for name in ("tokens", "max")}
    return {
        **busiest,
        **totals,
        "budget": budget,
        "service": min((part["service"] for _, part in parts), key=_badness),
        "endpoints": list(rows.values()),
        "subsets": sorted(subset for subset, _ in parts if subset),
    }


def _merged_row(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    counts = ("opens", "in_flight", "requests", "failures", "rejections")
    worse = other if _badness(other) < _badness(one) else one
    return {**worse, **{name: one[name] + other[name] for name in counts}}


def _badness(row: dict[str, Any]) -> int:
    """Lower is worse."""
    return _WORST.index(row["breaker"])


def _requests(part: dict[str, Any]) -> int:
    return sum(row["requests"] for row in part["endpoints"])
