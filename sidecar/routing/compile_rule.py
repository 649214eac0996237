"""DestinationRule -> the settings of one upstream, and of each of its subsets."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ..policy.admission import AdmissionPolicy
from ..policy.concurrency import PENDING_MAX
from ..policy.fallback import FallbackPolicy, StaticAnswer
from ..policy.hash_key import RING_MIN, TABLE_SIZE, HashKey, NewCookie
from ..policy.hedge import HedgePolicy
from ..policy.locality_policy import LocalityPolicy
from ..policy.outlier_detection import OutlierPolicy
from ..policy.retry_budget import BudgetPolicy
from ..policy.settings import BalancePolicy, Balancer, EmptyRule, KeepAlivePolicy, UpstreamPolicy
from ..policy.trip_rules import BreakerPolicy
from .annotations import AdmissionNote, BreakerNote, FallbackNote, HedgeNote
from .client_tls import compile_tls
from .compiled import Destination
from .destination_rule import (
    ConnectionPool,
    ConsistentHash,
    DestinationRule,
    LoadBalancer,
    LocalityLb,
    OutlierDetection,
    TCPKeepalive,
    TrafficPolicy,
    Warmup,
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
PORT_BLOCKS: Final = ("loadBalancer", "connectionPool", "outlierDetection", "tls")
RAMP_STEPS: Final = 20  # of a warmup: a step is a twentieth of the traffic, and an event
SHARE_MIN: Final = 0.01  # of a new endpoint: with nothing at all it would never be seen well
IDLE_MAX_S: Final = 3600.0  # Envoy's default for connections of HTTP


def key_of(host: str, subset: str | None, port: int | None = None) -> str:
    """`orders` or `orders|v2`; with settings for a port of theirs `orders||9080` or `orders|v2|9080`."""
    name = host.lower() if "*" in host else service_name(host)
    if port is not None:
        return f"{name}|{subset or ''}|{port}"
    return name if subset is None else f"{name}|{subset}"


def compile_rule(rule: DestinationRule, base: UpstreamPolicy) -> list[Destination]:
    """The service itself, then its subsets. A block that a subset gives replaces the service's block of that
    name, whole; blocks that it does not give are inherited."""
    service = key_of(rule.spec.host, None)
    extra = rule.notes
    when_empty: EmptyRule = extra.get("mesh/empty-subset", "reject")
    whole = rule.spec.trafficPolicy or TrafficPolicy()
    found = []
    for port in (None, *_ports(whole)):
        policy = _policy(base, _at_port(whole, port), extra)
        found.append(Destination(key_of(service, None, port), service, policy, port=port))
    for subset in rule.spec.subsets:
        own = subset.trafficPolicy or TrafficPolicy()
        given = {name: getattr(own, name) for name in own.model_fields_set}
        for port in (None, *dict.fromkeys((*_ports(whole), *_ports(own)))):
            # the service's settings for the port, then what the subset says, then what it says for the port
            merged = _at_port(whole, port).model_copy(update={"portLevelSettings": [], **given})
            merged = _at_port(merged, port)
            policy = _policy(base, merged, extra)
            key = key_of(service, subset.name, port)
            found.append(Destination(key, service, policy, dict(subset.labels), when_empty, port=port))
    return found


def ports_of(destinations: Mapping[str, Destination]) -> dict[str, dict[int, str]]:
    """By the key of a service or subset: the keys of the ports that have settings of their own."""
    found: dict[str, dict[int, str]] = {}
    for key, destination in destinations.items():
        if destination.port is not None:
            plain = key.removesuffix(f"|{destination.port}").removesuffix("|")
            found.setdefault(plain, {})[destination.port] = key
    return found


def _ports(block: TrafficPolicy) -> list[int]:
    return [entry.port.number for entry in block.portLevelSettings]


def _at_port(block: TrafficPolicy, port: int | None) -> TrafficPolicy:
    """Its settings for one port; there is nothing that they inherit."""
    for entry in block.portLevelSettings:
        if entry.port.number == port:
            return block.model_copy(update={name: getattr(entry, name) for name in PORT_BLOCKS})
    return block


def limits_requests(rule: DestinationRule) -> bool:
    """Whether it says how many requests a caller may have under way, to the service or to a part of it."""
    wholes = [rule.spec.trafficPolicy, *(subset.trafficPolicy for subset in rule.spec.subsets)]
    blocks = [block for block in wholes if block is not None]
    ports = [entry.connectionPool for block in blocks for entry in block.portLevelSettings]
    pools = [*(block.connectionPool for block in blocks), *ports]
    return any(pool is not None and _most_active(pool) is not None for pool in pools)


def _most_active(block: ConnectionPool) -> int | None:
    limits = (block.tcp.maxConnections, block.http.http2MaxRequests)
    return min((limit for limit in limits if limit is not None), default=None)


def _policy(base: UpstreamPolicy, block: TrafficPolicy, extra: Mapping[str, Any]) -> UpstreamPolicy:
    policy = base
    if block.loadBalancer is not None:
        policy = _balance(policy, block.loadBalancer)
    if block.connectionPool is not None:
        policy = _pool(policy, block.connectionPool)
    if block.tls is not None:
        policy = replace(policy, connection=replace(policy.connection, tls=compile_tls(block.tls)))
    if block.outlierDetection is not None:
        if block.loadBalancer is None or block.loadBalancer.localityLbSetting is None:
            # Istio's: failover is on wherever outlier detection is
            policy = replace(policy, balance=replace(policy.balance, locality=LocalityPolicy()))
        outlier = _outlier(block.outlierDetection)
        policy = replace(policy, outlier=outlier, breaker=replace(policy.breaker, enabled=False))
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
        kind = "ring_hash" if block.consistentHash.maglev is None else "maglev"
        hash_key = _hash_key(block.consistentHash)
    locality = block.localityLbSetting
    balance = BalancePolicy(
        kind=kind,
        hash_key=hash_key,
        locality=None if locality is None else _locality(locality),
        warning_factor=policy.balance.warning_factor,
        slow_start=policy.balance.slow_start,
    )
    policy = replace(policy, balance=balance)
    if block.warmup is not None:
        return _warm_up(policy, block.warmup)
    if block.warmupDurationSecs is not None:  # the older field has the defaults of the other two
        return _warm_up(policy, Warmup.model_construct(duration=block.warmupDurationSecs))
    return policy


def _locality(block: LocalityLb) -> LocalityPolicy | None:
    if block.enabled is False:
        return None
    return LocalityPolicy(
        failover=tuple((each.from_, each.to) for each in block.failover),
        failover_priority=tuple(block.failoverPriority),
        distribute=tuple((each.from_, tuple(each.to.items())) for each in block.distribute),
    )


def _warm_up(policy: UpstreamPolicy, warmup: Warmup) -> UpstreamPolicy:
    ramp = _ramp(warmup.minimumPercent / 100.0, warmup.aggression)
    return replace(
        policy,
        breaker=replace(policy.breaker, ramp=ramp, ramp_s=warmup.duration),
        balance=replace(policy.balance, ramp_weighs=True),
    )


def _ramp(least: float, aggression: float) -> tuple[float, ...]:
    """Envoy's curve in steps of the same length."""
    shares = (max(least, (step / RAMP_STEPS) ** (1.0 / aggression)) for step in range(RAMP_STEPS))
    return tuple(max(SHARE_MIN, share) for share in shares)


