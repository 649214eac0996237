"""What the attempts of one epoch said of an endpoint: the counts that `trip_rules.py` judges."""

from typing import Final

from .outcome import Evidence
from .trip_rules import BreakerPolicy, Verdict, judge
from .window import BUCKETS, CountWindow

RUN_MEMORY_S: Final = 60.0  # a run that was not continued for so long is over


class Sightings:
    """A `Breaker` is one, and does not have one: it counts every good answer itself, on its hot path."""

    __slots__ = (
        "_spoiled_at", "certain_run", "failure_run", "policy", "seen", "silent", "window",
    )  # fmt: skip

    def __init__(self, policy: BreakerPolicy) -> None:
        self.policy = policy
        self.seen = 0  # attempts in this epoch
        self.failure_run = 0.0
        self.certain_run = 0
        self.silent = False  # the last of the certain run was silence, which is a matter of comparison
        self.window = CountWindow(policy.window_s / BUCKETS)
        self._spoiled_at = 0.0

    def set_policy(self, policy: BreakerPolicy) -> None:
        """New rules; what was seen stays, unless the window has another length now."""
        if policy.window_s != self.policy.window_s:
            self.window = CountWindow(policy.window_s / BUCKETS)
        self.policy = policy

    def verdict(self) -> Verdict | None:
        """Which rule fires on what was seen up to the last sample, if any."""
        return judge(self.policy, self.window, self.seen, self.failure_run, self.certain_run, self.silent)

    def _count_spoiled(self, evidence: int, now: float) -> None:
        """A slow answer, or none that is worth anything."""
        if now - self._spoiled_at > RUN_MEMORY_S:
            self.failure_run = 0.0
            self.certain_run = 0
        self._spoiled_at = now
        if evidence == Evidence.GOOD:
            self.window.record(now, 0, 1)
            self.failure_run = max(0.0, self.failure_run - self.policy.forgive)
            self.certain_run = 0
        elif evidence >= Evidence.SILENT:
            self.window.record(now, 0, 1)
            if evidence == Evidence.SILENT:
                self.certain_run += 1
                self.silent = True
        else:
            self.window.record(now, 1, 0)
            if evidence != Evidence.RATIO:
                self.failure_run += 1.0
                self.certain_run = self.certain_run + 1 if evidence == Evidence.CERTAIN else 0
                self.silent = False

    def _forget(self) -> None:
        """A new epoch begins."""
        self.seen = 0
        self.failure_run = 0.0
        self.certain_run = 0
        self.window.clear()
