"""Bulkhead: how many requests may be at one upstream at once, and how many may wait, for how long."""

import math
from dataclasses import dataclass
from typing import Final

from .errors import check_range

PENDING_MAX: Final = 2**31 - 1  # Istio's largest: no limit
ENTERED: Final = 0
MUST_WAIT: Final = 1
FULL: Final = 2


@dataclass(frozen=True, slots=True)
class BulkheadPolicy:
    """Caps of one sidecar process for one upstream (C callers allow C times as much at the callee).

    `max_active` is Envoy's max_requests: an app with event streams or long polls has hundreds under way.
    `max_wait_s` is our own bound of a queue that no document speaks of.
    """

    max_active: int = 1024
    max_pending: int = 64
    max_wait_s: float = 0.1  # a queue bounded only by length hides overload as latency

    def __post_init__(self) -> None:
        check_range("bulkhead.max_active", self.max_active, 1, 1_000_000)
        check_range("bulkhead.max_pending", self.max_pending, 0, PENDING_MAX)
        check_range("bulkhead.max_wait_s", self.max_wait_s, 0.0, math.inf)


class Bulkhead:
    """Counts only; who waits is kept in order by the exchange.

    `enter()` -> ENTERED, MUST_WAIT (counted as pending) or FULL. Who waits ends it by `promote()` (a place
    came free: pending -> active, False if it was taken) or `abandon()` (gave up). Who entered calls `leave()`
    once.
    """

    __slots__ = ("active", "high_water", "overflows", "pending", "policy")

    def __init__(self, policy: BulkheadPolicy) -> None:
        self.policy = policy
        self.active = 0
        self.pending = 0
        self.overflows = 0
        self.high_water = 0  # since the last snapshot: a gauge sampled at scrape misses short openings

    def enter(self) -> int:
        """Take a place, or a place in the queue."""
        policy = self.policy
        if self.active < policy.max_active and not self.pending:
            self.active += 1
            if self.active > self.high_water:
                self.high_water = self.active
            return ENTERED
        if self.pending < policy.max_pending and policy.max_wait_s > 0.0:
            self.pending += 1
            return MUST_WAIT
        self.overflows += 1
        return FULL

    def promote(self) -> bool:
        """The first who waits tries to enter."""
        if self.active >= self.policy.max_active:
            return False
        self.pending -= 1
        self.active += 1
        if self.active > self.high_water:
            self.high_water = self.active
        return True

    def abandon(self) -> None:
        """One who waits gave up."""
        self.pending -= 1
        self.overflows += 1

    def leave(self) -> None:
        """One who entered is done."""
        self.active -= 1
