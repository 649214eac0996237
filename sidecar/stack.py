"""THE order of policies for one request to one upstream, with the reason for each position.

    start()   1 budget.deposit     first, so that a request that is turned away still counts as demand
              2 admission          before the bulkhead: a service that is down must not fill places
              3 bulkhead           before the pick: a full upstream must not raise a candidate's pending
    pick()    4 time               opens turn half-open, ramps climb, by the clock, before anyone is compared
              5 probes             a half-open endpoint gets its probe before the ready ones are compared
              6 balance            only ready endpoints; then held ones; then tried ones; an open one never
    settle()  7 pending, silence   first: the verdicts below read them
              8 latency, penalty   before the breaker, so that a trip's own numbers are in the estimate
              9 breaker            last of the charges; it may change who is ready
             10 admission window   counts attempts, whatever the breaker made of them
    may_retry 11 rules, budget     after settle: the failed endpoint is charged before the next pick
    finish()                       gives the place back

A frozen endpoint (SIGSTOP: the kernel accepts, nobody answers), N = 3 at 300 requests/s, 5 ms, p99 20 ms:
its pending attempts raise its cost at once, so 2 to 4 requests reach it; after `stall_s` (60 ms) it is passed
over; after `hedge_s` (150 ms) each idempotent attempt there is given up (`reconsider`) and repeated
elsewhere; the third is certain evidence and opens the breaker, about 200 ms after the freeze. From then on it
gets one probe per open time (1, 2, 4, ... s), each given up after 150 ms as well: 3 probes in the first 10 s,
0.1 % of the requests, so p99 of second 2 to 10 does not see them. A request that is slow while its endpoint
answers others is left alone, and so is every one while no other endpoint answers (we ourselves may have been
asleep), and when the budget is empty (the whole service became slow): giving up would only double the load.
"""

import random
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final

from sidecar.balance.endpoints import Diff, Endpoint, EndpointSet, EndpointSpec, Memory
from sidecar.balance.p2c import cost_of, is_stalled, pick_by_cost
from sidecar.balance.peak_ewma import penalised, updated
from sidecar.balance.reference import Reference
from sidecar.policy.admission import Admission
from sidecar.policy.breaker import Breaker
from sidecar.policy.concurrency import ENTERED, FULL, Bulkhead
from sidecar.policy.deadline import per_try
from sidecar.policy.events import Listener, PolicyEvent
from sidecar.policy.machine import WORDS, State
from sidecar.policy.outcome import FEEDS, Evidence, Outcome, Penalty, Share
from sidecar.policy.outlier import Outlier
from sidecar.policy.retry import NOBODY_READY, Refusal, Retry, RetryPolicy, decide_retry
from sidecar.policy.retry_budget import RetryBudget
from sidecar.policy.settings import UpstreamPolicy

GRACE_S: Final = 0.010  # for answers that already wait in our own socket when a hedge comes due
AGAIN_S: Final = 0.050  # when to look again if nobody else could take the request
PENALTY_MAX_S: Final = 30.0  # a Retry-After beyond is somebody's mistake

_FEEDS: Final = tuple(tuple(row) for row in FEEDS)  # plain tuples of enums: unpacked once per attempt


class Pick:
    """One attempt at one endpoint; hand it back to `settle` exactly once."""

    __slots__ = ("endpoint", "epoch", "looked", "probe", "started")

    def __init__(self, endpoint: Endpoint, epoch: int, probe: bool, started: float) -> None:
        self.endpoint = endpoint
        self.epoch = epoch
        self.probe = probe
        self.started = started
        self.looked = False

    def __repr__(self) -> str:
        return f"<Pick {self.endpoint.id}{' probe' if self.probe else ''} epoch={self.epoch}>"


class Rejection:
    """No attempt can be made. `flag` is the response flag, `reason` = flag and words (for
    `x-mesh-reason`).
    """

    __slots__ = ("flag", "overloaded", "reason", "retry_after", "status", "wait_s")

    def __init__(
        self,
        flag: str,
        words: str,
        status: int = 503,
        retry_after: float | None = None,
        overloaded: bool = False,
        wait_s: float = 0.0,
    ) -> None:
        self.flag = flag
        self.reason = f"{flag} {words}"
        self.status = status
        self.retry_after = retry_after
        self.overloaded = overloaded  # answer with `x-envoy-overloaded`: callers must not retry
        self.wait_s = wait_s  # > 0: the request may wait this long for a place (it is counted as pending)

    def __repr__(self) -> str:
        return f"<Rejection {self.status} {self.reason}>"


