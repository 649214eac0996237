"""THE order of policies for one request to one upstream, with the reason for each position.

    start()   1 budget.deposit     first, so that a request that is turned away still counts as demand
              2 service breaker    before the bulkhead: a service that is down must not fill places
              3 bulkhead           before the pick: a full upstream must not raise a candidate's pending
    pick()    4 time               opens turn half-open, ramps climb, by the clock, before anyone is compared
              5 probes             a half-open endpoint gets its probe before the ready ones are compared
              6 balance            only ready endpoints; then held ones; then tried ones; an open one never
    settle()  7 pending, silence   first: the verdicts below read them
              8 latency, penalty   before the breaker, so that a trip's own numbers are in the estimate
              9 breaker            last of the charges; it may change who is ready
             10 service window     counts attempts, whatever the breaker made of them
    may_retry 11 rules, budget     after settle: the failed endpoint is charged before the next pick
    finish()                       gives the place back

A frozen endpoint (SIGSTOP: the kernel accepts, nobody answers), N = 3 at 300 requests/s, 5 ms, p99 20 ms:
its pending attempts raise its cost at once, so 2 to 4 requests reach it; after `stall_s` (60 ms) it is passed
over; after `hedge_s` (150 ms) each idempotent attempt there is given up (`reconsider`) and repeated
elsewhere; the fourth is evidence enough and opens the breaker, 0.2 to 0.5 s after the freeze (an endpoint
that just did not answer is asked again at once, one request at a time, so it takes no longer). From then on
it gets one probe per open time (1, 2, 4, ... s), each given up after 150 ms as well: 3 probes in the first 10
s, 0.1 % of the requests, so p99 of second 2 to 10 does not see them. A request that is slow while its
endpoint answers others is left alone, and so is every one while no other endpoint answers (we ourselves may
have been asleep), and when the budget is empty (the whole service became slow): giving up would only double
the load.
"""

import random
import zlib
from collections.abc import Callable, Sequence
from typing import Final

from .balance.attempt_ledger import Pick, another_answers, measure, penalise, silence
from .balance.chooser import chooser_for
from .balance.endpoints import Diff, Endpoint, EndpointSet, EndpointSpec, Memory
from .balance.health import factor_of, parse_report
from .balance.p2c import pick_by_cost
from .balance.passed_over import note_open, passed_over
from .balance.reference import Reference
from .balance.shares import assign
from .balance.view import candidates_view, endpoint_view, reference_view
from .policy.breaker import Breaker
from .policy.concurrency import ENTERED, FULL, Bulkhead
from .policy.deadline import per_try
from .policy.events import Listener, PolicyEvent
from .policy.fallback import last_good_for
from .policy.machine import State
from .policy.outcome import FEEDS, Evidence, Outcome, Penalty, Share
from .policy.outlier import Outlier
from .policy.rejection import Rejection, nobody, overflow, service_open
from .policy.retry import NOBODY_READY, Refusal, Retry, RetryPolicy, decide_retry
from .policy.retry_budget import RetryBudget
from .policy.service_breaker import ServiceBreaker
from .policy.settings import UpstreamPolicy
from .policy.trip_rules import Verdict

GRACE_S: Final = 0.010  # for answers that already wait in our own socket when a hedge comes due
AGAIN_S: Final = 0.050  # when to look again if nobody else could take the request
GATEWAY_STATUSES: Final = frozenset({502, 503, 504})

__all__ = ["Pick", "Rejection", "Upstream"]

_FEEDS: Final = tuple(tuple(row) for row in FEEDS)  # plain tuples of enums: unpacked once per attempt


