"""The rules that condemn a closed endpoint; the first that holds fires.

- `certain_run` (3) attempts in a row that the endpoint did not answer at all: refused or reset. At 300
  requests/s a killed replica of three gets 3 more attempts, all of them retried.
- `silent_run` (3) of them, if the last was silence: attempts given up while others answered, because the
  endpoint's sidecar was silent for half a second too, or said that its app is stopped. A pause of a process
  below 600 ms opens nothing (a scheduler on a busy laptop makes those); at 300 requests/s a frozen one is
  open after 0.7 to 1.3 s, and is passed over from the first 60 ms on.
- `failure_run` (7) failures of any kind in a run, where a success takes back half a failure (`forgive`). A
  strict run is the same with `forgive` infinite, and blind to 50 %: it needs 254 attempts on average,
  this needs 24, and at 10 % failures both are wrong less than once in 180,000 (50/s for an hour). It is a
  CUSUM test in disguise.
- Wilson's lower bound of the failure ratio over 10 buckets of 1 s is above `failure_ratio` (20 %: a service
  that always fails a tenth is left alone). Counts, not an average: the bound knows by itself that 2 of 3 is
  no proof. z = 2.6 because we look after every answer. An endpoint of which fewer than 30 answers were seen
  gets less benefit of the doubt (z = 1.6, 3 failures at least): a fresh process that fails is more often
  broken than unlucky. After that a handful of samples (1 request in 2 s) must hold 4 failures.
  `tests/benchmarks/bench_breaker.py` has the table that these four numbers come from.
- the same bound of (failed or slow) above `slow_ratio`, if the others are not as slow (`outlier.py` asks
  them): a service that is slow everywhere is not healed by ejecting half of it.
"""

import math
from dataclasses import dataclass
from typing import Final

from .errors import PolicyError, check_range
from .window import CountWindow

YOUNG: Final = 30  # attempts seen in this epoch; see the third rule above
YOUNG_Z: Final = 1.6
YOUNG_BAD: Final = 3
SETTLED_BAD: Final = 4


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When to open, how to come back. Seconds and ratios; `enabled=False` never opens by itself."""

    enabled: bool = True
    certain_run: int = 3
    silent_run: int = 3
    failure_run: int = 7
    forgive: float = 0.5  # failures of the run that one success takes back; math.inf = strictly in a row
    failure_ratio: float = 0.2
    slow_ratio: float = 0.3
    z: float = 2.6  # 1.96 would be 95 % for one look; we look after every answer
    open_s: float = 1.0
    open_max_s: float = 30.0
    permits: int = 1
    need: int = 3
    probe_deadline_s: float = 2.0
    ramp: tuple[float, ...] = (0.05, 0.10, 0.25, 0.50)
    ramp_s: float = 10.0
    window_s: float = 10.0  # of the ratio rules
    min_ready: float = 0.5  # share of endpoints, rounded up and at least one, that is never opened

    def __post_init__(self) -> None:
        check_range("breaker.certain_run", self.certain_run, 1, 1000)
        check_range("breaker.silent_run", self.silent_run, 1, 1000)
        check_range("breaker.failure_run", self.failure_run, 1, 10_000)
        check_range("breaker.forgive", self.forgive, 0.0, math.inf)
        check_range("breaker.failure_ratio", self.failure_ratio, 0.01, 1.0)
        check_range("breaker.slow_ratio", self.slow_ratio, 0.01, 1.0)
        check_range("breaker.z", self.z, 0.5, 5.0)
        check_range("breaker.open_s", self.open_s, 0.001, 3600.0)
        check_range("breaker.open_max_s", self.open_max_s, self.open_s, 86400.0)
        check_range("breaker.permits", self.permits, 1, 100)
        check_range("breaker.need", self.need, 1, 100)
        check_range("breaker.probe_deadline_s", self.probe_deadline_s, 0.01, 600.0)
        check_range("breaker.ramp_s", self.ramp_s, 0.0, 3600.0)
        check_range("breaker.window_s", self.window_s, 0.1, 3600.0)
        check_range("breaker.min_ready", self.min_ready, 0.0, 1.0)
        if not all(0.0 < step <= 1.0 for step in self.ramp) or list(self.ramp) != sorted(self.ramp):
            raise PolicyError("breaker.ramp", "must be growing shares above 0 and up to 1")


def wilson_lower(bad: int, total: int, z: float) -> float:
    """Lower end of Wilson's interval for a true ratio of which `bad` of `total` were seen."""
    if total <= 0:
        return 0.0
    ratio = bad / total
    z2 = z * z
    spread = z * math.sqrt((ratio * (1.0 - ratio) + z2 / (4 * total)) / total)
    return max(0.0, (ratio + z2 / (2 * total) - spread) / (1.0 + z2 / total))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a rule fired. `score` orders endpoints worst first: 1 = certainly dead, else the bound itself.

    `slow`: it is a matter of time, so the others must be asked whether they are as slow.
    """

    reason: str
    score: float
    slow: bool
    numbers: dict[str, float]


def judge(
    policy: BreakerPolicy, window: CountWindow, seen: int, failure_run: float, certain_run: int, silent: bool
) -> Verdict | None:
    """The first rule that holds for what was seen up to the last sample (`seen` attempts in this epoch)."""
    bad, total, slow = window.bad, window.total, window.slow
    if certain_run >= (policy.silent_run if silent else policy.certain_run):
        reason = f"{certain_run} attempts in a row without any answer"
        return Verdict(reason, 1.0, silent, {"in_a_row": certain_run})
    if failure_run >= policy.failure_run:
        score = bad / total if total else 1.0
        numbers: dict[str, float] = {"run": failure_run, "failed": bad, "of": total}
        return Verdict(f"a run of {failure_run:g} failures, {bad} of {total} failed", score, False, numbers)
    young = seen <= YOUNG
    z = min(YOUNG_Z, policy.z) if young else policy.z
    least = YOUNG_BAD if young else SETTLED_BAD
    bound = wilson_lower(bad, total, z) if bad >= least else 0.0
    if bound > policy.failure_ratio:
        reason = f"{bad} of {total} failed, for sure more than {bound:.0%} (limit {policy.failure_ratio:.0%})"
        return Verdict(reason, bound, False, {"failed": bad, "of": total, "bound": round(bound, 3)})
    bound = wilson_lower(bad + slow, total, z) if slow and bad + slow >= least else 0.0
    if bound > policy.slow_ratio:
        reason = (
            f"{slow} slow and {bad} failed of {total}, for sure more than {bound:.0%} "
            f"(limit {policy.slow_ratio:.0%})"
        )
        return Verdict(reason, bound, True, {"slow": slow, "failed": bad, "of": total})
    return None
