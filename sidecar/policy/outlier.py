"""The breakers of one service together: who may be opened, who is held, and when time must be looked at.

The floor keeps `max(1, ceil(N * min_ready))` endpoints from being opened, the worst are opened first. It is
there so that a service is never ejected as a whole; it is not there to feed the dead. So an endpoint that a
rule condemns beyond the floor is *held*: still closed, but
- on certain evidence (refused, reset, silent, everything failed: score >= 0.9) it gets only probes, one at a
  time with the same growing pauses as an open one, as long as any other endpoint is ready;
- on partial evidence it keeps a share of `1 - score`.
Verdicts about time (slow, silent) fall only if the others are less than half as slow. Where all are silent,
each is held with half a share: nobody is preferred, and admission begins.
N = 2, one dead: floor 1, the dead one is opened. N = 3, two dead: floor 2, one is opened, one held, and all
traffic goes to the third. N = 3, all dead: one open, two held, none ready: requests are spread over the held
ones and thinned by `admission.py`. N = 1: never opened, held at once, and admission does the work.
Membership can shrink under the open ones; then the least bad of them turn from open to held.
"""

import math
from collections.abc import Callable
from typing import Final

from .breaker import NEVER, Breaker
from .events import Listener, PolicyEvent
from .machine import WORDS, State
from .outcome import Outcome
from .outlier_detection import OutlierDetector, OutlierPolicy
from .trip_rules import BreakerPolicy, Verdict

SWAP_MARGIN: Final = 0.2  # how much worse one must be to take the place of an open one
SLOW_CHECK_S: Final = 0.5  # asking all others whether they are as slow costs O(N): not for every sample
PEER_SHARE: Final = 0.5  # others at least half as slow: the service is slow, not the endpoint
SILENT_SCORE: Final = 1.0  # of a verdict by silence; those by slow calls are below
PARTIAL_SHARE_MIN: Final = 0.05


