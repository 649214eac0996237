"""Circuit breaker of one endpoint, as one caller sees it.

pybreaker holds the state (closed, open, half-open) and tells of its transitions; what it lacks stands here:
an injected clock, two-phase use (`pick` now, `record` later), rolling-window rules, bounded probes with a
deadline, growing open time, a ramp, epochs, a floor over the pool (with `outlier.py`) and operator pins.

    CLOSED --rule--> OPEN(level, until) --time, at a pick--> HALF_OPEN(permits, need n of n)
    HALF_OPEN --all good--> CLOSED in RAMP(5, 10, 25, 50 %) --each step's time--> CLOSED (100 %)
    HALF_OPEN --one bad, or a probe without an answer--> OPEN(level + 1)
    RAMP --rule--> OPEN(level + 1)
    CLOSED --rule, but the floor is reached--> HELD (still closed: `outlier.py`) --good again--> RAMP

The rules are in `trip_rules.py`, what they judge in `sightings.py`. Every change of state starts a new
epoch; a sample carries the epoch of its pick and is dropped if that is over, so a slow answer sent before the
trip cannot decide a probe.
"""

import math
import random
from typing import Final, Protocol

from .errors import PolicyError, check_range
from .machine import WORDS, Machine, State
from .outcome import Evidence
from .sightings import Sightings
from .trip_rules import BreakerPolicy, Verdict

NEVER: Final = math.inf
OFFSET_SHARE: Final = 0.5  # a caller's own, constant part of the open time: up to half of it
JITTER_SHARE: Final = 0.5  # and as much again at random, so that ten callers do not re-test as one
LEVEL_WINDOW_S: Final = 10.0  # one clean window of this length takes one doubling back ...
LEVEL_SAMPLES: Final = 20  # ... if it proved itself by this many good answers
HELD_RUN: Final = 20  # good answers in a row that release a held endpoint that still gets traffic
FORCED_TTL_MAX_S: Final = 3600.0  # a pinned state must not outlive a demonstration


class Pool(Protocol):
    """What a breaker needs of the pool it stands in (`outlier.py`)."""

    def trip(self, breaker: "Breaker", verdict: Verdict, now: float) -> None:
        """A rule fired in a closed breaker: open it, hold it, or let it be."""

    def changed(
        self, breaker: "Breaker", kind: str, before: str, after: str, numbers: dict[str, float]
    ) -> None:
        """Something that decides about picks has changed."""


