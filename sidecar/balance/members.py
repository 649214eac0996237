"""Who is there and who may be picked: membership, health, policy and time, for one destination.

A request never waits for any of this: whatever changes ends in `_rebuild`, which leaves plain lists behind
(ready, held, probing, suspects) for `stack.Upstream.pick` to choose from.
"""

import random
import zlib
from collections.abc import Callable, Sequence

from ..policy.admission import AdmissionPolicy
from ..policy.breaker import Breaker
from ..policy.concurrency import Bulkhead
from ..policy.events import Listener, PolicyEvent
from ..policy.fallback import last_good_for
from ..policy.machine import State
from ..policy.outlier import Outlier
from ..policy.retry_budget import RetryBudget
from ..policy.service_breaker import ServiceBreaker
from ..policy.settings import UpstreamPolicy
from ..policy.trip_rules import Verdict
from .chooser import SCANNING, chooser_for
from .endpoints import Diff, Endpoint, EndpointSet, EndpointSpec, Memory
from .health import factor_of, parse_report
from .locality import Place
from .passed_over import note_open
from .reference import Reference
from .shares import assign


class Members:
    """The endpoints of one destination with all state about them; `stack.Upstream` is what requests see."""

    __slots__ = (
        "_answered_at",
        "_bulkhead",
        "_caller",
        "_chooser",
        "_clock",
        "_counted",
        "_due_at",
        "_held",
        "_known",
        "_listener",
        "_memory",
        "_outlier",
        "_place",
        "_probing",
        "_ready",
        "_rng",
        "_suspects",
        "budget",
        "endpoints",
        "last_good",
        "name",
        "policy",
        "reference",
        "service",
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
        self._outlier.set_detection(policy.outlier)
        self.service = ServiceBreaker(name, policy.admission, self._outlier.all_bad, listener, clock, rng)
        self.last_good = last_good_for(policy.fallback, clock)
        self._counted = self.service.admission.window
        self._chooser = chooser_for(policy.balance, Place(), rng)
        self._place = Place()
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
        return f"<{type(self).__name__} {self.name} {self._outlier.describe()}>"

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
            self._chooser = chooser_for(policy.balance, self._place, self._rng)
        if policy.fallback != self.policy.fallback:
            self.last_good = last_good_for(policy.fallback, self._clock)
        self.policy = policy
        self.budget.set_policy(policy.budget)
        self.service.admission.set_policy(policy.admission)
        self._counted = self.service.admission.window
        self._bulkhead.policy = policy.bulkhead
        self._outlier.set_policy(policy.breaker)
        self._outlier.set_detection(policy.outlier)
        if not self._judges:
            now = self._clock()
            for endpoint in self.endpoints.all:
                if endpoint.health == "critical":
                    self._health_changed(endpoint, now)  # the registry's word is nobody's rule
            self.service.dismiss()
        self._rebuild()

    @property
    def _judges(self) -> bool:
        """Whether the service has a breaker of its own: not where a rule's outlierDetection alone decides."""
        policy = self.policy
        return policy.breaker.enabled or policy.fallback is not None or policy.admission != AdmissionPolicy()

    def set_place(self, place: Place) -> None:
        """Where the caller is, for policies that prefer what is near."""
        self._place = place
        self._chooser = chooser_for(self.policy.balance, place, self._rng)
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

    def hear(self, endpoint_id: str, verdict: Verdict | None) -> None:
        """Another worker of the same sidecar opened its breaker for this verdict, or closed it (None).

        Its evidence is as good as ours, so it opens here too (the floor permitting) before a request of ours
        fails; that it is well again is a reason to ask at once, and only good answers close it.
        """
        endpoint = self.endpoints.get(endpoint_id)
        if endpoint is None:
            return
        now, breaker = self._clock(), endpoint.breaker
        if verdict is None:
            breaker.reprobe(now)
            self._outlier.touch(breaker)
            self._find_due()
        elif breaker.state is State.CLOSED and not breaker.held and breaker.forced is None:
            opens = breaker.opens
            self._outlier.trip(breaker, verdict, now)
            breaker.opens = opens  # counted where it was seen

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
        balance = self.policy.balance
        scans = balance.ramp_weighs and balance.kind in SCANNING
        self._ready, self._held = ready, _ = assign(
            self.endpoints.all, self._outlier.gate, balance.warning_factor, scans
        )
        self._suspects = [endpoint for endpoint in self._suspects if endpoint in ready]
        self._find_probing()
        self._find_due()
        if self._chooser is not None:
            self._chooser.rebuild(self.endpoints.all, ready)
        if self._judges:
            self.service.consider()
