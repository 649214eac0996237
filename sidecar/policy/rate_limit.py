"""Rate limit: a token bucket for all, and one for each caller, refilled lazily.

A request takes a token from its caller's bucket and one from the total; it is turned away (429) if either is
empty, and then takes none. Callers without identity share one bucket. Limits are per sidecar process: behind
three replicas a limit of 100/s lets 300/s through, and the page says so.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from .errors import check_range

CALLERS_MAX: Final = 1024  # buckets kept; a caller that was forgotten starts with a full one


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_s` tokens a second into a bucket of `burst` (which starts full)."""

    per_s: float
    burst: float

    def __post_init__(self) -> None:
        check_range("rateLimit.rate", self.per_s, 0.001, 1e9)
        check_range("rateLimit.burst", self.burst, 1.0, 1e9)


@dataclass(frozen=True, slots=True)
class RateLimitPolicy:
    """`shadow` counts what would be turned away, and lets it pass."""

    total: Rate | None = None
    per_caller: Rate | None = None
    overrides: Mapping[str, Rate] = field(default_factory=dict)
    shadow: bool = False


class Bucket:
    """Tokens now; `peek` refills by elapsed time."""

    __slots__ = ("_at", "rate", "tokens")

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self.tokens = rate.burst
        self._at = now

    def peek(self, now: float) -> float:
        """Tokens at `now`."""
        rate = self.rate
        tokens = self.tokens + (now - self._at) * rate.per_s
        self.tokens = tokens if tokens < rate.burst else rate.burst
        self._at = now
        return self.tokens


class Limited:
    """429: `retry_after_s` until a token is there; `headers` are the standard ones."""

    __slots__ = ("headers", "retry_after_s", "scope")

    def __init__(self, scope: str, bucket: Bucket) -> None:
        self.scope = scope  # 'total' or 'caller'
        self.retry_after_s = (1.0 - bucket.tokens) / bucket.rate.per_s
        self.headers = [
            (b"retry-after", b"%d" % max(1, math.ceil(self.retry_after_s))),
            *limit_headers(bucket),
            (b"x-envoy-ratelimited", b"true"),
        ]


def limit_headers(bucket: Bucket) -> list[tuple[bytes, bytes]]:
    """`x-ratelimit-limit`, `-remaining`, `-reset` (seconds until the bucket is full)."""
    rate = bucket.rate
    return [
        (b"x-ratelimit-limit", b"%d" % int(rate.burst)),
        (b"x-ratelimit-remaining", b"%d" % max(0, int(bucket.tokens))),
        (b"x-ratelimit-reset", b"%d" % math.ceil((rate.burst - bucket.tokens) / rate.per_s)),
    ]


class RateLimiter:
    """`admit(caller)` for every request of one route; None = pass."""

    __slots__ = ("_callers", "_clock", "_total", "limited", "policy")

    def __init__(self, policy: RateLimitPolicy, clock: Callable[[], float]) -> None:
        self.policy = policy
        self.limited = 0  # since the start, shadow mode included
        self._total = Bucket(policy.total, clock()) if policy.total is not None else None
        self._callers: OrderedDict[str, Bucket] = OrderedDict()
        self._clock = clock

    def admit(self, caller: str) -> Limited | None:
        """`caller` is the peer's service name, '' if it has none."""
        now = self._clock()
        own = self._bucket_of(caller, now)
        total = self._total
        if own is not None and own.peek(now) < 1.0:
            return self._turn_away("caller", own)
        if total is not None and total.peek(now) < 1.0:
            return self._turn_away("total", total)
        if own is not None:
            own.tokens -= 1.0
        if total is not None:
            total.tokens -= 1.0
        return None

    def _turn_away(self, scope: str, bucket: Bucket) -> Limited | None:
        self.limited += 1
        return None if self.policy.shadow else Limited(scope, bucket)

    def _bucket_of(self, caller: str, now: float) -> Bucket | None:
        found = self._callers.get(caller)
        if found is not None:
            self._callers.move_to_end(caller)
            return found
        rate = self.policy.overrides.get(caller, self.policy.per_caller)
        if rate is None:
            return None
        bucket = self._callers[caller] = Bucket(rate, now)
        if len(self._callers) > CALLERS_MAX:
            self._callers.popitem(last=False)
        return bucket

    def __len__(self) -> int:
        return len(self._callers)
