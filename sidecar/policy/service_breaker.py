"""The breaker of a whole service, as one caller sees it: what `admission.py` decides, as a state with a name.

    CLOSED --no endpoint is left that no rule has condemned--> OPEN: most requests are turned away, a tenth is
    not
    OPEN --some of those go well (turned away: less than half)--> HALF_OPEN --nobody turned away, one is
    good--> CLOSED any --operator--> pinned open (everybody is turned away) or closed (nobody is), for a time

There is no timer and no storm of probes: the share that is let through grows with the share that goes well.
"""

import random
from collections.abc import Callable

from .admission import Admission, AdmissionPolicy
from .breaker import FORCED_TTL_MAX_S
from .errors import PolicyError, check_range
from .events import Listener, PolicyEvent
from .machine import WORDS, Machine, State

HALF_OPEN_BELOW = 0.5  # turned away less than this: the service is on its way back


class ServiceBreaker:
    """`watching` is all that the hot path reads: False = everybody is admitted without a question."""

    __slots__ = (
        "_all_bad", "_clock", "_listener", "_machine", "_until", "_upstream", "admission", "forced", "opens",
        "reason", "state", "watching",
    )  # fmt: skip

    def __init__(
        self,
        upstream: str,
        policy: AdmissionPolicy,
        all_bad: Callable[[], bool],
        listener: Listener,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.admission = Admission(policy, clock, rng)
        self.state = State.CLOSED
        self.watching = False
        self.forced: State | None = None
        self.reason = ""
        self.opens = 0
        self._until = 0.0  # end of a pin
        self._upstream = upstream
        self._all_bad = all_bad
        self._listener = listener
        self._clock = clock
        self._machine = Machine(self._moved)

    def consider(self) -> None:
        """Endpoints changed: if all are bad now, begin to turn away."""
        if not self.watching and self._all_bad():
            self.watching = True
            self.reason = "every endpoint is bad"
            self._machine.open()

    def dismiss(self) -> None:
        """Other rules decide from now on: nobody is turned away, unless an operator wants it."""
        if self.watching and self.forced is None:
            self.watching = False
            self.reason = "other rules"
            self._machine.close()

    def admit(self) -> bool:
        """May this request pass; only asked while `watching`."""
        if self.forced is not None:
            if self._clock() < self._until:
                return self._admit_pinned()
            self._unpin("the pin ran out")
            if not self.watching:
                return True
        admitted = self.admission.admit()
        self._follow()
        return admitted

    def _admit_pinned(self) -> bool:
        if self.forced is State.CLOSED:
            return True
        self.admission.turned_away += 1
        return False

    def _follow(self) -> None:
        """Let the state say what the probability means."""
        probability = self.admission.probability()
        if probability <= 0.0 and not self._all_bad():
            self.watching = False
            self.reason = "enough requests went well again"
            self._machine.close()
        elif probability < HALF_OPEN_BELOW and self.state is State.OPEN and not self._all_bad():
            self.reason = f"{1.0 - probability:.0%} of the requests are let through"
            self._machine.half_open()
        elif probability >= HALF_OPEN_BELOW and self.state is State.HALF_OPEN:
            self.reason = f"{probability:.0%} of the requests are turned away again"
            self._machine.open()

    def force(self, state: State | None, ttl_s: float) -> None:
        """An operator pins the whole service; None takes the pin back."""
        if state is None:
            if self.forced is not None:
                self._unpin("released by an operator")
            return
        if state is State.HALF_OPEN:
            raise PolicyError("force.state", "only open and closed can be forced")
        check_range("force.ttl_s", ttl_s, 0.1, FORCED_TTL_MAX_S)
        self.forced = state
        self._until = self._clock() + ttl_s
        self.watching = True
        self.reason = f"forced {WORDS[state]} by an operator for {ttl_s:g} s"
        (self._machine.open if state is State.OPEN else self._machine.close)()

    def _unpin(self, reason: str) -> None:
        self.forced = None
        self.reason = reason
        self.watching = self._all_bad()
        (self._machine.open if self.watching else self._machine.close)()

    def _moved(self, old: State, new: State) -> None:
        self.state = new
        if old is new:
            return
        self.opens += new is State.OPEN
        window = self.admission.window
        numbers = {"failed": float(window.bad), "of": float(window.total)}
        self._listener(
            PolicyEvent(
                self._clock(), "breaker", self._upstream, "", WORDS[old], WORDS[new], self.reason, numbers
            )
        )

    def snapshot(self) -> dict[str, object]:
        """State, reason and numbers."""
        return {
            "breaker": WORDS[self.state],
            "reason": self.reason,
            "forced": self.forced is not None,
            "opens": self.opens,
            "turned_away": self.admission.turned_away,
            "turning_away": round(self.admission.probability(), 3) if self.watching else 0.0,
        }