def _hash_key(block: ConsistentHash) -> HashKey:
    ring = block.minimumRingSize if block.ringHash is None else block.ringHash.minimumRingSize
    table = TABLE_SIZE if block.maglev is None else block.maglev.tableSize
    whole = HashKey("source", "", ring or RING_MIN, table)
    if block.httpHeaderName is not None:
        return replace(whole, kind="header", name=block.httpHeaderName)
    if block.httpQueryParameterName is not None:
        return replace(whole, kind="query", name=block.httpQueryParameterName)
    cookie = block.httpCookie
    if cookie is None:
        return whole
    attributes = tuple((each.name, each.value) for each in cookie.attributes)
    new = None if cookie.ttl is None else NewCookie(cookie.ttl, cookie.path, attributes)
    return replace(whole, kind="cookie", name=cookie.name, new=new)


def _pool(policy: UpstreamPolicy, block: ConnectionPool) -> UpstreamPolicy:
    tcp, http = block.tcp, block.http
    bulkhead, connection = policy.bulkhead, policy.connection
    most = _most_active(block)
    pending = http.http1MaxPendingRequests or PENDING_MAX  # 0 is not given, as Istio reads it
    if most is not None:
        # Envoy's queue is for connections: who finds them free, but too many requests under way, is refused
        queued = tcp.maxConnections == most
        bulkhead = replace(bulkhead, max_active=most, max_pending=pending if queued else 0)
    elif pending < PENDING_MAX:
        bulkhead = replace(bulkhead, max_pending=pending)
    if most is not None or pending < PENDING_MAX:
        # it has no clock of its own: who waits in it ends with the request's timeout, if there is one
        bulkhead = replace(bulkhead, max_wait_s=math.inf)
    if tcp.connectTimeout is not None:
        connection = replace(connection, connect_timeout_s=tcp.connectTimeout)
    # of the two the one for HTTP decides; TCP's may be days, or none (0s), for the sake of TCP services
    idle = http.idleTimeout
    if idle is None and tcp.idleTimeout is not None:
        idle = min(tcp.idleTimeout or IDLE_MAX_S, IDLE_MAX_S)
    if idle is not None:
        connection = replace(connection, idle_timeout_s=idle)
    if tcp.idleTimeout is not None:
        connection = replace(connection, tcp_idle_timeout_s=tcp.idleTimeout)
    if tcp.tcpKeepalive is not None:
        connection = replace(connection, keep_alive=_keep_alive(tcp.tcpKeepalive))
    if http.maxRequestsPerConnection is not None:
        connection = replace(connection, max_requests=http.maxRequestsPerConnection)
    return replace(policy, bulkhead=bulkhead, connection=connection)


def _keep_alive(block: TCPKeepalive) -> KeepAlivePolicy:
    """The kernel counts in whole seconds."""
    return KeepAlivePolicy(block.probes, math.ceil(block.time), math.ceil(block.interval))


def _outlier(block: OutlierDetection) -> OutlierPolicy:
    """As Istio gives it to Envoy: a percentage of 0 is one that is not set."""
    given = {
        "errors_5xx": block.consecutive5xxErrors,
        "gateway_errors": block.consecutiveGatewayErrors,
        "local_failures": block.consecutiveLocalOriginFailures or None,
        "split_local": block.splitExternalLocalOriginErrors,
        "interval_s": block.interval,
        "base_s": block.baseEjectionTime,
        "max_percent": block.maxEjectionPercent or None,
        "min_health_percent": block.minHealthPercent,
    }
    return OutlierPolicy(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]  # each has its field's type


def _annotate(policy: UpstreamPolicy, extra: Mapping[str, Any]) -> UpstreamPolicy:
    if "mesh/breaker" in extra:
        breaker = replace(policy.breaker, enabled=True)  # beside a rule's outlierDetection, too
        policy = replace(policy, breaker=_breaker(breaker, extra["mesh/breaker"]))
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
