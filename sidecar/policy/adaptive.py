"""Adaptive concurrency at the callee: how many requests the app can have at once, found from its latency.

    gradient = clamp(best x (1 + tolerance) / p50 of the window, 0.5, 2)
    limit    = limit x gradient + sqrt(limit), within [floor, ceiling]

`best` is the lowest p50 of the last windows, from live traffic: nothing is ever pinned to measure it, because
pinning sheds healthy requests. A window without enough samples changes nothing, errors and sheds are no
samples, and the limit only grows while at least half of it is in use (else it drifts to the ceiling on an
idle service and protects nobody when load comes).

Lanes: critical requests may use all of the limit, default ones nine tenths, sheddable ones seven, so the
lowest are turned away first and the highest always find a place that lower ones may not take.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .errors import PolicyError, check_range
from .lanes import Lane

LANE_SHARES: Final = {Lane.CRITICAL: 1.0, Lane.DEFAULT: 0.9, Lane.SHEDDABLE: 0.7}
SAMPLES_MAX: Final = 256  # latencies kept of one window: p50 of more is no better


@dataclass(frozen=True, slots=True)
class AdaptivePolicy:
    """`window_s` with at least `min_samples` moves the limit; `best` looks back over `memory` windows."""

    enabled: bool = True
    initial: int = 100
    floor: int = 5
    ceiling: int = 1000
    tolerance: float = 0.5  # a p50 up to half above the best is normal noise of a shared machine
    window_s: float = 0.5
    min_samples: int = 20
    memory: int = 120  # x 0.5 s: what was best a minute ago may not be possible today

    def __post_init__(self) -> None:
        check_range("adaptive.floor", self.floor, 1, 1_000_000)
        check_range("adaptive.ceiling", self.ceiling, self.floor, 1_000_000)
        check_range("adaptive.initial", self.initial, self.floor, self.ceiling)
        check_range("adaptive.tolerance", self.tolerance, 0.0, 10.0)
        check_range("adaptive.window_s", self.window_s, 0.05, 60.0)
        check_range("adaptive.min_samples", self.min_samples, 1, SAMPLES_MAX)
        if self.memory < 1:
            raise PolicyError("adaptive.memory", "must be at least one window")


class AdaptiveLimit:
    """`enter(lane)` -> False = shed (503, overloaded); else `leave` exactly once."""

    __slots__ = (
        "_best", "_clock", "_ends_at", "_peak", "_samples", "in_flight", "limit", "policy", "shed",
    )  # fmt: skip

    def __init__(self, policy: AdaptivePolicy, clock: Callable[[], float]) -> None:
        self.policy = policy
        self.limit = float(policy.initial)
        self.in_flight = 0
        self.shed = dict.fromkeys(Lane, 0)
        self._peak = 0  # in flight, of this window
        self._samples: list[float] = []
        self._best: deque[float] = deque(maxlen=policy.memory)
        self._ends_at = clock() + policy.window_s
        self._clock = clock

    def set_policy(self, policy: AdaptivePolicy) -> None:
        """Other bounds; what was learnt, and who is inside, stays."""
        if policy.memory != self.policy.memory:
            self._best = deque(self._best, maxlen=policy.memory)
        self.policy = policy
        self.limit = min(float(policy.ceiling), max(float(policy.floor), self.limit))

    def enter(self, lane: Lane) -> bool:
        """Take a place, if the lane may have one more."""
        if self.policy.enabled and self.in_flight >= max(1.0, self.limit * LANE_SHARES[lane]):
            self.shed[lane] += 1
            return False
        self.in_flight += 1
        if self.in_flight > self._peak:
            self._peak = self.in_flight
        return True

    def leave(self, elapsed_s: float, sample: bool) -> None:
        """A request is done; `sample` = the app answered it well, so its time says something."""
        self.in_flight -= 1
        if sample and len(self._samples) < SAMPLES_MAX:
            self._samples.append(elapsed_s)
        now = self._clock()
        if now >= self._ends_at:
            self._close_window(now)

    def _close_window(self, now: float) -> None:
        policy, samples = self.policy, self._samples
        peak, self._peak = self._peak, self.in_flight
        self._ends_at = now + policy.window_s
        if len(samples) < policy.min_samples:
            return  # keeps collecting: an empty window proves nothing
        samples.sort()
        middle = samples[len(samples) // 2]
        self._samples = []
        self._best.append(middle)
        gradient = min(2.0, max(0.5, min(self._best) * (1.0 + policy.tolerance) / max(middle, 1e-6)))
        limit = self.limit * min(1.0, gradient)
        if gradient >= 1.0 and peak < self.limit / 2:
            return  # not in use: no reason to grow
        limit = self.limit * gradient + math.sqrt(self.limit)
        self.limit = min(float(policy.ceiling), max(float(policy.floor), limit))

    def utilisation(self) -> float:
        """0..1 and above: part of the limit in use, for the load report."""
        return self.in_flight / self.limit

    def snapshot(self) -> dict[str, float]:
        """Numbers for the page."""
        return {
            "limit": round(self.limit, 1),
            "in_flight": self.in_flight,
            **{f"shed_{lane.name.lower()}": count for lane, count in self.shed.items()},
        }
