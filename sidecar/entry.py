"""An inbound request that a policy touches: its fault and its place in the adaptive limit, both given back.

Most requests have none of this: they go straight to the app, and no object of this kind is made. Times are
kept by the exchange's own timer (`Exchange.wake`), which calls `go_on`. The states of a fault:

  delayed   `go_on` lets the request on: to its abort, reset or hang, else to the app
  hanging   nothing happens until the client leaves, the deadline passes, or `go_on` cuts the connection
  admitted  at the app; if the answer is slowed, `go_on` sends its next piece
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from .errors import Flag, MeshError
from .faulty_answer import CutAnswer, SlowAnswer
from .policy.fault import HELD_MAX_S, Action, Fault

if TYPE_CHECKING:
    from .attempt import Target
    from .exchange import Exchange
    from .inbound import Inbound
    from .policy.adaptive import AdaptiveLimit


class _State(enum.Enum):
    ADMITTED = 0
    DELAYED = 1
    HANGING = 2


class Entry:
    """`begin` answers like `Proxy.route`; `over` is called once, at the exchange's end."""

    __slots__ = ("_exchange", "_fault", "_flags", "_inbound", "_limit", "_slow", "_state")

    def __init__(self, inbound: Inbound, exchange: Exchange) -> None:
        self._inbound = inbound
        self._exchange = exchange
        self._fault: Fault | None = None
        self._flags: tuple[str, ...] = ()
        self._limit: AdaptiveLimit | None = None
        self._slow: SlowAnswer | None = None
        self._state = _State.ADMITTED

    @property
    def holds(self) -> bool:
        """Its caller's time runs, whatever is done to the request here."""
        return False

    def begin(self) -> Target | MeshError | None:
        """Where the request goes, why it is refused, or None: its fault decides later, or has done so."""
        inbound, exchange = self._inbound, self._exchange
        refused = inbound.protection.check(exchange.head)
        if refused is not None:
            return refused
        faults = inbound.faults
        if faults.rules:
            self._fault = fault = faults.draw(exchange.head, exchange.request_id)
            if fault is not None:
                exchange.entry = self
                if fault.delay_s > 0.0:
                    self._state = _State.DELAYED
                    self._flags = ("DI",)
                    exchange.wake(inbound.clock() + fault.delay_s)
                    return None
                return self._act(fault)
        return self._admit()

    def go_on(self) -> None:
        """The time that the exchange was asked to wake at has come."""
        fault, state, exchange = self._fault, self._state, self._exchange
        assert fault is not None
        if state is _State.DELAYED:
            self._state = _State.ADMITTED
            found = self._act(fault)
            if found is not None:
                exchange.routed(found)
        elif state is _State.HANGING:
            exchange.cut(f"it ended after {HELD_MAX_S:g} s", reset=True)
        elif self._slow is not None:
            self._slow.go_on()

    def enter(self) -> MeshError | None:
        """Take a place in the adaptive limit, now that the request goes to the app; or why there is none."""
        inbound = self._inbound
        limit = inbound.protection.adaptive
        if limit is None:
            return None
        refused = inbound.protection.enter(limit, self._exchange.head)
        if refused is None:
            self._limit = limit
        return refused

    def over(self) -> None:
        """The exchange has ended, however it did."""
        limit, self._limit = self._limit, None
        if limit is not None:
            exchange = self._exchange
            good = exchange.flag is None and exchange.status < 500 and exchange.upstream_s > 0.0
            limit.leave(exchange.upstream_s, sample=good)
        if self._state is _State.HANGING:
            self._state = _State.ADMITTED
            self._inbound.faults.hanging -= 1
        fault, self._fault = self._fault, None
        if fault is not None:
            self._inbound.faults.done(fault)

    def flags(self, own: str) -> str:
        """The response flags: of what was injected, and the exchange's own (`-` = none)."""
        found = self._flags if own == "-" or own in self._flags else (*self._flags, own)
        return ",".join(found) or "-"

    def explain(self, detail: str) -> str:
        """The words for the access log and the client, with the fault's name."""
        if self._fault is None or not self._flags:
            return detail
        name = f"fault {self._fault.rule.name}"
        return f"{name}: {detail}" if detail else name

    # -- inside --------------------------------------------------------------------------------------

    def _admit(self) -> Target:
        """To the app; `enter` is called when it goes there."""
        if self._inbound.protection.adaptive is not None:
            self._exchange.entry = self
        return self._inbound.app

    def _act(self, fault: Fault) -> Target | MeshError | None:
        exchange, action = self._exchange, fault.action
        if action is Action.NONE:
            return self._admit()
        if action is Action.ABORT:
            self._flags += ("FI",)
            return MeshError(Flag.FI, "aborted", status=fault.status)
        if action is Action.RESET:
            self._flags += ("FI",)
            exchange.cut("the connection was reset", reset=True)
            return None
        if action is Action.HANG:
            self._flags += ("FI",)
            self._state = _State.HANGING
            self._inbound.faults.hanging += 1
            exchange.wake(self._inbound.clock() + HELD_MAX_S)
            return None
        client, head = exchange.client, exchange.head
        if action is Action.TRUNCATE:
            after, spoils = fault.after_bytes, self._spoils
            exchange.answer = CutAnswer(self._inbound, client, head, after, spoils, self._truncated)
        elif action is Action.SLOW_BODY:
            rate, spoils = fault.bytes_per_s, self._spoils
            exchange.answer = self._slow = SlowAnswer(self._inbound, client, head, rate, exchange, spoils)
        return self._admit()

    def _truncated(self, framed: bool) -> None:
        """As much as may pass has passed; a body until close must not look whole."""
        self._exchange.cut("the body was truncated", reset=not framed)

    def _spoils(self) -> None:
        """The answer will not be as the app made it."""
        if "FI" not in self._flags:
            self._flags += ("FI",)