class Upstream:
    """One destination service as this sidecar calls it; lives as long as the sidecar."""

    __slots__ = (
        "_answered_at", "_bulkhead", "_caller", "_clock", "_due_at", "_held", "_known", "_listener",
        "_memory", "_outlier", "_probing", "_ready", "_rng", "_suspects", "admission", "budget", "endpoints",
        "name", "policy", "reference",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        policy: UpstreamPolicy,
        listener: Listener,
        caller: str,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.name = name
        self.policy = policy
        self.endpoints = EndpointSet()
        self.reference = Reference()
        self.budget = RetryBudget(policy.budget, clock)
        self.admission = Admission(policy.admission, clock, rng)
        self._bulkhead = Bulkhead(policy.bulkhead)
        self._outlier = Outlier(name, policy.breaker, listener, self._rebuild, clock)
        self._memory = Memory()
        self._ready: list[Endpoint] = []  # closed, with a share of normal traffic
        self._held: list[Endpoint] = []  # closed, but dead as far as we know
        self._probing: list[Endpoint] = []  # with a free permit
        self._suspects: list[Endpoint] = []  # closed, and the last attempt had no answer at all
        self._known = False  # a first set of endpoints has been seen
        self._due_at = 0.0
        self._answered_at = 0.0  # by any endpoint
        self._listener = listener
        self._caller = caller
        self._clock = clock
        self._rng = rng

    def __repr__(self) -> str:
        return f"<Upstream {self.name} {self._outlier.describe()}>"

    # ---- membership and policy ---------------------------------------------------------------------

    def update(self, specs: Sequence[EndpointSpec]) -> Diff:
        """Take over a snapshot of the registry; state of who stays is kept, who is new climbs the ramp."""
        now = self._clock()
        to_add, removed, to_describe = self.endpoints.compare(specs)
        for endpoint in removed:
            self._outlier.remove(endpoint.id)
            self._memory.remember(endpoint, now)
        added = [self._new_endpoint(spec, now) for spec in to_add]
        kept = []
        for endpoint, spec in to_describe:
            if endpoint.health != spec.health and spec.health == "passing":
                endpoint.breaker.reprobe(now)
            endpoint.describe(spec)
            kept.append(endpoint)
        self.endpoints.replace(removed, added)
        for endpoint in added:
            self._outlier.add(endpoint.breaker)
        self._outlier.enforce_floor()
        for endpoint in kept:
            self._outlier.touch(endpoint.breaker)
        self._known = self._known or bool(added)
        self._rebuild()
        for endpoint in removed:
            self._tell(now, "membership", endpoint.id, "member", "gone", endpoint.address)
        for endpoint in added:
            self._tell(now, "membership", endpoint.id, "gone", "member", endpoint.address)
        return Diff(tuple(added), tuple(removed), tuple(kept))

    def _new_endpoint(self, spec: EndpointSpec, now: float) -> Endpoint:
        recalled = self._memory.recall(spec.id, now)
        if recalled is not None:
            breaker = recalled[1]
            breaker.policy = self.policy.breaker
            if breaker.state is State.CLOSED and not breaker.held:
                breaker.slow_start(now, "came back")
            else:
                breaker.reprobe(now)  # the registry saw it alive: probe at once, but probe
        else:
            offset = zlib.crc32(f"{self._caller} {spec.id}".encode()) / 2**32
            breaker = Breaker(spec.id, self.policy.breaker, self._outlier, offset, self._rng)
            if self._known and self.policy.balance.slow_start:
                breaker.slow_start(now, "joined a running set")
        return Endpoint(spec, breaker, now)

    def set_policy(self, policy: UpstreamPolicy) -> None:
        """New settings; latency, breakers, counts and the budget's window stay."""
        self.policy = policy
        self.budget.policy = policy.budget
        self.admission.policy = policy.admission
        self._bulkhead.policy = policy.bulkhead
        self._outlier.set_policy(policy.breaker)
        self._rebuild()

    def force(self, endpoint_id: str, state: State | None, ttl_s: float = 60.0) -> bool:
        """An operator pins a breaker open or closed for a time, None unpins; False if no such endpoint."""
        endpoint = self.endpoints.get(endpoint_id)
        if endpoint is None:
            return False
        endpoint.breaker.force(state, ttl_s, self._clock())
        self._outlier.touch(endpoint.breaker)
        self._rebuild()
        return True

    # ---- a request ---------------------------------------------------------------------------------

    def start(self) -> Rejection | None:
        """Admit a request: None = admitted, call `finish` once. With `wait_s` > 0 it may wait: see
        `promote`.
        """
        self.budget.deposit()
        if self.admission.limiting and not self._admitted():
            return Rejection(
                "UH",
                f"every endpoint of {self.name} fails, {self.admission.probability():.0%} are held back",
                retry_after=1.0,
                overloaded=True,
            )
        entered = self._bulkhead.enter()
        if entered == ENTERED:
            return None
        limits = self.policy.bulkhead
        if entered == FULL:
            return Rejection(
                "UO",
                f"{limits.max_active} requests to {self.name} are active and {self._bulkhead.pending} wait",
                retry_after=1.0,
                overloaded=True,
            )
        return Rejection(
            "UO",
            f"no place at {self.name} within {limits.max_wait_s:g} s",
            retry_after=1.0,
            overloaded=True,
            wait_s=limits.max_wait_s,
        )

    def promote(self) -> bool:
        """The first waiting request tries to enter; True = admitted (call `finish` once)."""
        return self._bulkhead.promote()

    def abandon_wait(self) -> None:
        """A waiting request gave up; answer it with the Rejection that it got."""
        self._bulkhead.abandon()

    def finish(self) -> None:
        """An admitted request is over, however."""
        self._bulkhead.leave()

    def _admitted(self) -> bool:
        if self.admission.admit():
            if self._ready and self.admission.probability() <= 0.0:
                self.admission.limiting = False
                self._tell(
                    self._clock(), "admission", "", "limiting", "open to all", "the share of success is good"
                )
            return True
        return False

    # ---- an attempt --------------------------------------------------------------------------------

    def pick(
        self, tried: Sequence[Endpoint], key: int | None = None, probe_ok: bool = True
    ) -> Pick | Rejection:
        """The endpoint for the next attempt; its pending count is already raised.

        `probe_ok`: this request may test a half-open endpoint (idempotent, or otherwise safe to repeat).
        """
        now = self._clock()
        if now >= self._due_at:
            self._advance(now)
        if probe_ok and not tried:
            if self._probing:
                return self._pick_probe(now)
            if self._suspects:
                suspect = self._pick_suspect(now)
                if suspect is not None:
                    return suspect
        ready = self._ready
        if len(ready) == 1 and not tried:
            endpoint: Endpoint | None = ready[0]
        else:
            endpoint = pick_by_cost(ready, tried, self.reference, now, self._rng)
        if endpoint is None:
            endpoint = self._pick_least_bad(tried, now)
            if endpoint is None:
                return self._nobody()
        if not endpoint.pending:
            endpoint.silent_since = now
        endpoint.pending += 1
        return Pick(endpoint, endpoint.breaker.epoch, False, now)

    def _pick_probe(self, now: float) -> Pick:
        endpoint = self._probing[0] if len(self._probing) == 1 else self._rng.choice(self._probing)
        breaker = endpoint.breaker
        breaker.start_probe(now)
        self._outlier.touch(breaker)
        self._find_probing()
        self._find_due()
        if not endpoint.pending:
            endpoint.silent_since = now
        endpoint.pending += 1
        return Pick(endpoint, breaker.epoch, True, now)

    def _pick_suspect(self, now: float) -> Pick | None:
        """An endpoint that just did not answer, once or twice: ask it again now, one request at a time.

        Its penalty would keep all traffic away for seconds, and with it the proof of either kind.
        """
        for endpoint in self._suspects:
            if not endpoint.pending and endpoint.share > 0.0:
                endpoint.silent_since = now
                endpoint.pending = 1
                return Pick(endpoint, endpoint.breaker.epoch, False, now)
        return None

    def _pick_least_bad(self, tried: Sequence[Endpoint], now: float) -> Endpoint | None:
        """No ready endpoint is left untried: a held one, else one that was tried; never an open one."""
        if self._held:
            untried = [endpoint for endpoint in self._held if endpoint not in tried]
            if untried and not self._ready:
                return self._rng.choice(untried)
        if self._ready:
            return pick_by_cost(self._ready, (), self.reference, now, self._rng)
        return self._rng.choice(self._held) if self._held else None

    def _nobody(self) -> Rejection:
        if not self.endpoints.all:
            return Rejection("UH", f"no healthy endpoint of {self.name} is known", retry_after=1.0)
        words = f"no endpoint of {self.name} may be used ({self._outlier.describe()})"
        return Rejection("UH", words, retry_after=1.0)

    def settle(
        self, pick: Pick, outcome: Outcome, elapsed_s: float, retry_after_s: float | None = None
    ) -> None:
        """The attempt ended; `elapsed_s` to the first byte of the answer, or to the failure."""
        now = self._clock()
        endpoint = pick.endpoint
        reference = self.reference
        evidence, _, penalty, share, latency, answered = _FEEDS[outcome]
        endpoint.pending -= 1
        endpoint.requests += 1
        slow = elapsed_s > reference.slow_s
        if answered:
            endpoint.answered_at = endpoint.silent_since = self._answered_at = now
        if evidence:  # anything but GOOD
            evidence = self._weigh(pick, evidence, slow)
            if share is Share.FAILED:
                endpoint.failures += 1
        if latency:
            endpoint.latency.record(elapsed_s, now)
            if answered or elapsed_s > endpoint.ewma:
                self._measure(endpoint, elapsed_s, now)
        if penalty:
            self._penalise(endpoint, penalty, elapsed_s, retry_after_s, now)
        breaker = endpoint.breaker
        breaker.record(evidence, slow, pick.epoch, pick.probe, now)
        if breaker.certain_run:
            if endpoint not in self._suspects:
                self._suspects.append(endpoint)
        elif self._suspects and endpoint in self._suspects:
            self._suspects.remove(endpoint)
        if pick.probe:
            self._outlier.touch(breaker)
            self._find_probing()
            self._find_due()
        if share:
            self.admission.window.record(now, share - 1, 0)

    def _weigh(self, pick: Pick, evidence: int, slow: bool) -> int:
        """Turn the two conditional kinds of evidence into plain ones."""
        if evidence == Evidence.BY_SILENCE:
            return Evidence.SILENT if self._silence(pick) >= 0.0 else Evidence.LATE
        if evidence == Evidence.IF_SLOW:
            return Evidence.LATE if slow else Evidence.NEUTRAL
        return evidence

    def _silence(self, pick: Pick) -> float:
        """Seconds beyond `hedge_s` for which the endpoint has answered nobody; negative = until it would be
        so.

        An attempt of its own age counts as silent only if nothing was answered after it was sent.
        """
        endpoint = pick.endpoint
        if endpoint.answered_at <= pick.started:
            return 0.0
        return self._clock() - endpoint.answered_at - self.reference.hedge_s

    def _measure(self, endpoint: Endpoint, elapsed_s: float, now: float) -> None:
        if endpoint.measured:
            endpoint.ewma = updated(endpoint.ewma, elapsed_s, now - endpoint.ewma_at, self.reference.decay_s)
        else:
            endpoint.ewma = elapsed_s
            endpoint.measured = True
        endpoint.ewma_at = now

    def _penalise(
        self, endpoint: Endpoint, penalty: int, elapsed_s: float, retry_after_s: float | None, now: float
    ) -> None:
        worth = max(self.reference.penalty_s, elapsed_s, min(retry_after_s or 0.0, PENALTY_MAX_S))
        dt = now - endpoint.ewma_at
        decayed = updated(endpoint.ewma, 0.0, dt, self.reference.decay_s)
        endpoint.ewma = penalised(decayed, worth, penalty == Penalty.SOFT)
        endpoint.ewma_at = now

    # ---- what next ---------------------------------------------------------------------------------

    def may_retry(
        self,
        outcome: Outcome,
        attempts: int,
        idempotent: bool,
        replayable: bool,
        response_started: bool,
        remaining_s: float,
        retry_after_s: float | None = None,
        *,
        status: int = 0,
        retried_below: bool = False,
        policy: RetryPolicy | None = None,
    ) -> Retry | Refusal:
        """Whether the request may be tried again after `attempts` attempts; a yes has taken its token.

        `status`: of the answer, 0 = none. `retried_below`: the answer says that a hop below has already
        retried. `policy`: the route's, if it has one.
        """
        if self.admission.limiting and not self._ready:
            return NOBODY_READY
        return decide_retry(
            policy or self.policy.retry,
            outcome,
            attempts,
            idempotent=idempotent,
            replayable=replayable,
            response_started=response_started,
            remaining_s=remaining_s,
            retry_after_s=retry_after_s,
            status=status,
            retried_below=retried_below,
            elsewhere=len(self._ready) > 1,
            withdraw=self.budget.withdraw,
            rng=self._rng,
        )

    def per_try_timeout(
        self, remaining_s: float, last: bool = False, policy: RetryPolicy | None = None
    ) -> float:
        """Seconds for one attempt. `last`: no other can follow (not idempotent, or attempts are used up)."""
        return per_try(remaining_s, (policy or self.policy.retry).per_try_s, last)

    def hedge_after(self, remaining_s: float) -> float | None:
        """For an idempotent attempt that may be followed by another: when to call `reconsider` if no head
        came.
        """
        if not self.policy.early_hedge or len(self.endpoints) < 2:
            return None
        delay = self.reference.hedge_s
        return delay if delay < remaining_s else None

    def reconsider(self, pick: Pick) -> float:
        """The attempt has no head yet: 0.0 = give it up now (settle TIMEOUT_TRY, then `may_retry` will
        agree), more = ask again after that many seconds, None = let it run to its timeout."""
        endpoint = pick.endpoint
        silence = self._silence(pick)
        if silence < 0.0:
            return -silence  # it answered others: this request is slow, the endpoint is not dead
        if self.budget.tokens() < 1.0:
            return AGAIN_S
        now = self._clock()
        reference = self.reference
        if not any(other is not endpoint and not is_stalled(other, reference, now) for other in self._ready):
            return AGAIN_S
        if not pick.looked and now - self._answered_at > reference.stall_s:
            pick.looked = True  # nobody answered lately: perhaps it was we who slept
            return GRACE_S
        return 0.0

    # ---- what others see ---------------------------------------------------------------------------

    def next_event_at(self) -> float | None:
        """When time alone changes something here; nobody needs a timer for it, the next pick does it."""
        return self._outlier.due_at if self._outlier.due_at != float("inf") else None

    def snapshot(self) -> dict[str, object]:
        """JSON-able state, for the admin listener and the page."""
        now = self._clock()
        if now >= self._due_at:
            self._advance(now)
        high_water, self._bulkhead.high_water = self._bulkhead.high_water, self._bulkhead.active
        return {
            "budget": self.budget.snapshot(),
            "retries": self.budget.withdrawn,
            "active": self._bulkhead.active,
            "active_high_water": high_water,
            "pending": self._bulkhead.pending,
            "overflows": self._bulkhead.overflows,
            "admission": {
                "limiting": self.admission.limiting,
                "probability": round(self.admission.probability(), 3) if self.admission.limiting else 0.0,
                "turned_away": self.admission.turned_away,
            },
            "reference": self._describe_reference(),
            "endpoints": [self._describe(endpoint) for endpoint in self.endpoints.all],
        }

    def explain(self) -> list[dict[str, object]]:
        """Every endpoint with what the pick would see now: cost, share, state; for sampled requests only."""
        now = self._clock()
        reference = self.reference
        rows: list[dict[str, object]] = []
        for endpoint in self.endpoints.all:
            usable = endpoint.share > 0.0
            rows.append(
                {
                    "id": endpoint.id,
                    "cost_ms": round(1000 * cost_of(endpoint, reference, now), 3) if usable else None,
                    "share": round(endpoint.share, 4),
                    "gate": round(endpoint.gate, 4),
                    "pending": endpoint.pending,
                    "stalled": is_stalled(endpoint, reference, now),
                    "breaker": WORDS[endpoint.breaker.state],
                    "held": endpoint.breaker.held,
                }
            )
        return rows

    def _describe_reference(self) -> dict[str, float | None]:
        reference = self.reference

        def ms(seconds: float | None) -> float | None:
            return None if seconds is None or seconds == float("inf") else round(seconds * 1000, 3)

        return {
            "p50_ms": ms(reference.p50_s),
            "p95_ms": ms(reference.p95_s),
            "p99_ms": ms(reference.p99_s),
            "slow_ms": ms(reference.slow_s),
            "stall_ms": ms(reference.stall_s),
            "hedge_ms": ms(reference.hedge_s),
        }

    def _describe(self, endpoint: Endpoint) -> dict[str, object]:
        breaker = endpoint.breaker
        window: dict[str, Any] = {
            "total": breaker.window.total, "bad": breaker.window.bad, "slow": breaker.window.slow,
        }  # fmt: skip
        return {
            "id": endpoint.id,
            "address": endpoint.address,
            "health": endpoint.health,
            "weight": endpoint.weight,
            "zone": endpoint.zone,
            "version": endpoint.version,
            "breaker": WORDS[breaker.state],
            "breaker_reason": breaker.reason,
            "held": breaker.held,
            "forced": breaker.forced is not None,
            "opens": breaker.opens,
            "ramp": breaker.ramp,
            "share": round(endpoint.share, 4),
            "window": window,
            "in_flight": endpoint.pending,
            "ewma_ms": round(endpoint.ewma * 1000, 3) if endpoint.measured else None,
            "requests": endpoint.requests,
            "failures": endpoint.failures,
        }

    # ---- inside ------------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        """Everything that time alone changes; at most every half second, or when something is due."""
        if now >= self._outlier.due_at:
            self._outlier.advance(now)
        if now >= self.reference.due_at:
            window = self.admission.window
            window.rotate(now)
            self.reference.refresh(self.endpoints.all, window.total / self.policy.admission.window_s, now)
            median = self.reference.median_s
            for endpoint in self._ready:
                if not endpoint.measured:
                    endpoint.ewma = median
        self._find_due()

    def _find_due(self) -> None:
        self._due_at = min(self._outlier.due_at, self.reference.due_at)

    def _find_probing(self) -> None:
        self._probing = [endpoint for endpoint in self.endpoints.all if endpoint.breaker.probe_free]

    def _rebuild(self) -> None:
        """Who may be picked; after every change of membership, policy, breaker, ramp or reported health."""
        ready: list[Endpoint] = []
        held: list[Endpoint] = []
        largest = widest = 0.0
        for endpoint in self.endpoints.all:
            gate = self._outlier.gate(endpoint.breaker)
            share = 0.0
            if gate > 0.0:
                share = endpoint.weight * endpoint.reported
                if endpoint.health != "passing":
                    share *= self.policy.balance.warning_factor
                ready.append(endpoint)
                largest = max(largest, share)
                widest = max(widest, gate)
            elif endpoint.breaker.state is State.CLOSED:
                held.append(endpoint)
            endpoint.share = share
            endpoint.gate = gate
        for endpoint in ready:  # relative to the best: if all are new, there is nothing to spare them for
            endpoint.share /= largest
            endpoint.gate /= widest
        self._ready = ready
        self._held = held
        self._suspects = [endpoint for endpoint in self._suspects if endpoint in ready]
        self._find_probing()
        self._find_due()
        if not self.admission.limiting and self._outlier.all_bad():
            self.admission.limiting = True
            self._tell(self._clock(), "admission", "", "open to all", "limiting", "every endpoint is bad")

    def _tell(self, now: float, kind: str, endpoint: str, before: str, after: str, reason: str) -> None:
        self._listener(PolicyEvent(now, kind, self.name, endpoint, before, after, reason))