class Outlier:
    """Keeps the breakers by endpoint id. `due_at` is the earliest time at which `advance` has work.

    `on_change()` is called after every change that decides about picks.
    """

    __slots__ = (
        "_breakers", "_clock", "_listener", "_on_change", "_opened", "_slow_check_at", "_timed", "_upstream",
        "detector", "due_at", "policy", "refusals",
    )  # fmt: skip

    def __init__(
        self,
        upstream: str,
        policy: BreakerPolicy,
        listener: Listener,
        on_change: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self.policy = policy
        self.due_at = NEVER
        self.detector: OutlierDetector | None = None  # of a document
        self.refusals = 0  # trips that the floor turned into a hold
        self._upstream = upstream
        self._breakers: dict[str, Breaker] = {}
        self._timed: dict[str, Breaker] = {}  # those with a due_at
        self._opened: dict[
            str, Breaker
        ] = {}  # open or half-open by rule; pins of an operator are not counted
        self._slow_check_at = 0.0
        self._listener = listener
        self._on_change = on_change
        self._clock = clock

    # ---- membership --------------------------------------------------------------------------------

    def add(self, breaker: Breaker) -> None:
        """The breaker counts from now on."""
        self._breakers[breaker.key] = breaker
        self.touch(breaker)

    def remove(self, endpoint_id: str) -> Breaker | None:
        """It counts no longer; its own state stays as it is."""
        breaker = self._breakers.pop(endpoint_id, None)
        if self.detector is not None:
            self.detector.forget(endpoint_id)
        self._timed.pop(endpoint_id, None)
        self._opened.pop(endpoint_id, None)
        self._find_due()
        return breaker

    def set_policy(self, policy: BreakerPolicy) -> None:
        """New rules for all; what was seen stays, and what was judged, as long as they judge at all."""
        dismissed = self.policy.enabled and not policy.enabled
        self.policy = policy
        for breaker in self._breakers.values():
            breaker.set_policy(policy)
            if dismissed:
                breaker.acquit(self._clock())
        self.enforce_floor()

    def set_detection(self, policy: OutlierPolicy | None) -> None:
        """A document's rules from now on, or none; other rules than before begin with nobody ejected."""
        if policy == (None if self.detector is None else self.detector.policy):
            return
        now = self._clock()
        self.detector = None if policy is None else OutlierDetector(policy, now)
        for breaker in self._breakers.values():
            if breaker.ejected:
                breaker.uneject(now, "other rules")

    def detect(self, breaker: Breaker, outcome: Outcome, status: int, now: float) -> None:
        """An attempt ended; only called with a `detector`."""
        detector = self.detector
        assert detector is not None
        reason = detector.record(breaker.key, outcome, status)
        if not reason or breaker.state is not State.CLOSED or breaker.forced is not None:
            return
        if self._breakers.get(breaker.key) is breaker and detector.admits(len(self._breakers)):
            breaker.eject(now, detector.eject(breaker.key, now), f"outlier detection: {reason}")

    @property
    def floor(self) -> int:
        """Endpoints that are never opened by rule."""
        return max(1, math.ceil(len(self._breakers) * self.policy.min_ready - 1e-9))

    @property
    def opened(self) -> int:
        """Endpoints that a rule has open or half-open."""
        return len(self._opened)

    def enforce_floor(self) -> None:
        """After membership or policy changed: no more open ones than allowed."""
        now = self._clock()
        while self.opened > max(0, len(self._breakers) - self.floor):
            mildest = min(self._opened.values(), key=lambda breaker: breaker.score)
            mildest.hold(now, Verdict("the floor: too few endpoints are left", mildest.score, False, {}))

    # ---- what breakers call ------------------------------------------------------------------------

    def trip(self, breaker: Breaker, verdict: Verdict, now: float) -> None:
        """A rule fired: open it if the floor allows, else trade places with a milder one, else hold it."""
        if verdict.slow and not self._slower_than_others(breaker, verdict, now):
            if verdict.score >= SILENT_SCORE and not breaker.held:
                breaker.hold(now, Verdict(verdict.reason + ", as everywhere", 0.5, True, verdict.numbers))
            return
        room = len(self._breakers) - self.floor - self.opened
        if room > 0:
            breaker.open(now, verdict)
            return
        mildest = min(self._opened.values(), key=lambda other: other.score, default=None)
        if mildest is not None and mildest.score + SWAP_MARGIN < verdict.score:
            mildest.hold(now, Verdict("the floor: a worse one was opened", mildest.score, False, {}))
            breaker.open(now, verdict)
        elif not breaker.held:
            self.refusals += 1
            breaker.hold(now, verdict)
        elif verdict.score > breaker.score + SWAP_MARGIN:
            breaker.hold(now, verdict)

    def changed(
        self, breaker: Breaker, kind: str, before: str, after: str, numbers: dict[str, float]
    ) -> None:
        """Recount, tell, and let the stack rebuild its list of candidates."""
        if self._breakers.get(breaker.key) is not breaker:
            return  # removed: an answer still in flight must not speak for it
        detector = self.detector
        if detector is not None and breaker.key in detector.ejected and not breaker.ejected:
            detector.returned(breaker.key, self._clock())
        self.touch(breaker)
        self._on_change()
        if kind:
            self._listener(
                PolicyEvent(
                    self._clock(), kind, self._upstream, breaker.key, before, after, breaker.reason, numbers
                )
            )

    # ---- time --------------------------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Let everything happen whose time has come."""
        for breaker in list(self._timed.values()):
            if now >= breaker.due_at:
                breaker.advance(now)
                self.touch(breaker)

    def touch(self, breaker: Breaker) -> None:
        """Look at the breaker again: its `due_at` also moves without a change of state (a probe began)."""
        key = breaker.key
        if breaker.due_at < NEVER:
            self._timed[key] = breaker
        else:
            self._timed.pop(key, None)
        if breaker.state is not State.CLOSED and breaker.forced is None and not breaker.ejected:
            self._opened[key] = breaker
        else:
            self._opened.pop(key, None)
        self._find_due()

    # ---- gates -------------------------------------------------------------------------------------

    def all_bad(self) -> bool:
        """Nobody is left that no rule has condemned."""
        return (
            bool(self._breakers)
            and not self._panics()
            and not any(
                breaker.state is State.CLOSED and not breaker.held for breaker in self._breakers.values()
            )
        )

    def gate(self, breaker: Breaker) -> float:
        """What part of its normal traffic the endpoint may have: 0 = none but probes."""
        if breaker.state is not State.CLOSED or breaker.dead:
            return 1.0 if breaker.ejected and self._panics() else 0.0
        if breaker.held:
            return max(PARTIAL_SHARE_MIN, 1.0 - breaker.score)
        return breaker.ramp

    def _panics(self) -> bool:
        return self.detector is not None and self.detector.panics(len(self._breakers))

    def describe(self) -> str:
        """Asserted in tests: the count of each state."""
        counts: dict[str, int] = {}
        for breaker in self._breakers.values():
            word = "held" if breaker.held else WORDS[breaker.state]
            counts[word] = counts.get(word, 0) + 1
        return " ".join(f"{word}={counts[word]}" for word in sorted(counts))

    # ---- inside ------------------------------------------------------------------------------------

    def _find_due(self) -> None:
        self.due_at = min((breaker.due_at for breaker in self._timed.values()), default=NEVER)

    def _slower_than_others(self, breaker: Breaker, verdict: Verdict, now: float) -> bool:
        if now < self._slow_check_at and verdict.score < SILENT_SCORE:
            return False
        self._slow_check_at = now + SLOW_CHECK_S
        total = slow = 0
        for other in self._breakers.values():
            if other is not breaker and other.state is State.CLOSED and not other.held:
                other.window.rotate(now)
                total += other.window.total
                slow += other.window.slow
        own = breaker.window.slow / max(1, breaker.window.total)
        return total > 0 and slow / total < PEER_SHARE * own
