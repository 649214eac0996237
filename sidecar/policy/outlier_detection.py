"""Outlier detection by Envoy's rules, for a service whose DestinationRule has `outlierDetection`.

Consecutive errors are counted as answers come, and eject at once; an ejected endpoint returns at a sweep,
once every `interval_s`, when `base_s` x the times it was ejected has passed, with nothing like a half-open
state between. Endpoints are named by their ids; who is ejected gets no traffic (`breaker.py`).

Source: Envoy, 'Outlier detection', and `outlier_detection_impl.cc`; the defaults are Istio's.
"""

import math
from dataclasses import dataclass
from typing import Final

from .errors import check_range
from .outcome import Outcome

MAX_EJECTION_S: Final = 300.0  # Envoy's max_ejection_time
MAX_PERCENT: Final = 10  # of the endpoints, where a document does not say
_GATEWAY: Final = frozenset({502, 503, 504})
# What an attempt without an answer counts as, where local origin is not split off (`resultToHttpCode`).
_LOCAL: Final = {
    Outcome.CONNECT_FAILURE: 503,
    Outcome.RESET: 503,
    Outcome.TIMEOUT_TRY: 504,
    Outcome.TIMEOUT_TOTAL: 504,
}


@dataclass(frozen=True, slots=True)
class OutlierPolicy:
    """A count of 0 is off. `local_failures` counts, instead of the others, attempts that got no answer, if
    `split_local`. Percentages are of the service's endpoints."""

    errors_5xx: int = 5
    gateway_errors: int = 0
    local_failures: int = 5
    split_local: bool = False
    interval_s: float = 10.0
    base_s: float = 30.0
    max_percent: int = MAX_PERCENT
    min_health_percent: int = 0

    def __post_init__(self) -> None:
        check_range("outlierDetection.interval", self.interval_s, 0.001, 86_400.0)
        check_range("outlierDetection.baseEjectionTime", self.base_s, 0.001, 86_400.0)

    @property
    def max_s(self) -> float:
        """An ejection lasts no longer."""
        return max(MAX_EJECTION_S, self.base_s)


class _Record:
    """One endpoint: its runs of errors, and its ejections."""

    __slots__ = ("errors_5xx", "gateway", "local", "returned", "times", "until")

    def __init__(self) -> None:
        self.errors_5xx = 0
        self.gateway = 0
        self.local = 0
        self.times = 0  # by which the base is multiplied
        self.until = 0.0  # its last ejection
        self.returned = 0.0  # when it was last ejected no longer


class OutlierDetector:
    """The counts of one service's endpoints, as one caller sees them.

    `record` says when one is over its limit, `admits` whether it may be ejected, `eject` until when.
    """

    __slots__ = ("_begun", "_records", "ejected", "overflows", "policy")

    def __init__(self, policy: OutlierPolicy, now: float) -> None:
        self.policy = policy
        self.overflows = 0  # ejections that `max_percent` forbade
        self.ejected: set[str] = set()
        self._begun = now  # sweeps are so many intervals later
        self._records: dict[str, _Record] = {}

    def forget(self, key: str) -> None:
        """The endpoint left."""
        self._records.pop(key, None)
        self.ejected.discard(key)

    def record(self, key: str, outcome: Outcome, status: int) -> str:
        """One attempt ended; `status` 0 = without an answer. Why the endpoint is an outlier now, or ''."""
        local = 0 if status else _LOCAL.get(outcome, 0)
        if not (status or local):
            return ""  # it was ended by us or our caller, and says nothing
        seen, policy = self._records.get(key), self.policy
        if seen is None:
            if status and status < 500:
                return ""  # most endpoints never have an error
            seen = self._records[key] = _Record()
        if policy.split_local:
            seen.local = seen.local + 1 if local else 0
            if local:
                if policy.local_failures and seen.local >= policy.local_failures:
                    return f"{seen.local} attempts in a row without an answer"
                return ""
        code = status or local
        if code < 500:
            seen.errors_5xx = seen.gateway = 0
            return ""
        seen.errors_5xx += 1
        seen.gateway = seen.gateway + 1 if code in _GATEWAY else 0
        if policy.gateway_errors and seen.gateway >= policy.gateway_errors:
            return f"{seen.gateway} gateway errors in a row"
        if policy.errors_5xx and seen.errors_5xx >= policy.errors_5xx:
            return f"{seen.errors_5xx} errors (5xx) in a row"
        return ""

    def admits(self, endpoints: int) -> bool:
        """Whether one more of so many may be ejected; a no is counted. 10 % of nine is nobody."""
        allowed = 100.0 * (len(self.ejected) + 1) <= self.policy.max_percent * endpoints
        self.overflows += not allowed
        return allowed

    def eject(self, key: str, now: float) -> float:
        """From now until when."""
        seen, policy = self._records[key], self.policy
        seen.errors_5xx = seen.gateway = seen.local = 0
        seen.times = max(0, seen.times - self._sweeps(seen.returned, now))
        if seen.times * policy.base_s < policy.max_s + policy.base_s:
            seen.times += 1
        self.ejected.add(key)
        seen.until = self._next_sweep(now + min(policy.base_s * seen.times, policy.max_s))
        return seen.until

    def returned(self, key: str, now: float) -> None:
        """It is ejected no longer."""
        self.ejected.discard(key)
        seen = self._records.get(key)
        if seen is not None:
            seen.returned = min(now, seen.until)  # it may be noticed late, for want of requests

    def panics(self, endpoints: int) -> bool:
        """So few are left that all are used (Istio's minHealthPercent, Envoy's panic threshold)."""
        healthy = endpoints - len(self.ejected)
        return bool(self.ejected) and 100.0 * healthy < self.policy.min_health_percent * endpoints

    def _next_sweep(self, at: float) -> float:
        interval = self.policy.interval_s
        return self._begun + interval * math.ceil((at - self._begun) / interval - 1e-9)

    def _sweeps(self, begin: float, end: float) -> int:
        """How many came after `begin`, up to `end`: each without an ejection takes one multiple back."""
        first, last = ((at - self._begun) / self.policy.interval_s for at in (begin, end))
        return math.floor(last) - math.floor(first + 1e-9)
