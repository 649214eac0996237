"""Admission at service level: what happens instead of panic when every endpoint is bad.

With a share `ok` of the last `n` attempts that went well, a request is turned away with probability
`max(0, (n - k * ok) / (n + 1))`, never above `cap`, so that something always tests the water. k = 2: a
service may fail half of what we send before we hold anything back. The reference's 1 / 0.95 would turn away
47 % of the good requests too when one broken route fails half of the traffic; at 0 % success both send a
tenth. It acts only from the moment no endpoint is ready until the share is good again, so partial trouble is
left to breakers and retries, and the way back is a slope of the window's length, not a cliff.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from .errors import check_range
from .window import BUCKETS, CountWindow


@dataclass(frozen=True, slots=True)
class AdmissionPolicy:
    """`k` as above, `cap` = most that is ever turned away, over `window_s` seconds."""

    k: float = 2.0
    cap: float = 0.9
    window_s: float = 5.0
    min_samples: int = 5

    def __post_init__(self) -> None:
        check_range("admission.k", self.k, 1.0, 10.0)
        check_range("admission.cap", self.cap, 0.0, 0.99)
        check_range("admission.window_s", self.window_s, 1.0, 60.0)
        check_range("admission.min_samples", self.min_samples, 1, 1000)


class Admission:
    """Count every attempt in `window`; `admit` draws for one request."""

    __slots__ = ("_clock", "_rng", "policy", "turned_away", "window")

    def __init__(self, policy: AdmissionPolicy, clock: Callable[[], float], rng: random.Random) -> None:
        self.policy = policy
        self.turned_away = 0
        self.window = CountWindow(policy.window_s / BUCKETS)
        self._clock = clock
        self._rng = rng

    def set_policy(self, policy: AdmissionPolicy) -> None:
        """New settings; a window of another length starts empty."""
        if policy.window_s != self.policy.window_s:
            self.window = CountWindow(policy.window_s / BUCKETS)
        self.policy = policy

    def probability(self) -> float:
        """Share of requests to turn away now."""
        window = self.window
        window.rotate(self._clock())
        total = window.total
        if total < self.policy.min_samples:
            return 0.0
        ok = total - window.bad
        return min(self.policy.cap, max(0.0, (total - self.policy.k * ok) / (total + 1)))

    def admit(self) -> bool:
        """Draw once."""
        if self._rng.random() < self.probability():
            self.turned_away += 1
            return False
        return True