class Breaker(Sightings):
    """One endpoint's breaker; `record` is the hot path, all else is rare.

    Read by the stack: `state`, `held`, `ramp` (share 0..1), `epoch`, `due_at` (when `advance` has something
    to do, `inf` if never), `probe_free`. `offset` in 0..1 is the caller's constant place in the open time.
    """

    __slots__ = (
        "_clean_samples", "_clean_since", "_late_from", "_machine", "_numbers", "_pool", "_probes",
        "_ramp_step", "_rng", "due_at", "ejected", "epoch", "forced", "good_run", "held", "key", "level",
        "offset", "opens", "probe_deadline", "ramp", "reason", "score", "since", "state", "until",
    )  # fmt: skip

    def __init__(
        self, key: str, policy: BreakerPolicy, pool: Pool, offset: float, rng: random.Random
    ) -> None:
        super().__init__(policy)
        self.key = key  # the endpoint's id
        self.offset = offset
        self.state = State.CLOSED
        self.held = False
        self.ejected = False  # open by outlier detection: there is no half-open state behind it
        self.forced: State | None = None
        self.epoch = 0
        self.level = 0  # the open time has doubled this often
        self.opens = 0
        self.reason = ""
        self.score = 0.0
        self.since = 0.0  # of the present state
        self.until = 0.0  # end of OPEN, of a pin, or the next probe of HELD
        self.ramp = 1.0
        self.good_run = 0  # while probing or held
        self._probes: list[float] = []  # when those in flight were sent, the oldest first
        self._late_from = 0.0  # a probe's answer was last known to be under way
        self.probe_deadline = NEVER
        self.due_at = NEVER
        self._ramp_step = 0
        self._clean_since = 0.0
        self._clean_samples = 0
        self._numbers: dict[str, float] = {}
        self._pool = pool
        self._rng = rng
        self._machine = Machine(self._moved)

    def __repr__(self) -> str:
        held = " held" if self.held else ""
        ramp = f" ramp={self.ramp:g}" if self.ramp < 1.0 else ""
        return f"<Breaker {WORDS[self.state]}{held}{ramp} level={self.level} epoch={self.epoch}>"

    # ---- the hot path ------------------------------------------------------------------------------

    def record(
        self, evidence: int, slow: bool, epoch: int, probe: bool, now: float, started: float = 0.0
    ) -> None:
        """One attempt ended. `evidence` is one of GOOD ... LATE, `probe` and `started` as the pick said."""
        if epoch != self.epoch:
            return
        if self.state is State.CLOSED and not probe:
            self.seen += 1
            if evidence == 0 and not slow:  # Evidence.GOOD as a number: an enum lookup costs 40 ns
                if self.failure_run:
                    self.failure_run = max(0.0, self.failure_run - self.policy.forgive)
                if self.certain_run:
                    self.certain_run = 0
                self.window.record(now, 0, 0)
                if self.level or self.held:
                    self._proved(now)
            elif evidence != Evidence.NEUTRAL:
                self._spoiled(evidence, now)
        else:
            if probe:
                self._probe_ended(started)
            self._probed(evidence, slow, now)

    # ---- closed ------------------------------------------------------------------------------------

    def _spoiled(self, evidence: int, now: float) -> None:
        self._count_spoiled(evidence, now)
        self.good_run = 0
        self._clean_since = now
        self._clean_samples = 0
        if self.policy.enabled and self.forced is None:
            verdict = self.verdict()
            if verdict is not None:
                self._pool.trip(self, verdict, now)

    def _proved(self, now: float) -> None:
        """A good answer where one is worth something: a held endpoint, or a level to take back."""
        if self.held:
            self.good_run += 1
            if self.good_run >= (self.policy.need if self.dead else HELD_RUN):
                self.release(now)
            return
        self._clean_samples += 1
        if self._clean_samples >= LEVEL_SAMPLES and now - self._clean_since >= LEVEL_WINDOW_S:
            self.level -= 1
            self._clean_since = now
            self._clean_samples = 0

    # ---- open, probing, held -----------------------------------------------------------------------

    @property
    def dead(self) -> bool:
        """Held on certain evidence: it gets probes only while another endpoint is ready."""
        return self.held and self.score >= 0.9

    @property
    def probe_free(self) -> bool:
        """May a probe be sent now (call `advance` first when `due_at` has passed)."""
        return len(self._probes) < self.policy.permits and (
            self.state is State.HALF_OPEN or (self.held and self.until == NEVER)
        )

    @property
    def probes(self) -> int:
        """How many are in flight."""
        return len(self._probes)

    def start_probe(self, now: float) -> None:
        """A pick took a permit."""
        self._probes.append(now)
        self._find_probe_deadline()
        self._schedule()

    def extend_probe(self, started: float, epoch: int, now: float) -> None:
        """Its answer is known to be under way: it has its whole time anew."""
        probes = self._probes
        if epoch == self.epoch and started in probes:
            self._late_from = max(self._late_from, now)
            self._find_probe_deadline()
            self._schedule()

    def _find_probe_deadline(self) -> None:
        probes = self._probes
        begun = max(probes[0], self._late_from) if probes else NEVER
        self.probe_deadline = begun + self.policy.probe_deadline_s

    def _probe_ended(self, started: float) -> None:
        """Its permit is free, and its deadline is gone with it; those of the others stay."""
        probes = self._probes
        if started in probes:
            probes.remove(started)
        elif probes:
            del probes[0]
        self._find_probe_deadline()

    def _forget_probes(self) -> None:
        """Whatever becomes of them, it is about a time that is over."""
        self._probes.clear()
        self._late_from = 0.0
        self.probe_deadline = NEVER
        self.good_run = 0

    def _probed(self, evidence: int, slow: bool, now: float) -> None:
        if self.state is State.OPEN:
            return  # unreachable by epoch; kept so that no sample can ever touch an open breaker
        if evidence == Evidence.NEUTRAL:
            self._schedule()  # the permit is free again, nothing was learnt
        elif evidence == Evidence.GOOD and not slow:
            self.good_run += 1
            if self.good_run < self.policy.need:
                self._schedule()
            elif self.held:
                self.release(now)
            else:
                self.close(now, f"{self.good_run} of {self.policy.need} probes answered")
        else:
            words = "a probe was slow" if evidence == Evidence.GOOD else "a probe failed"
            self._relapse(now, words)

    def _relapse(self, now: float, reason: str) -> None:
        self.level += 1
        if self.held:
            self._back_off(now)
            self.epoch += 1
            self._forget_probes()
            self.reason = reason
            self._numbers = {"next_probe_s": round(self.until - now, 3)}
            self._schedule()
            self._pool.changed(self, "floor", "held", "held", self._numbers)
        else:
            self.open(now, Verdict(reason, max(self.score, 0.9), False, {}))

    # ---- transitions -------------------------------------------------------------------------------

    def open(self, now: float, verdict: Verdict) -> None:
        """Closed or half-open -> open, for a time that doubles with each relapse."""
        if self.ramp < 1.0 and self.state is State.CLOSED and not self.held:
            self.level += 1  # a relapse during the ramp keeps its backoff and adds to it
        self.held = False
        self.ramp = 1.0
        self.opens += 1
        self.reason = verdict.reason
        self.score = verdict.score
        self._back_off(now)
        self._numbers = {**verdict.numbers, "open_s": round(self.until - now, 3), "level": self.level}
        self._reset(now)
        self._machine.open()

    def eject(self, now: float, until: float, reason: str) -> None:
        """Closed -> open until a time, by outlier detection."""
        self.ejected = True
        self.held = False
        self.ramp = 1.0
        self.opens += 1
        self.reason = reason
        self.score = 1.0
        self.until = until
        self._numbers = {"open_s": round(until - now, 3)}
        self._reset(now)
        self._machine.open()

    def uneject(self, now: float, reason: str) -> None:
        """Ejected -> closed, at once for all of its share, as Envoy has it."""
        self.ejected = False
        self.reason = reason
        self.score = 0.0
        self.until = 0.0
        self._numbers = {}
        self._reset(now)
        self._machine.close()

    def acquit(self, now: float) -> None:
        """Other rules judge from now on: what ours have found is forgotten, at once."""
        if self.forced is not None or self.ejected or (self.state is State.CLOSED and not self.held):
            return
        held, self.held = self.held, False
        self.level = 0
        self.ramp = 1.0
        self.reason = "other rules"
        self.score = 0.0
        self.until = 0.0
        self._numbers = {}
        self._reset(now)
        if self.state is not State.CLOSED:
            self._machine.close()
        elif held:
            self._schedule()
            self._pool.changed(self, "floor", "held", "closed", self._numbers)

    def half_open(self, now: float) -> None:
        """Open -> half-open: `policy.permits` probes at a time, `policy.need` good ones in a row."""
        self._numbers = {"permits": self.policy.permits, "need": self.policy.need}
        self.until = NEVER
        self._reset(now)
        self._machine.half_open()

    def close(self, now: float, reason: str) -> None:
        """Half-open or open -> closed, at the first step of the ramp."""
        self.reason = reason
        self.held = False
        self._begin_ramp(now)
        self._numbers = {"share": self.ramp}
        self._reset(now)
        self._machine.close()

    def hold(self, now: float, verdict: Verdict) -> None:
        """The floor forbids to open it: it stays closed, and gets what its score is worth."""
        before = "held" if self.held else WORDS[self.state]
        self.held = True
        self.ramp = 1.0
        self.reason = verdict.reason
        self.score = verdict.score
        self._back_off(now)
        self._numbers = {**verdict.numbers, "score": round(verdict.score, 3)}
        self._reset(now)
        if self.state is not State.CLOSED:
            self._machine.close()
        self._pool.changed(self, "floor", before, "held", self._numbers)

    def release(self, now: float) -> None:
        """Held -> closed; by the ramp, if it had got nothing but probes."""
        dead = self.dead
        self.held = False
        self.score = 0.0
        self.reason = f"{self.good_run} good answers in a row"
        if dead:
            self._begin_ramp(now)
        self._numbers = {"share": self.ramp}
        self._reset(now)
        self._pool.changed(self, "floor", "held", "closed", self._numbers)

    def slow_start(self, now: float, reason: str) -> None:
        """A closed endpoint that is new here takes its share by the ramp."""
        self.reason = reason
        self._begin_ramp(now)
        self._schedule()

    def force(self, state: State | None, ttl_s: float, now: float) -> None:
        """An operator pins OPEN or CLOSED for `ttl_s` seconds; None takes a pin back."""
        if state is None:
            self._unpin(now, "released by an operator")
            return
        if state is State.HALF_OPEN:
            raise PolicyError("force.state", "only open and closed can be forced")
        check_range("force.ttl_s", ttl_s, 0.1, FORCED_TTL_MAX_S)
        self.forced = state
        self.held = self.ejected = False
        self.ramp = 1.0
        self.reason = f"forced {WORDS[state]} by an operator for {ttl_s:g} s"
        self._numbers = {"ttl_s": ttl_s}
        self.until = now + ttl_s
        before = WORDS[self.state]
        self._reset(now)
        (self._machine.open if state is State.OPEN else self._machine.close)()
        self._pool.changed(self, "forced", before, WORDS[state], self._numbers)

    def _unpin(self, now: float, reason: str) -> None:
        pinned, self.forced = self.forced, None
        if pinned is State.OPEN:
            self.reason = reason
            self.half_open(now)
        elif pinned is State.CLOSED:
            self.reason = reason
            self.until = 0.0
            self._numbers = {}
            self._schedule()
            self._pool.changed(self, "forced", "forced", "closed", {})

    def renew(self, now: float) -> None:
        """The endpoint came back, perhaps as a new process: what is in flight is about the old one.

        A verdict stays and is tested at once; without one it climbs the ramp.
        """
        if self.forced is not None:
            return
        if self.ejected:  # for Envoy a host that left and came back is another one
            self.uneject(now, "came back")
            return
        self._reset(now)
        if self.state is State.CLOSED and not self.held:
            self.slow_start(now, "came back")
        elif self.state is State.HALF_OPEN:
            self.reason = "came back"
        else:
            self.reprobe(now)

    def reprobe(self, now: float) -> None:
        """Outside news (a new process, the registry saw it come back): probe now instead of later.

        What it did before the news says little: a probe that comes too early for a process that is just
        getting up costs the shortest open time, not the next step of a backoff that others earned.
        """
        if self.forced is None and not self.ejected and (self.state is State.OPEN or self.held):
            self.level = 0
            self.until = now
            self._schedule()

    # ---- time --------------------------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Do what is due: end of open, of a pin, of a ramp step, of a probe's deadline."""
        if now < self.due_at:
            return
        if self.forced is not None:
            if now >= self.until:
                self._unpin(now, "the pin ran out")
            return
        if self.ejected:
            self.uneject(now, "the time of its ejection is over")
        elif now >= self.probe_deadline:
            self._relapse(now, f"a probe had no answer for {self.policy.probe_deadline_s:g} s")
        elif self.state is State.OPEN:
            self.half_open(now)
        elif self.held:
            self.until = NEVER  # the next pick may probe it
            self._schedule()
            self._pool.changed(self, "", "held", "held", {})
        elif self.ramp < 1.0:
            self._climb(now)

    def _begin_ramp(self, now: float) -> None:
        policy = self.policy
        self._ramp_step = 0
        self.score = 0.0
        if policy.ramp and policy.ramp_s > 0.0:
            self.ramp = policy.ramp[0]
            self.until = now + policy.ramp_s / len(policy.ramp)
        else:
            self.ramp = 1.0
            self.until = 0.0

    def _climb(self, now: float) -> None:
        """Each step lasts ramp_s / steps; after a long silence several are due at once."""
        policy, before = self.policy, self.ramp
        step_s = policy.ramp_s / len(policy.ramp)
        while self.ramp < 1.0 and now >= self.until:
            self._ramp_step += 1
            self.until += step_s
            self.ramp = policy.ramp[self._ramp_step] if self._ramp_step < len(policy.ramp) else 1.0
        if self.ramp >= 1.0:
            self.until = 0.0
            self._clean_since = now
            self.reason = ""
        self._schedule()
        self._pool.changed(self, "ramp", f"{before:.0%}", f"{self.ramp:.0%}", {"share": self.ramp})

    def _back_off(self, now: float) -> None:
        policy = self.policy
        length = min(policy.open_max_s, policy.open_s * 2.0 ** min(self.level, 30))
        spread = OFFSET_SHARE * self.offset + JITTER_SHARE * self._rng.random()
        self.until = now + length * (1.0 + spread)

    def _reset(self, now: float) -> None:
        """A new epoch: nothing seen before counts."""
        self.epoch += 1
        self.since = now
        self._forget()
        self._forget_probes()
        self._clean_since = now
        self._clean_samples = 0
        self._schedule()

    def _schedule(self) -> None:
        if self.forced is not None or self.state is State.OPEN or self.held:
            self.due_at = min(self.until, self.probe_deadline)
        elif self.state is State.HALF_OPEN:
            self.due_at = self.probe_deadline
        else:
            self.due_at = self.until if self.ramp < 1.0 else NEVER

    def _moved(self, old: State, new: State) -> None:
        """pybreaker changed its state."""
        self.state = new
        self._schedule()
        if old is not new:
            self._pool.changed(self, "breaker", WORDS[old], WORDS[new], self._numbers)
