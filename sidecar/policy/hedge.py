"""Hedging by policy: a second attempt beside a late first one; who answers first wins, the other is
cancelled.

Off unless a policy asks for it, because it is load for latency. The delay is a quantile of the service's own
latency (p95 hedges one request in twenty), it needs an idempotent request and another ready endpoint, and
each hedge takes a token of the retry budget, so that hedges cannot become the overload that they hide.
"""

from dataclasses import dataclass

from .errors import PolicyError, check_range


@dataclass(frozen=True, slots=True)
class HedgePolicy:
    """`min_delay_s` keeps 1 ms services from hedging on noise."""

    enabled: bool = False
    quantile: float = 0.95
    min_delay_s: float = 0.002

    def __post_init__(self) -> None:
        if self.quantile not in (0.5, 0.95, 0.99):
            raise PolicyError("hedge.quantile", f"must be 0.5, 0.95 or 0.99, got {self.quantile!r}")
        check_range("hedge.minDelay", self.min_delay_s, 0.0, 60.0)
