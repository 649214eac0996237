"""The faults in force for the app behind an inbound listener: drawn for each request, told of, ended in time.

They sit behind the rate limit and the load shedding, which protect the app and so also what stands in for
it, and before the adaptive limit, whose measured loop a delay of ours would defeat (envoy#38338). To callers
an injected failure looks like the app's own: their retries and breakers are exercised, not switched off.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .io.deadlines import Deadlines, Timer
from .policy.fault import Action, Fault, FaultInjector, FaultRule

if TYPE_CHECKING:
    from .observe.events import EventLog
    from .wire.events import RequestHead

DELAY = "delay"
# Whoever put a fault takes its document away at its end; that may reach us a moment before the end itself.
END_SLACK_S = 1.0


class Faults:
    """`apply` swaps the set, `draw` asks for one request; each rule's begin and end is an event.

    Args:
        instance: whose faults these are; part of each request's seed.
        rng: seeds nothing but the dice that nobody seeds (none does, on the data path).
    """

    def __init__(
        self,
        instance: str,
        deadlines: Deadlines,
        events: EventLog,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._instance = instance
        self._salt = instance.encode()
        self._deadlines = deadlines
        self._events = events
        self._dice = random.Random(rng.getrandbits(64))
        self.injector = FaultInjector(clock, self._dice)
        self.counts = dict.fromkeys((DELAY, *(action.value for action in Action if action in _COUNTED)), 0)
        self.hanging = 0  # requests that a fault holds and will never let on
        self._timer = Timer(self._expire)

    @property
    def rules(self) -> tuple[FaultRule, ...]:
        """In force; empty, and so falsy, in normal operation."""
        return self.injector.rules

    def apply(self, rules: Sequence[FaultRule]) -> None:
        """From the next request on; those under way keep the fault that they have."""
        before = {rule.name: rule for rule in self.rules}
        over = {name for name, rule in before.items() if self.injector.left(rule) < END_SLACK_S}
        injected = dict(self.injector.injected)
        self.injector.replace(rules)
        after = {rule.name: rule for rule in self.rules}
        for name, rule in before.items():
            if name not in after:
                self._tell(rule, "expired" if name in over else "removed", injected.get(name, 0))
        for name, rule in after.items():
            if before.get(name) != rule:
                self._tell(rule, "applied", 0)
        self._arm()

    def draw(self, head: RequestHead, request_id: bytes) -> Fault | None:
        """The fault of this request, if it has one; hand it back to `done` when the request is over.

        The dice are seeded by the request, so the same request meets the same fate again and explains
        itself; the attempt's number and the instance are part of the seed, for a retry is another throw.
        """
        fields = head.fields
        attempt, parent = fields.get(b"x-envoy-attempt-count", b"1"), fields.get(b"traceparent", b"")
        self._dice.seed(b"|".join((request_id, attempt, parent, self._salt)))
        headers = [(low, value) for _, low, value in head.headers]
        fault = self.injector.draw(head.method, head.target, headers, request_id, head.host)
        if fault is not None:
            if fault.delay_s:
                self.counts[DELAY] += 1
            if fault.action is not Action.NONE:
                self.counts[fault.action.value] += 1
        return fault

    def done(self, fault: Fault) -> None:
        """The request is over."""
        self.injector.done(fault)

    def snapshot(self) -> list[dict[str, Any]]:
        """The rules in force, each with what it does, how often it did, and what is left of its time."""
        words = {rule.name: describe(rule) for rule in self.rules}
        rows = (dict(row) for row in self.injector.snapshot())
        return [{**row, "what": what} for row in rows if (what := words[str(row["name"])])]

    def _arm(self) -> None:
        end = self.injector.next_end()
        if end < math.inf:
            self._deadlines.arm(self._timer, end)
        else:
            self._timer.cancel()

    def _expire(self) -> None:
        for rule in self.injector.expire():
            self._tell(rule, "expired", self.injector.injected.get(rule.name, 0))
        self._arm()

    def _tell(self, rule: FaultRule, after: str, injected: int) -> None:
        what = describe(rule)
        if not what:
            return  # a rule without a fault, which only keeps later ones from its requests
        numbers: dict[str, float | None] = {"ttl_s": rule.ttl_s, "injected": injected}
        if rule.delay is not None:
            numbers["delay_ms"] = round(1000 * rule.delay.mean_s, 3)
        self._events.add(
            "fault",
            upstream="",
            endpoint=self._instance,
            fault=rule.name,
            before="" if after == "applied" else "applied",
            after=after,
            reason=f"fault {rule.name}: {what}",
            numbers=numbers,
        )


_COUNTED = frozenset(Action) - {Action.NONE, Action.FAIL_FIRST}  # the latter acts as an abort

_WORDS: dict[Action, Callable[[FaultRule], str]] = {
    Action.ABORT: lambda rule: f"answer {rule.status}",
    Action.FAIL_FIRST: lambda rule: f"answer {rule.status} to the first {rule.count} tries of a request",
    Action.RESET: lambda rule: "reset the connection",
    Action.HANG: lambda rule: "never answer",
    Action.TRUNCATE: lambda rule: f"cut the body after {rule.after_bytes} bytes",
    Action.SLOW_BODY: lambda rule: f"body at {rule.bytes_per_s:g} bytes/s",
}


def describe(rule: FaultRule) -> str:
    """What a rule does, in words; empty if it does nothing."""
    parts = []
    if rule.delay is not None and rule.delay_percent > 0.0:
        shape = rule.delay.shape.value
        parts.append(f"{shape} delay of {1000 * rule.delay.mean_s:g} ms for {rule.delay_percent:g} %")
    if rule.action is not Action.NONE and rule.action_percent > 0.0:
        parts.append(f"{_WORDS[rule.action](rule)} for {rule.action_percent:g} %")
    if parts and rule.ttl_s is not None:
        parts.append(f"ends after {rule.ttl_s:g} s")
    return ", ".join(parts)
