"""What keeps the app behind an inbound listener from more than it can take: who is turned away, and how.

In this order, once for each request:
1. load shedding, because it is about this very process: a loop that is late must not do more for who is
   refused anyway; on by default;
2. rate limits, by route and caller (429): a request that was shed has taken no token;
3. after the faults, the adaptive limit (503), which must see nothing but the app's own time.
The fixed cap of `LocalApp` stands behind all of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .errors import Flag, MeshError
from .observe.lengths import NAME
from .policy.adaptive import AdaptiveLimit, AdaptivePolicy
from .policy.lanes import Lane, lane_of
from .policy.rate_limit import Limited, RateLimiter
from .policy.shedding import LoadShed, SheddingPolicy

if TYPE_CHECKING:
    from .routing.compiled import RateLimitRule
    from .wire.events import RequestHead

# Overload passes by itself or by moving load: one second is the shortest time that the header can say.
OVERLOADED = ((b"x-envoy-overloaded", b"true"), (b"retry-after", b"1"))


class RouteLimit:
    """The rate limit of one route, with the buckets that it filled."""

    __slots__ = ("enforced", "limiter", "rule")

    def __init__(self, rule: RateLimitRule, limiter: RateLimiter, enforced: int) -> None:
        self.rule = rule
        self.limiter = limiter
        self.enforced = enforced  # turned away; in shadow mode nobody is

    def applies(self, head: RequestHead, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        matches = self.rule.matches
        return not matches or any(
            match.matches(head.method, head.target, headers, head.host) for match in matches
        )


class Protection:
    """`check` for each request while `active`; `enter` for a place in the adaptive limit, if there is one."""

    def __init__(self, clock: Callable[[], float], rng: random.Random) -> None:
        self._clock = clock
        self._shedding = SheddingPolicy()
        self._starts_at = min(self._shedding.sheddable[0], self._shedding.default[0])
        self.shed = LoadShed(self._shedding, clock, rng)
        self.limits: tuple[RouteLimit, ...] = ()
        self.adaptive: AdaptiveLimit | None = None
        self.active = False
        """Whether anybody might be turned away; false, as in normal operation, spares the rest."""

    def apply(self, rules: Sequence[RateLimitRule], concurrency: AdaptivePolicy | None) -> None:
        """Swap the policies; buckets and the adaptive limit stay where their policy stays."""
        before = {limit.rule.name: limit for limit in self.limits}
        self.limits = tuple(self._limit(rule, before.get(rule.name)) for rule in rules)
        if concurrency is None or not concurrency.enabled:
            self.adaptive = None  # who is inside leaves the limit that it entered
        elif self.adaptive is None:
            self.adaptive = AdaptiveLimit(concurrency, self._clock)
        else:
            self.adaptive.set_policy(concurrency)
        self._look()

    def observe(self, lag_s: float) -> None:
        """How late the event loop is."""
        self.shed.observe(lag_s)
        self._look()

    def check(self, head: RequestHead) -> MeshError | None:
        """Why this request is turned away, or None."""
        lane = lane_of_head(head)
        if not self.shed.admit(lane):
            words = f"the event loop is {1000 * self.shed.lag_s:.0f} ms late; the lane is {_name(lane)}"
            return MeshError(Flag.OM, words, fields=OVERLOADED)
        if self.limits:
            caller = caller_of(head)
            headers = [(low, value) for _, low, value in head.headers]
            for limit in self.limits:
                if limit.applies(head, headers):
                    limited = limit.limiter.admit(caller)
                    if limited is not None:
                        limit.enforced += 1
                        return MeshError(Flag.RL, _words(limit, limited, caller), fields=limited.headers)
        return None

    def enter(self, limit: AdaptiveLimit, head: RequestHead) -> MeshError | None:
        """Take a place in `limit` (then `limit.leave` once), or hear why not."""
        lane = lane_of_head(head)
        if limit.enter(lane):
            return None
        words = f"{limit.in_flight} requests are at the app, of {limit.limit:.0f} that it can take in time"
        return MeshError(Flag.OM, f"{words}; the lane is {_name(lane)}", fields=OVERLOADED)

    def snapshot(self) -> dict[str, Any]:
        """Numbers for people."""
        return {
            "rate_limits": [
                {
                    "name": limit.rule.name,
                    "limited": limit.limiter.limited,
                    "enforced": limit.enforced,
                    "callers": len(limit.limiter),
                    "shadow": limit.rule.policy.shadow,
                }
                for limit in self.limits
            ],
            "concurrency": None if self.adaptive is None else self.adaptive.snapshot(),
            "shedding": {
                "lag_ms": round(1000 * self.shed.lag_s, 1),
                **{f"shed_{_name(lane)}": count for lane, count in self.shed.shed.items()},
            },
        }

    def _limit(self, rule: RateLimitRule, before: RouteLimit | None) -> RouteLimit:
        if before is None:
            return RouteLimit(rule, RateLimiter(rule.policy, self._clock), 0)
        limiter = before.limiter
        if rule.policy != limiter.policy:
            limiter = RateLimiter(rule.policy, self._clock)
            limiter.limited = before.limiter.limited  # a counter never goes back
        return RouteLimit(rule, limiter, before.enforced)

    def _look(self) -> None:
        self.active = bool(self.limits) or self.adaptive is not None or self.shed.lag_s > self._starts_at


def lane_of_head(head: RequestHead) -> Lane:
    """A request's lane; a retry is in a lower one, first tries come first."""
    fields = head.fields
    count = fields.get(b"x-envoy-attempt-count", b"1")
    return lane_of(fields.get(b"x-mesh-criticality"), int(count) if count.isdigit() and len(count) < 4 else 1)


def caller_of(head: RequestHead) -> str:
    """The calling service's name, as its sidecar tells it (`instance~service~version`); '' if none does."""
    parts = head.fields.get(b"x-envoy-peer-metadata-id", b"").split(b"~")
    return parts[1][:NAME].decode("latin-1") if len(parts) == 3 else ""


def _name(lane: Lane) -> str:
    return lane.name.lower()


def _words(limit: RouteLimit, limited: Limited, caller: str) -> str:
    policy = limit.rule.policy
    if limited.scope == "total":
        rate, who = policy.total, "all callers"
    else:
        rate, who = policy.overrides.get(caller, policy.per_caller), caller or "callers without a name"
    assert rate is not None
    return f"{limit.rule.name} allows {rate.per_s:g} requests/s of {who}, {rate.burst:g} at once"
