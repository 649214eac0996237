"""What the inbound policies did, for a scrape: Envoy's names under `mesh_`, where Envoy has one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from ..policy.lanes import Lane

if TYPE_CHECKING:
    from ..inbound import Inbound

# One family for each kind of fault, as in Envoy; a fault's name is no label, for there is no end of names.
FAULTS = {
    "delay": ("mesh_fault_delays_injected", "Requests delayed by a fault"),
    "abort": ("mesh_fault_aborts_injected", "Requests answered by a fault"),
    "reset": ("mesh_fault_resets_injected", "Connections reset by a fault"),
    "hang": ("mesh_fault_hangs_injected", "Requests that a fault never answered"),
    "truncate": ("mesh_fault_truncations_injected", "Answers given to a fault to cut"),
    "slow-body": ("mesh_fault_response_rl_injected", "Answers slowed by a fault"),
}


def inbound_metrics(inbound: Inbound) -> Iterator[Metric]:
    """Faults, rate limits, the adaptive limit, load shedding."""
    yield from _faults(inbound)
    protection = inbound.protection
    limited = CounterMetricFamily(
        "mesh_http_local_rate_limit_rate_limited", "Requests over a rate limit", labels=("rule",)
    )
    enforced = CounterMetricFamily(
        "mesh_http_local_rate_limit_enforced", "Requests answered 429", labels=("rule",)
    )
    for limit in protection.limits:
        limited.add_metric((limit.rule.name,), limit.limiter.limited)
        enforced.add_metric((limit.rule.name,), limit.enforced)
    blocked = CounterMetricFamily(
        "mesh_adaptive_concurrency_rq_blocked", "Requests over the adaptive limit", labels=("lane",)
    )
    places = GaugeMetricFamily(
        "mesh_adaptive_concurrency_concurrency_limit", "Requests that the app can take"
    )
    adaptive = protection.adaptive
    if adaptive is not None:
        places.add_metric((), adaptive.limit)
        for lane, count in adaptive.shed.items():
            blocked.add_metric((lane.name.lower(),), count)
    shed = CounterMetricFamily(
        "mesh_overload_shed", "Requests turned away because the event loop was late", labels=("lane",)
    )
    for lane in Lane:
        shed.add_metric((lane.name.lower(),), protection.shed.shed[lane])
    lag = GaugeMetricFamily("mesh_event_loop_lag_seconds", "Lateness of the event loop by its own work")
    lag.add_metric((), protection.shed.lag_s)
    yield from (limited, enforced, blocked, places, shed, lag)


def _faults(inbound: Inbound) -> Iterator[Metric]:
    faults = inbound.faults
    for kind, (name, words) in FAULTS.items():
        family = CounterMetricFamily(name, words)
        family.add_metric((), faults.counts[kind])
        yield family
    overflow = CounterMetricFamily("mesh_fault_faults_overflow", "Requests spared by a fault at its cap")
    overflow.add_metric((), faults.injector.skipped)
    active = GaugeMetricFamily("mesh_fault_active_faults", "Requests that a fault has in its hands")
    active.add_metric((), faults.injector.active)
    yield from (overflow, active)
