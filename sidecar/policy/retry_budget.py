"""Retry budget, window form: in any window, retries <= ratio x requests + reserve.

A budget of concurrent retries does not bind when failures are fast, so this one counts. Each request deposits
`ratio` of a token that lives as long as the window; `reserve_per_s` tokens are there without any request, so
that a quiet service can retry too. At 20 % and four hops the load of a storm stays below 1.2^4 = 2.1 times.

The reserve is enough for the worst moment that we promise to survive: SIGKILL of one replica of three right
after the start. At 500 requests/s and 20 ms, 500 x 0.02 / 3 = 3.3 requests are in flight there, at most 3
more attempts are refused before the breaker opens, and each probe of the next ten seconds costs one more (4):
about 11 of the 30 tokens that 3/s x 10 s hold at any time.
"""

from collections.abc import Callable
from dataclasses import dataclass

from .errors import check_range
from .window import BUCKETS, CountWindow


@dataclass(frozen=True, slots=True)
class BudgetPolicy:
    """`ratio` of requests that may be retried, per `window_s` seconds, plus `reserve_per_s` retries a
    second.
    """

    ratio: float = 0.2
    window_s: float = 10.0
    reserve_per_s: float = 3.0

    def __post_init__(self) -> None:
        check_range("budget.ratio", self.ratio, 0.0, 1.0)
        check_range("budget.window_s", self.window_s, 1.0, 60.0)
        check_range("budget.reserve_per_s", self.reserve_per_s, 0.0, 1000.0)


class RetryBudget:
    """`deposit()` once per request, `withdraw()` before each retry or hedge; per destination service."""

    __slots__ = ("_clock", "_window", "policy", "withdrawn")

    def __init__(self, policy: BudgetPolicy, clock: Callable[[], float]) -> None:
        self.policy = policy
        self.withdrawn = 0  # since the start, for metrics
        self._window = CountWindow(policy.window_s / BUCKETS)  # total = requests, bad = retries
        self._clock = clock

    def set_policy(self, policy: BudgetPolicy) -> None:
        """New settings; a window of another length starts empty."""
        if policy.window_s != self.policy.window_s:
            self._window = CountWindow(policy.window_s / BUCKETS)
        self.policy = policy

    def deposit(self) -> None:
        """One request was admitted."""
        self._window.record(self._clock(), 0, 0)

    def tokens(self) -> float:
        """Retries that may still be made in this window."""
        window = self._window
        window.rotate(self._clock())
        policy = self.policy
        return policy.ratio * window.total + policy.reserve_per_s * policy.window_s - window.bad

    def withdraw(self) -> bool:
        """Take one token; False when there is none."""
        if self.tokens() < 1.0:
            return False
        self._window.record(self._clock(), 1, 0, 0)
        self.withdrawn += 1
        return True

    def snapshot(self) -> dict[str, float]:
        """`tokens` left and the `max` that this window could hold."""
        tokens = self.tokens()
        held = round(tokens + self._window.bad, 2)
        # Requests may leave the window before the retries that they paid for: nothing is left then, not less.
        return {"tokens": max(0.0, round(tokens, 2)), "max": held}
