"""DestinationRule -> the settings of one upstream, and of each of its subsets."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ..policy.admission import AdmissionPolicy
from ..policy.fallback import FallbackPolicy, StaticAnswer
from ..policy.hash_key import HashKey
from ..policy.hedge import HedgePolicy
from ..policy.retry_budget import BudgetPolicy
from ..policy.settings import BalancePolicy, Balancer, EmptyRule, UpstreamPolicy
from ..policy.trip_rules import BreakerPolicy
from .annotations import AdmissionNote, BreakerNote, FallbackNote, HedgeNote
from .compiled import Destination
from .destination_rule import (
    ConnectionPool,
    ConsistentHash,
    DestinationRule,
    LoadBalancer,
    OutlierDetection,
    TrafficPolicy,
)
from .table import service_name

_BALANCERS: Final[dict[str | None, Balancer]] = {
    None: "peak_ewma",
    "UNSPECIFIED": "peak_ewma",
    "PEAK_EWMA": "peak_ewma",
    "LEAST_REQUEST": "least_request",
    "LEAST_CONN": "least_request",
    "RANDOM": "random",
    "ROUND_ROBIN": "round_robin",
}
EJECTION_MAX_S: Final = 300.0  # Envoy's max_ejection_time


def key_of(host: str, subset: str | None) -> str:
    """`orders` or `orders|v2`."""
    name = service_name(host)
    return name if subset is None else f"{name}|{subset}"


def compile_rule(rule: DestinationRule, base: UpstreamPolicy) -> list[Destination]:
    """The service itself, then its subsets. A block that a subset gives replaces the service's block of that
    name, whole; blocks that it does not give are inherited."""
    service = service_name(rule.spec.host)
    extra = rule.notes
    when_empty: EmptyRule = extra.get("mesh/empty-subset", "reject")
    whole = rule.spec.trafficPolicy or TrafficPolicy()
    found = [Destination(service, service, _policy(base, whole, extra))]
    for subset in rule.spec.subsets:
        own = subset.trafficPolicy or TrafficPolicy()
        merged = whole.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})
        policy = _policy(base, merged, extra)
        found.append(
            Destination(f"{service}|{subset.name}", service, policy, dict(subset.labels), when_empty)
        )
    return found


def limits_requests(rule: DestinationRule) -> bool:
    """Whether it says how many requests a caller may have under way, to the service or to a subset."""
    blocks = [rule.spec.trafficPolicy, *(subset.trafficPolicy for subset in rule.spec.subsets)]
    return any(
        block is not None and block.connectionPool is not None and _most_active(block.connectionPool)
        for block in blocks
    )


def _most_active(block: ConnectionPool) -> int | None:
    limits = (block.tcp.maxConnections, block.http.http2MaxRequests)
    return min((limit for limit in limits if limit is not None), default=None)


def _policy(base: UpstreamPolicy, block: TrafficPolicy, extra: Mapping[str, Any]) -> UpstreamPolicy:
    policy = base
    if block.loadBalancer is not None:
        policy = _balance(policy, block.loadBalancer)
    if block.connectionPool is not None:
        policy = _pool(policy, block.connectionPool)
    if block.outlierDetection is not None:
        policy = replace(policy, breaker=_outlier(policy.breaker, block.outlierDetection))
    if block.retryBudget is not None:
        budget = block.retryBudget
        window = budget.budgetInterval or base.budget.window_s
        budget_policy = BudgetPolicy(
            budget.percent / 100.0, max(1.0, window), float(budget.minRetryConcurrency)
        )
        policy = replace(policy, budget=budget_policy)
    return _annotate(policy, extra)


def _balance(policy: UpstreamPolicy, block: LoadBalancer) -> UpstreamPolicy:
    kind = _BALANCERS[block.simple]
    hash_key = None
    if block.consistentHash is not None:
        kind, hash_key = "ring_hash", _hash_key(block.consistentHash)
    locality = block.localityLbSetting
    balance = BalancePolicy(
        kind=kind,
        hash_key=hash_key,
        prefer_zone=locality is not None and locality.enabled,
        warning_factor=policy.balance.warning_factor,
        slow_start=policy.balance.slow_start,
    )
    policy = replace(policy, balance=balance)
    if block.warmup is not None:
        first = max(0.01, block.warmup.minimumPercent / 100.0)
        steps = (first, *(step for step in BreakerPolicy().ramp if step > first))
        policy = replace(policy, breaker=replace(policy.breaker, ramp=steps, ramp_s=block.warmup.duration))
    elif block.warmupDurationSecs is not None:
        policy = replace(policy, breaker=replace(policy.breaker, ramp_s=block.warmupDurationSecs))
    return policy


def _hash_key(block: ConsistentHash) -> HashKey:
    size = block.minimumRingSize or block.ringHash.minimumRingSize
    if block.httpHeaderName is not None:
        return HashKey("header", block.httpHeaderName, size)
    if block.httpCookie is not None:
        return HashKey("cookie", block.httpCookie.name, size)
    if block.httpQueryParameterName is not None:
        return HashKey("query", block.httpQueryParameterName, size)
    return HashKey("source", "", size)


def _pool(policy: UpstreamPolicy, block: ConnectionPool) -> UpstreamPolicy:
    tcp, http = block.tcp, block.http
    bulkhead, connection = policy.bulkhead, policy.connection
    most = _most_active(block)
    if most is not None:
        bulkhead = replace(bulkhead, max_active=most)
    if http.http1MaxPendingRequests is not None:
        bulkhead = replace(bulkhead, max_pending=http.http1MaxPendingRequests)
    if tcp.connectTimeout is not None:
        connection = replace(connection, connect_timeout_s=tcp.connectTimeout)
    idle = http.idleTimeout if http.idleTimeout is not None else tcp.idleTimeout
    if idle is not None:
        connection = replace(connection, idle_timeout_s=idle)
    if http.maxRequestsPerConnection is not None:
        connection = replace(connection, max_requests=http.maxRequestsPerConnection)
    return replace(policy, bulkhead=bulkhead, connection=connection)


def _outlier(breaker: BreakerPolicy, block: OutlierDetection) -> BreakerPolicy:
    if block.consecutive5xxErrors:
        breaker = replace(breaker, failure_run=block.consecutive5xxErrors, forgive=math.inf)
    elif block.consecutive5xxErrors == 0:
        breaker = replace(breaker, failure_run=10_000, forgive=math.inf)
    if block.consecutiveGatewayErrors:
        breaker = replace(breaker, certain_run=block.consecutiveGatewayErrors, gateway_certain=True)
    if block.consecutiveLocalOriginFailures is not None:
        breaker = replace(breaker, certain_run=block.consecutiveLocalOriginFailures)
    if block.interval is not None:
        breaker = replace(breaker, window_s=block.interval)
    if block.baseEjectionTime is not None:
        longest = max(block.baseEjectionTime, EJECTION_MAX_S)
        breaker = replace(breaker, open_s=block.baseEjectionTime, open_max_s=longest)
    floor = breaker.min_ready
    if block.maxEjectionPercent is not None:
        floor = 1.0 - block.maxEjectionPercent / 100.0
    if block.minHealthPercent is not None:
        floor = max(floor, block.minHealthPercent / 100.0)
    return replace(breaker, min_ready=floor)


def _annotate(policy: UpstreamPolicy, extra: Mapping[str, Any]) -> UpstreamPolicy:
    if "mesh/breaker" in extra:
        policy = replace(policy, breaker=_breaker(policy.breaker, extra["mesh/breaker"]))
    if "mesh/admission" in extra:
        note: AdmissionNote = extra["mesh/admission"]
        policy = replace(policy, admission=AdmissionPolicy(note.k, min(0.99, note.cap / 100.0), note.window))
    if "mesh/hedge" in extra:
        hedge: HedgeNote = extra["mesh/hedge"]
        policy = replace(policy, hedge=HedgePolicy(True, hedge.quantile / 100.0, hedge.minDelay))
    if "mesh/fallback" in extra:
        policy = replace(policy, fallback=_fallback(extra["mesh/fallback"]))
    if "mesh/max-wait" in extra:
        policy = replace(policy, bulkhead=replace(policy.bulkhead, max_wait_s=extra["mesh/max-wait"]))
    if "mesh/early-hedge" in extra:
        policy = replace(policy, early_hedge=extra["mesh/early-hedge"])
    return policy


def _breaker(breaker: BreakerPolicy, note: BreakerNote) -> BreakerPolicy:
    names = {
        "enabled": "enabled",
        "certainRun": "certain_run",
        "silentRun": "silent_run",
        "failureRun": "failure_run",
        "forgive": "forgive",
        "window": "window_s",
        "openTime": "open_s",
        "maxOpenTime": "open_max_s",
        "permits": "permits",
        "need": "need",
        "probeDeadline": "probe_deadline_s",
        "rampTime": "ramp_s",
    }
    change: dict[str, Any] = {
        mine: getattr(note, theirs) for theirs, mine in names.items() if getattr(note, theirs) is not None
    }
    shares = {"failureRatio": "failure_ratio", "slowRatio": "slow_ratio", "minReady": "min_ready"}
    for theirs, mine in shares.items():
        if getattr(note, theirs) is not None:
            change[mine] = getattr(note, theirs) / 100.0
    if note.ramp is not None:
        change["ramp"] = tuple(step / 100.0 for step in note.ramp)
    if "open_s" in change and "open_max_s" not in change:
        change["open_max_s"] = max(breaker.open_max_s, change["open_s"])
    return replace(breaker, **change)


def _fallback(note: FallbackNote) -> FallbackPolicy:
    if note.static is not None:
        answer = StaticAnswer(note.static.status, note.static.body.encode(), note.static.contentType)
        return FallbackPolicy(static=answer)
    if note.host is not None:
        return FallbackPolicy(upstream=key_of(note.host, note.subset))
    return FallbackPolicy(last_good_s=note.lastGood)
