"""Injected faults: which requests, what happens to them, for how long.

A fault sits at the callee, below retries, breakers and deadlines, so that those are exercised. Each request
draws its dice once per rule from the injected rng (never a counter: a counter beats in step with retries).
Every rule has an end and a cap on how many requests it holds at once, so that nothing stays broken after a
demonstration.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from .errors import check_range

MAX_DELAY_S: Final = 60.0
MAX_ACTIVE: Final = 100  # requests a rule may hold at once
TTL_MAX_S: Final = 86_400.0
FAIL_FIRST_KEYS: Final = 1024
HELD_MAX_S: Final = 60.0  # a hang or a slow body ends after this, whatever the caller does


class Matcher(Protocol):
    """Which requests (routing's `Match` is one)."""

    def matches(
        self, method: bytes, path: bytes, headers: Sequence[tuple[bytes, bytes]], authority: bytes = b""
    ) -> bool:
        """Is the request meant."""


class Action(Enum):
    """What is done after the delay, if any."""

    NONE = "none"  # delay only
    ABORT = "abort"  # answer `status` instead of the app
    RESET = "reset"  # close the connection with RST before any byte
    HANG = "hang"  # never answer, until the caller gives up
    TRUNCATE = "truncate"  # end the connection after `after_bytes` of the app's body
    SLOW_BODY = "slow-body"  # pass the body on at `bytes_per_s`
    FAIL_FIRST = "fail-first"  # `status` for the first `count` requests of each request id, then let pass


class Shape(Enum):
    """Distribution of a delay around its mean."""

    FIXED = "fixed"
    UNIFORM = "uniform"  # 0 .. 2 x mean
    EXPONENTIAL = "exponential"
    LOGNORMAL = "lognormal"  # sigma 0.5


@dataclass(frozen=True, slots=True)
class Delay:
    """Seconds to wait, at most MAX_DELAY_S."""

    mean_s: float
    shape: Shape = Shape.FIXED

    def __post_init__(self) -> None:
        check_range("fault.delay", self.mean_s, 0.0, MAX_DELAY_S)

    def draw(self, rng: random.Random) -> float:
        """One delay."""
        mean = self.mean_s
        if self.shape is Shape.UNIFORM:
            mean = rng.uniform(0.0, 2.0 * mean)
        elif self.shape is Shape.EXPONENTIAL and mean > 0.0:
            mean = rng.expovariate(1.0 / mean)
        elif self.shape is Shape.LOGNORMAL and mean > 0.0:
            mean = rng.lognormvariate(math.log(mean) - 0.125, 0.5)
        return min(mean, MAX_DELAY_S)


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One fault. Percentages 0..100, drawn independently for delay and action (as in Istio, absent = 0).

    Without delay and action it lets its requests pass, and so keeps later rules from them.
    """

    name: str
    match: Matcher | None = None  # None = every request
    delay: Delay | None = None
    delay_percent: float = 0.0
    action: Action = Action.NONE
    action_percent: float = 0.0
    status: int = 503
    after_bytes: int = 0
    bytes_per_s: float = 1024.0
    count: int = 1
    ttl_s: float | None = None  # None = as long as the document that holds it
    max_active: int = MAX_ACTIVE
    generation: int = 0  # a rule that differs in it alone begins its time anew

    def __post_init__(self) -> None:
        check_range("fault.delay.percentage", self.delay_percent, 0.0, 100.0)
        check_range("fault.percentage", self.action_percent, 0.0, 100.0)
        check_range("fault.status", self.status, 200, 599)
        check_range("fault.bytesPerSecond", self.bytes_per_s, 1.0, 1e12)
        check_range("fault.maxActive", self.max_active, 1, 100_000)
        check_range("fault.count", self.count, 1, 1000)
        if self.ttl_s is not None:
            check_range("fault.ttl", self.ttl_s, 0.1, TTL_MAX_S)


class Fault:
    """What happens to one request; hand it back to `done` when the request is over."""

    __slots__ = ("action", "after_bytes", "bytes_per_s", "delay_s", "flags", "rule", "status")

    def __init__(self, rule: FaultRule, delay_s: float, action: Action) -> None:
        self.rule = rule
        self.delay_s = delay_s
        self.action = action
        self.status = rule.status
        self.after_bytes = rule.after_bytes
        self.bytes_per_s = rule.bytes_per_s
        # Envoy's flags: DI = a delay, FI = anything else
        self.flags = ("DI" if delay_s else "") + ("," if delay_s and action is not Action.NONE else "")
        self.flags += "FI" if action is not Action.NONE else ""

    def __repr__(self) -> str:
        return f"<Fault {self.rule.name} {self.action.value} delay={self.delay_s:.3f}>"


class FaultInjector:
    """The rules in force. `replace` swaps the set and starts their time; `draw` asks for one request."""

    __slots__ = ("_active", "_clock", "_ends", "_first", "_given", "_rng", "injected", "rules", "skipped")

    def __init__(self, clock: Callable[[], float], rng: random.Random) -> None:
        self.rules: tuple[FaultRule, ...] = ()
        self.injected: dict[str, int] = {}
        self.skipped = 0  # a rule was at its cap
        self._active: dict[str, int] = {}
        self._given: dict[str, FaultRule] = {}  # with those whose time is over
        self._ends: dict[str, float] = {}
        self._first: dict[tuple[str, bytes], int] = {}
        self._clock = clock
        self._rng = rng

    def replace(self, rules: Sequence[FaultRule]) -> None:
        """A rule that was given before unchanged keeps its time, and stays over if it is over: else a change
        of any other policy would begin it again. What is gone ends.
        """
        now = self._clock()
        ends = {}
        for rule in rules:
            if self._given.get(rule.name) == rule:
                ends[rule.name] = self._ends[rule.name]
            else:
                ends[rule.name] = math.inf if rule.ttl_s is None else now + rule.ttl_s
        self._given = {rule.name: rule for rule in rules}
        self._ends = ends
        self.rules = tuple(rule for rule in rules if now < ends[rule.name])
        self.injected = {name: count for name, count in self.injected.items() if name in ends}
        self._active = {name: count for name, count in self._active.items() if count}

    def expire(self) -> list[FaultRule]:
        """Take out the rules whose time is over; returns them."""
        now = self._clock()
        over = [rule for rule in self.rules if now >= self._ends[rule.name]]
        if over:
            self.rules = tuple(rule for rule in self.rules if now < self._ends[rule.name])
        return over

    def left(self, rule: FaultRule) -> float:
        """Seconds until a rule in force will be over; inf = it has no end of its own."""
        return self._ends[rule.name] - self._clock()

    def next_end(self) -> float:
        """When the first of the rules in force will be over, on the clock; inf = never."""
        return min((self._ends[rule.name] for rule in self.rules), default=math.inf)

    def draw(
        self,
        method: bytes,
        path: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        request_id: bytes = b"",
        authority: bytes = b"",
    ) -> Fault | None:
        """The fault of this request: the first rule that matches decides, by its dice."""
        if not self.rules:
            return None
        now = self._clock()
        for rule in self.rules:
            if now >= self._ends[rule.name]:
                continue
            if rule.match is None or rule.match.matches(method, path, headers, authority):
                return self._roll(rule, request_id)
        return None

    def _roll(self, rule: FaultRule, request_id: bytes) -> Fault | None:
        rng = self._rng
        delay_s = 0.0
        if rule.delay is not None and rng.random() * 100.0 < rule.delay_percent:
            delay_s = rule.delay.draw(rng)
        action = Action.NONE
        if rule.action is not Action.NONE and rng.random() * 100.0 < rule.action_percent:
            action = rule.action
        if action is Action.FAIL_FIRST:
            action = Action.ABORT if self._among_first(rule, request_id) else Action.NONE
        if not delay_s and action is Action.NONE:
            return None
        active = self._active.get(rule.name, 0)
        if active >= rule.max_active:
            self.skipped += 1
            return None
        self._active[rule.name] = active + 1
        self.injected[rule.name] = self.injected.get(rule.name, 0) + 1
        return Fault(rule, delay_s, action)

    def _among_first(self, rule: FaultRule, request_id: bytes) -> bool:
        if len(self._first) >= FAIL_FIRST_KEYS:
            self._first.pop(next(iter(self._first)))
        seen = self._first.get((rule.name, request_id), 0)
        self._first[(rule.name, request_id)] = seen + 1
        return seen < rule.count

    def done(self, fault: Fault) -> None:
        """The request is over."""
        self._active[fault.rule.name] -= 1

    @property
    def active(self) -> int:
        """Requests that a fault has in its hands."""
        return sum(self._active.values())

    def snapshot(self) -> list[Mapping[str, object]]:
        """The rules in force, with what is left of their time."""
        now = self._clock()
        return [
            {
                "name": rule.name,
                "action": rule.action.value,
                "delay_ms": None if rule.delay is None else round(1000 * rule.delay.mean_s, 3),
                "ends_in_s": None
                if math.isinf(self._ends[rule.name])
                else round(self._ends[rule.name] - now, 1),
                "active": self._active.get(rule.name, 0),
                "injected": self.injected.get(rule.name, 0),
            }
            for rule in self.rules
            if now < self._ends[rule.name]
        ]
