"""Load shedding by the lag of our own event loop, the first sign of a Python proxy that is overloaded.

Each lane has a lag from which it begins to be turned away, and one from which all of it is; between them the
share grows linearly, because an action that switches at one threshold makes load oscillate around it.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .errors import PolicyError
from .lanes import Lane

DECAY: Final = 0.3  # weight of a new reading; one late tick of a busy laptop is not yet overload
STALE_S: Final = 2.0  # a reading older than this says nothing


@dataclass(frozen=True, slots=True)
class SheddingPolicy:
    """(begin, all) in seconds of lag, for each lane."""

    sheddable: tuple[float, float] = (0.050, 0.200)
    default: tuple[float, float] = (0.100, 0.500)
    critical: tuple[float, float] = (0.500, 2.000)
    enabled: bool = True

    def __post_init__(self) -> None:
        for name in ("sheddable", "default", "critical"):
            begin, end = getattr(self, name)
            if not 0.0 < begin < end:
                raise PolicyError(f"shedding.{name}", "must be two growing lags above 0")


class LoadShed:
    """`observe(lag)` from a ticker, `admit(lane)` for every request."""

    __slots__ = ("_clock", "_observed_at", "_rng", "_slopes", "lag_s", "policy", "shed")

    def __init__(self, policy: SheddingPolicy, clock: Callable[[], float], rng: random.Random) -> None:
        self.policy = policy
        self.lag_s = 0.0
        self.shed = dict.fromkeys(Lane, 0)
        self._slopes = (policy.sheddable, policy.default, policy.critical)  # by Lane
        self._observed_at = 0.0
        self._clock = clock
        self._rng = rng

    def observe(self, lag_s: float) -> None:
        """How late the loop's last tick was."""
        self.lag_s += DECAY * (lag_s - self.lag_s)
        self._observed_at = self._clock()

    def probability(self, lane: Lane) -> float:
        """Share of the lane to turn away now."""
        begin, end = self._slopes[lane]
        if self.lag_s <= begin or not self.policy.enabled or self._clock() - self._observed_at > STALE_S:
            return 0.0
        return min(1.0, (self.lag_s - begin) / (end - begin))

    def admit(self, lane: Lane) -> bool:
        """False = shed (503, overloaded)."""
        if self.lag_s <= self._slopes[lane][0]:  # the normal case costs one comparison
            return True
        if self._rng.random() >= self.probability(lane):
            return True
        self.shed[lane] += 1
        return False
