"""The index rules of blocking queries and the pace of a watch. Pure: time and randomness come in.

Rules (mesh-semantics 2.12, Consul's own documentation): an index that goes backwards means the
registry began anew, so ask from 0; an index below 1 counts as 1, else the next query would not block;
an answer is no proof of a change; the loop is paced, and waits are jittered.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

WAIT: Final = 30.0
"""Seconds one blocking query may stand. Short against Consul's 5 minutes: it bounds how long a
silently cut connection, or an index ahead of a registry that began anew, can go unnoticed."""

WAIT_SPREAD: Final = 0.1
"""Share by which a wait varies either way, so that watches that began together part."""

ANSWER_SLACK: Final = 5.0
"""Seconds past the wait (and the server's own 1/16 of it) until a query counts as lost."""

BURST: Final = 2
RATE: Final = 10.0
"""Queries a second one watch may make, after a burst of two: under constant change a view is at most
0.1 s older than it could be, and a registry that answers at once for nothing is not hammered."""


class Cursor:
    """The index to ask with next."""

    def __init__(self) -> None:
        self.index = 0
        self._highest = 0

    def answered(self, index: int) -> bool:
        """Take an answer's index; True when it went backwards: the registry began anew."""
        index = max(index, 1)
        back = index < self._highest
        self._highest = index
        self.index = 0 if back else index
        return back

    def lost(self) -> None:
        """The query failed: ask anew without blocking, since the index may be ahead of what comes back."""
        self.index = 0


class Pace:
    """A token bucket: how long to wait before the next query."""

    def __init__(self, clock: Callable[[], float], *, rate: float = RATE, burst: int = BURST) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = float(burst)
        self._tokens = float(burst)
        self._at = clock()

    def delay(self) -> float:
        """Take one token; seconds until it is really there."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - 1
        self._at = now
        return max(0.0, -self._tokens / self._rate)


class Backoff:
    """Delays after failures: doubling from `first` to `most`, each drawn from its upper half."""

    def __init__(self, rng: random.Random, *, first: float = 0.1, most: float = 1.5) -> None:
        self._rng = rng
        self._first = first
        self._most = most
        self._failures = 0

    def failed(self) -> float:
        """Seconds until the next try."""
        # Past 2**30 the power only costs memory; the cap has long been reached.
        ceiling = min(self._most, self._first * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return ceiling * (0.5 + self._rng.random() / 2)

    def worked(self) -> None:
        """Begin small again."""
        self._failures = 0


def jittered_wait(wait: float, rng: random.Random) -> float:
    """A wait varied by WAIT_SPREAD either way."""
    return wait * (1 - WAIT_SPREAD + 2 * WAIT_SPREAD * rng.random())
