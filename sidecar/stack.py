"""THE order of policies for one request to one upstream, with the reason for each position.

    start()   1 budget.deposit     first, so that a request that is turned away still counts as demand
              2 service breaker    before the bulkhead: a service that is down must not fill places
              3 bulkhead           before the pick: a full upstream must not raise a candidate's pending
    pick()    4 time               opens turn half-open, ramps climb, by the clock, before anyone is compared
              5 probes             a half-open endpoint gets its probe before the ready ones are compared
              6 balance            only ready endpoints; then held ones; then tried ones; an open one never
    settle()  7 pending, silence   first: the verdicts below read them
              8 latency, penalty   before the breaker, so that a trip's own numbers are in the estimate
              9 breaker            last of the charges; it may change who is ready; where a document has
                                   outlierDetection, that stands in its place
             10 service window     counts attempts, whatever the breaker made of them
    may_retry 11 rules, budget     after settle: the failed endpoint is charged before the next pick
    finish()                       gives the place back

A frozen endpoint (SIGSTOP: the kernel accepts, nobody answers), N = 3 at 300 requests/s, 5 ms, p99 20 ms:
its pending attempts raise its cost at once, so 2 to 4 requests reach it; after `stall_s` (60 ms) it is passed
over; after `hedge_s` (150 ms) its sidecar is asked whether its app lives (`reconsider`), and when that says
no, or nothing for 0.5 s, each idempotent attempt there is given up and repeated elsewhere; the third is
evidence enough and opens the breaker (an endpoint that just did not answer is asked again at once, one
request at a time, so it takes no longer). From then on it gets one probe per open time (1, 2, 4, ... s), each
given up in the same way: 3 probes in the first 10 s, 0.1 % of the requests, so p99 of second 2 to 10 does not
see them. A request that is slow is left alone as long as its endpoint answers others or its sidecar says that
the app lives; and so is every one while no other endpoint answers (we ourselves may have been asleep), and
when the budget is empty (the whole service became slow): giving up would only double the load.
"""

from collections.abc import Sequence
from typing import Final

from .balance.attempt_ledger import Pick, another_answers, measure, penalise, silence
from .balance.endpoints import Endpoint
from .balance.members import Members
from .balance.p2c import pick_by_cost
from .balance.passed_over import passed_over
from .balance.view import candidates_view, endpoint_view, reference_view
from .policy.concurrency import ENTERED, FULL
from .policy.outcome import FEEDS, Evidence, Outcome, Penalty, Share
from .policy.rejection import Rejection, nobody, overflow, service_open
from .policy.retry import NOBODY_READY, Refusal, Retry, RetryPolicy, decide_retry

GRACE_S: Final = 0.010  # for answers that already wait in our own socket when a hedge comes due
UNTESTED_S: Final = 1.0  # a half-open endpoint waits so long for a request that is safe to repeat
AGAIN_S: Final = 0.050  # when to look again if nobody else could take the request
LATE_PART: Final = 4  # of the bulkhead: three quarters stay for those who send what they have

__all__ = ["Pick", "Rejection", "Upstream"]

_FEEDS: Final = tuple(tuple(row) for row in FEEDS)  # plain tuples of enums: unpacked once per attempt


class Upstream(Members):
    """One destination service as this sidecar calls it; lives as long as the sidecar."""

    __slots__ = ()

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

    @property
    def late_places(self) -> int:
        """How many requests may be passed on before they are whole."""
        return max(1, self._bulkhead.policy.max_active // LATE_PART)

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

        `probe_ok`: this request may test a half-open endpoint at once (idempotent, or otherwise safe to
        repeat); any other may after `UNTESTED_S`.
        """
        now = self._clock()
        if now >= self._due_at:
            self._advance(now)
        if self._probing and not tried:
            probing = self._probing if probe_ok else self._long_untested(now)
            if probing:
                return self._pick_probe(probing, now)
        if probe_ok and self._suspects and not tried:
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

    def _long_untested(self, now: float) -> list[Endpoint]:
        """No request that is safe to repeat came to test them: any may, or a service that is only called by
        POST (JSON-RPC, GraphQL, webhooks) would never be closed again.
        """
        return [each for each in self._probing if now - each.breaker.since >= UNTESTED_S]

    def _pick_probe(self, probing: list[Endpoint], now: float) -> Pick:
        endpoint = probing[0] if len(probing) == 1 else self._rng.choice(probing)
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

        `status`: of the answer, 0 = there was none.
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
            evidence = self._weigh(pick, evidence, slow, now)
            if share is Share.FAILED:
                endpoint.failures += 1
        if latency:
            endpoint.latency.record(elapsed_s, now)
            if answered or elapsed_s > endpoint.ewma:
                measure(endpoint, elapsed_s, reference, now)
        if penalty:
            penalise(endpoint, penalty == Penalty.SOFT, elapsed_s, retry_after_s, reference, now)
        breaker = endpoint.breaker
        breaker.record(evidence, slow, pick.epoch, pick.probe, now, pick.started)
        if self._outlier.detector is not None:
            self._outlier.detect(breaker, outcome, status, now)
        if breaker.certain_run and breaker.policy.enabled:
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

    def _weigh(self, pick: Pick, evidence: int, slow: bool, now: float) -> int:
        """Turn the conditional kinds of evidence into plain ones."""
        if evidence == Evidence.BY_SILENCE:
            return Evidence.SILENT if silence(pick, self.reference, now) >= 0.0 else Evidence.LATE
        if evidence == Evidence.IF_SLOW:
            return Evidence.LATE if slow else Evidence.NEUTRAL
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
        if not self._ready and (self.service.watching or self._outlier.detector is not None):
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

    def per_try_timeout(self, remaining_s: float, policy: RetryPolicy | None = None) -> float:
        """Seconds for one attempt."""
        return min(remaining_s, (policy or self.policy.retry).per_try_s)

    def hedge_after(self, remaining_s: float) -> float | None:
        """For an attempt that may be followed by another, or a probe: when to call `reconsider` if no head
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
        """The attempt has no head yet: 0.0 = ask the endpoint's sidecar whether its app lives, for it has
        been silent while others answer, and another try could follow; more = ask us again after so many
        seconds.

        Silence alone proves nothing: an answer may take 30 s. If the sidecar is silent too, or says that the
        app is stopped, give the attempt up (settle TIMEOUT_TRY, then `may_retry` will agree); else `lives`.
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

    def lives(self, pick: Pick) -> None:
        """Its sidecar says that the app is at work: it is slow, not dead. A probe there gets more time."""
        endpoint, now = pick.endpoint, self._clock()
        endpoint.silent_since = now
        if pick.probe:
            endpoint.breaker.extend_probe(pick.started, pick.epoch, now)
            self._outlier.touch(endpoint.breaker)
            self._find_due()

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

    def recent(self) -> tuple[int, int]:
        """(attempts, failed ones) of the last seconds."""
        window = self._counted
        window.rotate(self._clock())
        return window.total, window.bad

    def explain(self, limit: int) -> list[dict[str, object]]:
        """The first `limit` endpoints as a pick would see them now; for sampled requests only."""
        return candidates_view(self.endpoints.all[:limit], self.reference, self._clock())
