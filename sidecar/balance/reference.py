"""What is normal for a service right now: the yardstick for costs, slow calls, stalls and hedges.

Everything is relative to the pool, because nothing absolute fits both 1 ms and 1 s services. A pool's
quantile is the lower median of its endpoints' own quantiles: one slow endpoint of two, or of three, cannot
move the yardstick that it is measured with (a quantile of the mixed samples could: with one slow of three,
p95 *is* the slow one).
"""

import math
from collections.abc import Sequence
from typing import Final

from .endpoints import Endpoint
from .latency import BUCKETS, quantile
from .peak_ewma import SEED_S

REFRESH_S: Final = 0.5
SAMPLED: Final = 16  # endpoints looked at per refresh; a median of 16 is good enough for thousands
BAND: Final = 2.0  # endpoints up to twice the median latency are equals: below it is noise of a peak estimate
DECAY_S: Final = 10.0
BUSY_DECAY_S: Final = 3.0  # when samples come often, forgetting faster costs no certainty
BUSY_RPS: Final = 50.0
SLOW_FACTOR: Final = 3.0
SLOW_FLOOR_S: Final = 0.050
STALL_FACTOR: Final = 3.0
STALL_FLOOR_S: Final = 0.050  # a Python process on a busy laptop pauses for 20 ms without being ill
HEDGE_P95: Final = 5.0
HEDGE_P99: Final = 3.0
HEDGE_FLOOR_S: Final = 0.150
COLD_HEDGE_S: Final = 1.0  # nothing measured yet
PENALTY_FACTOR: Final = 5.0  # x p95: what a failure is worth in seconds
PENALTY_FLOOR_S: Final = 0.025


class Reference:
    """Plain numbers, refreshed at most every REFRESH_S by the stack (all seconds)."""

    __slots__ = (
        "band_s", "decay_s", "due_at", "hedge_s", "inverse_decay", "median_s", "p50_s", "p95_s", "p99_s",
        "penalty_s", "slow_s", "stall_s",
    )  # fmt: skip

    def __init__(self) -> None:
        self.due_at = 0.0
        self.median_s = SEED_S  # of the endpoints' EWMA: the seed of new ones
        self.band_s = BAND * SEED_S
        self.decay_s = DECAY_S
        self.inverse_decay = 1.0 / DECAY_S
        self.p50_s: float | None = None
        self.p95_s: float | None = None
        self.p99_s: float | None = None
        self.slow_s = math.inf
        self.stall_s = COLD_HEDGE_S
        self.hedge_s = COLD_HEDGE_S
        self.penalty_s = PENALTY_FLOOR_S

    def quantile(self, q: float) -> float | None:
        """p50, p95 or p99 (`q` 0.5, 0.95, 0.99); None = not measured yet."""
        return {0.5: self.p50_s, 0.95: self.p95_s, 0.99: self.p99_s}[q]

    def refresh(self, endpoints: Sequence[Endpoint], rps: float, now: float) -> None:
        """Measure again; O(SAMPLED)."""
        self.due_at = now + REFRESH_S
        step = max(1, len(endpoints) // SAMPLED)
        sampled = endpoints[::step][:SAMPLED]
        self.decay_s = BUSY_DECAY_S if rps > BUSY_RPS else DECAY_S
        self.inverse_decay = 1.0 / self.decay_s
        means = sorted(endpoint.ewma for endpoint in sampled if endpoint.measured)
        if means:
            self.median_s = means[(len(means) - 1) // 2]
            self.band_s = BAND * self.median_s
        self._measure_quantiles(sampled, now)
        if self.p95_s is None or self.p99_s is None:
            return
        self.slow_s = max(SLOW_FACTOR * self.p95_s, SLOW_FLOOR_S)
        self.stall_s = max(STALL_FACTOR * self.p95_s, STALL_FLOOR_S)
        self.hedge_s = max(HEDGE_P95 * self.p95_s, HEDGE_P99 * self.p99_s, HEDGE_FLOOR_S)
        self.penalty_s = max(PENALTY_FACTOR * self.p95_s, PENALTY_FLOOR_S)

    def _measure_quantiles(self, sampled: Sequence[Endpoint], now: float) -> None:
        merged = [0] * BUCKETS
        rows: list[tuple[float, float, float]] = []
        for endpoint in sampled:
            counts = endpoint.latency.counts(now)
            p95, p99, p50 = quantile(counts, 0.95), quantile(counts, 0.99), quantile(counts, 0.5)
            if p95 is not None and p99 is not None and p50 is not None:
                rows.append((p50, p95, p99))
            elif not rows:
                merged = [a + b for a, b in zip(merged, counts, strict=True)]
        if rows:
            middle = (len(rows) - 1) // 2
            self.p50_s = sorted(row[0] for row in rows)[middle]
            self.p95_s = sorted(row[1] for row in rows)[middle]
            self.p99_s = sorted(row[2] for row in rows)[middle]
        else:  # too few everywhere: all together, or nothing
            self.p50_s, self.p95_s, self.p99_s = (quantile(merged, q) for q in (0.5, 0.95, 0.99))