class Upstream:
    """One destination service as this sidecar calls it; lives as long as the sidecar."""

    __slots__ = (
        "_answered_at", "_bulkhead", "_caller", "_chooser", "_clock", "_counted", "_due_at", "_held",
        "_known", "_listener", "_memory", "_outlier", "_probing", "_ready", "_rng", "_suspects", "_zone",
        "budget", "endpoints", "last_good", "name", "policy", "reference", "service",
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
        self._bulkhead = Bulkhead(policy.bulkhead)
        self._outlier = Outlier(name, policy.breaker, listener, self._rebuild, clock)
        self.service = ServiceBreaker(name, policy.admission, self._outlier.all_bad, listener, clock, rng)
        self.last_good = last_good_for(policy.fallback, clock)
        self._counted = self.service.admission.window
        self._chooser = chooser_for(policy.balance, "", rng)
        self._zone = ""
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
            before = endpoint.health
            endpoint.describe(spec)
            kept.append(endpoint)
            if spec.health != before:
                words = f"the registry says {spec.health}"
                self._listener(PolicyEvent(now, "told", self.name, endpoint.id, before, spec.health, words))
                self._health_changed(endpoint, now)
        self.endpoints.replace(removed, added)
        for endpoint in added:
            self._outlier.add(endpoint.breaker)
        for endpoint in added:
            if endpoint.health == "critical":
                self._health_changed(endpoint, now)
        self._outlier.enforce_floor()
        for endpoint in kept:
            self._outlier.touch(endpoint.breaker)
        self._known = self._known or bool(added)
        self._rebuild()
        for who, old, new in ((removed, "member", "gone"), (added, "gone", "member")):
            for endpoint in who:
                event = PolicyEvent(now, "membership", self.name, endpoint.id, old, new, endpoint.address)
                self._listener(event)
        return Diff(tuple(added), tuple(removed), tuple(kept))

    def _health_changed(self, endpoint: Endpoint, now: float) -> None:
        """The registry's word: critical opens the breaker (the floor permitting) before any caller runs into
        it; passing again is a reason to ask at once, and only good answers close it.
        """
        breaker = endpoint.breaker
        if endpoint.health == "passing":
            breaker.reprobe(now)
        elif endpoint.health == "critical" and breaker.state is State.CLOSED and breaker.forced is None:
            self._outlier.trip(breaker, Verdict("the registry says critical", 1.0, False, {}), now)

    def _new_endpoint(self, spec: EndpointSpec, now: float) -> Endpoint:
        recalled = self._memory.recall(spec.id, now)
        if recalled is not None:
            breaker = recalled[1]
            breaker.set_policy(self.policy.breaker)
            breaker.renew(now)
        else:
            offset = zlib.crc32(f"{self._caller} {spec.id}".encode()) / 2**32
            breaker = Breaker(spec.id, self.policy.breaker, self._outlier, offset, self._rng)
            if self._known and self.policy.balance.slow_start:
                breaker.slow_start(now, "joined a running set")
        return Endpoint(spec, breaker, now)

    def set_policy(self, policy: UpstreamPolicy) -> None:
        """New settings; latency, breakers, counts and the budget's window stay."""
        if policy.balance != self.policy.balance:
            self._chooser = chooser_for(policy.balance, self._zone, self._rng)
        if policy.fallback != self.policy.fallback:
            self.last_good = last_good_for(policy.fallback, self._clock)
        self.policy = policy
        self.budget.set_policy(policy.budget)
        self.service.admission.set_policy(policy.admission)
        self._counted = self.service.admission.window
        self._bulkhead.policy = policy.bulkhead
        self._outlier.set_policy(policy.breaker)
        self._rebuild()

    def set_zone(self, zone: str) -> None:
        """The caller's own zone, for policies that prefer it."""
        self._zone = zone
        self._chooser = chooser_for(self.policy.balance, zone, self._rng)
        self._rebuild()

    def report(self, endpoint: Endpoint, header: bytes) -> None:
        """`endpoint-load-metrics` of an answer: the callee's own word about its health and load."""
        if header == endpoint.report_raw:
            return  # nearly always: it changes ten times a second at most
        endpoint.report_raw = header
        report = parse_report(header)
        if report is None:
            return
        endpoint.report = report
        factor = factor_of(report)
        if factor != endpoint.reported:
            endpoint.reported = factor
            self._rebuild()

    def force(self, endpoint_id: str, state: State | None, ttl_s: float = 60.0) -> bool:
        """An operator pins a breaker open or closed for a time, None unpins; '' is the service's own breaker.

        False if no such endpoint.
        """
        if not endpoint_id:
            self.service.force(state, ttl_s)
            return True
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
        if self.service.watching and not self.service.admit():
            return service_open(self.name, self.service.reason)
        entered = self._bulkhead.enter()
        if entered == ENTERED:
            return None
        bulkhead = self._bulkhead
        return overflow(self.name, bulkhead.policy, bulkhead.pending, full=entered == FULL)

    def promote(self) -> bool:
        """The first waiting request tries to enter; True = admitted (call `finish` once)."""
        return self._bulkhead.promote()

    def abandon_wait(self) -> None:
        """A waiting request gave up; answer it with the Rejection that it got."""
        self._bulkhead.abandon()

    def finish(self) -> None:
        """An admitted request is over, however."""
        self._bulkhead.leave()

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
        elif self._chooser is None:
            endpoint = pick_by_cost(ready, tried, self.reference, now, self._rng)
        else:
            endpoint = self._chooser.choose(tried, key, self.reference, now)
        if endpoint is None:
            endpoint = self._pick_least_bad(tried, now)
            if endpoint is None:
                return nobody(self.name, self._outlier.describe() if self.endpoints.all else None)
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

    def settle(
        self,
        pick: Pick,
        outcome: Outcome,
        elapsed_s: float,
        retry_after_s: float | None = None,
        status: int = 0,
    ) -> None:
        """The attempt ended; `elapsed_s` to the first byte of the answer, or to the failure.

        `status` of a failed answer matters only to a policy that counts gateway errors apart.
        """
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
            evidence = self._weigh(pick, evidence, slow, status, now)
            if share is Share.FAILED:
                endpoint.failures += 1
        if latency:
            endpoint.latency.record(elapsed_s, now)
            if answered or elapsed_s > endpoint.ewma:
                measure(endpoint, elapsed_s, reference, now)
        if penalty:
            penalise(endpoint, penalty == Penalty.SOFT, elapsed_s, retry_after_s, reference, now)
        breaker = endpoint.breaker
        breaker.record(evidence, slow, pick.epoch, pick.probe, now)
        if breaker.certain_run:
            if endpoint not in self._suspects and endpoint in self._ready:
                self._suspects.append(endpoint)
        elif self._suspects and endpoint in self._suspects:
            self._suspects.remove(endpoint)
        if pick.probe:
            self._outlier.touch(breaker)
            self._find_probing()
            self._find_due()
        if share:
            self._counted.record(now, share - 1, 0)

    def _weigh(self, pick: Pick, evidence: int, slow: bool, status: int, now: float) -> int:
        """Turn the conditional kinds of evidence into plain ones."""
        if evidence == Evidence.BY_SILENCE:
            return Evidence.SILENT if silence(pick, self.reference, now) >= 0.0 else Evidence.LATE
        if evidence == Evidence.IF_SLOW:
            return Evidence.LATE if slow else Evidence.NEUTRAL
        if status in GATEWAY_STATUSES and self.policy.breaker.gateway_certain:
            return Evidence.CERTAIN
        return evidence

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
        if self.service.watching and not self._ready:
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

    def hedge_delay(self, remaining_s: float) -> float | None:
        """For an idempotent first attempt: when to ask `may_hedge`; None unless the policy wants hedges."""
        hedge = self.policy.hedge
        if not hedge.enabled or len(self._ready) < 2:
            return None
        usual = self.reference.quantile(hedge.quantile)
        if usual is None:
            return None
        delay = max(usual, hedge.min_delay_s)
        return delay if delay < remaining_s else None

    def may_hedge(self, pick: Pick) -> bool:
        """Begin a second attempt beside this one (`pick((first.endpoint,))`)? A yes has taken its token.

        Who answers first wins; the other is aborted and settled as CANCELLED.
        """
        others = another_answers(pick.endpoint, self._ready, self.reference, self._clock())
        return others and self.budget.withdraw()

    def reconsider(self, pick: Pick) -> float:
        """The attempt has no head yet: 0.0 = give it up now (settle TIMEOUT_TRY, then `may_retry` will
        agree), more = ask again after that many seconds.
        """
        now = self._clock()
        reference = self.reference
        beyond = silence(pick, reference, now)
        if beyond < 0.0:
            # it answered others: this request is slow, the endpoint is not dead
            return max(-beyond, GRACE_S)  # never so little that a timer would spin
        if self.budget.tokens() < 1.0 or not another_answers(pick.endpoint, self._ready, reference, now):
            return AGAIN_S
        if not pick.looked and now - self._answered_at > reference.stall_s:
            pick.looked = True  # nobody answered lately: perhaps it was we who slept
            return GRACE_S
        return 0.0

    # ---- what others see ---------------------------------------------------------------------------

    def snapshot(self) -> dict[str, object]:
        """JSON-able state, for the admin listener and the page."""
        now = self._clock()
        if now >= self._due_at:
            self._advance(now)
        everyone = self.endpoints.all
        high_water, self._bulkhead.high_water = self._bulkhead.high_water, self._bulkhead.active
        return {
            "budget": self.budget.snapshot(),
            "retries": self.budget.withdrawn,
            "active": self._bulkhead.active,
            "active_high_water": high_water,
            "pending": self._bulkhead.pending,
            "overflows": self._bulkhead.overflows,
            "service": self.service.snapshot(),
            "reference": reference_view(self.reference),
            "endpoints": [endpoint_view(each, passed_over(each, everyone)) for each in everyone],
        }

    def explain(self, limit: int) -> list[dict[str, object]]:
        """The first `limit` endpoints as a pick would see them now; for sampled requests only."""
        return candidates_view(self.endpoints.all[:limit], self.reference, self._clock())

    # ---- inside ------------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        """Everything that time alone changes; at most every half second, or when something is due."""
        if now >= self._outlier.due_at:
            self._outlier.advance(now)
        if now >= self.reference.due_at:
            window = self._counted
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
        note_open(self.endpoints.all)
        factor = self.policy.balance.warning_factor
        self._ready, self._held = ready, _ = assign(self.endpoints.all, self._outlier.gate, factor)
        self._suspects = [endpoint for endpoint in self._suspects if endpoint in ready]
        self._find_probing()
        self._find_due()
        if self._chooser is not None:
            self._chooser.rebuild(self.endpoints.all, ready)
        self.service.consider()
