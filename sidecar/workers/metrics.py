"""Metrics of several workers as one: counters and histograms add up, a gauge follows its own rule; pure.

What a worker had counted when it died stays in the sums, as last seen: to a reader of the metrics the workers
are one process, and a counter that went back would be read as its restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar

# (name, help, type, [(sample's name, its labels, value, exemplar as (labels, value, time) or None)])
Family: TypeAlias = Sequence[Any]

_SEVERITY = (0.0, 2.0, 1.0)  # closed, half-open, open


def _worse_breaker(one: float, other: float) -> float:
    return max(one, other, key=_SEVERITY.index)


def _sum(one: float, other: float) -> float:
    return one + other


# Of any other gauge the highest is shown: staleness, latency.
GAUGES: dict[str, Callable[[float, float], float]] = {
    "circuit_breaker_state": _worse_breaker,
    "mesh_requests_in_flight": _sum,
    "mesh_downstream_connections": _sum,
    "mesh_endpoint_in_flight": _sum,
    "mesh_endpoint_ramp": min,
    "mesh_retry_budget_tokens": _sum,
    "process_open_fds": _sum,
    "process_max_fds": min,
    "process_resident_memory_bytes": _sum,
    "process_start_time_seconds": min,
    "process_virtual_memory_bytes": _sum,
}
COUNTED = ("counter", "histogram")


def dump(families: Iterable[Metric]) -> list[Family]:
    """Families as JSON can say them."""
    return [
        (
            family.name,
            family.documentation,
            family.type,
            [
                (sample.name, sample.labels, sample.value, _plain(sample.exemplar))
                for sample in family.samples
            ],
        )
        for family in families
    ]


def _plain(exemplar: Exemplar | None) -> Sequence[Any] | None:
    return None if exemplar is None else (exemplar.labels, exemplar.value, exemplar.timestamp)


def counted(families: Iterable[Family]) -> list[Family]:
    """What stays of a worker that is gone: all that only grows, without exemplars."""
    return [
        (name, words, kind, [(sample[0], sample[1], sample[2], None) for sample in samples])
        for name, words, kind, samples in families
        if kind in COUNTED
    ]


def merged(parts: Iterable[Iterable[Family]]) -> list[Family]:
    """One list of families for all workers; samples keep the order in which they first came."""
    found: dict[str, tuple[str, str, dict[Any, list[Any]]]] = {}
    for part in parts:
        for name, words, kind, samples in part:
            kept = found.setdefault(name, (words, kind, {}))[2]
            rule = _sum if kind in COUNTED else GAUGES.get(name, max)
            for sample_name, labels, value, exemplar in samples:
                key = sample_name, tuple(sorted(labels.items()))
                known = kept.get(key)
                if known is None:
                    kept[key] = [sample_name, labels, value, exemplar]
                else:
                    known[2] = rule(known[2], value)
                    known[3] = exemplar or known[3]
    return [(name, words, kind, list(kept.values())) for name, (words, kind, kept) in found.items()]


def load(families: Iterable[Family]) -> Iterator[Metric]:
    """The opposite of `dump`."""
    for name, words, kind, samples in families:
        family = Metric(name, words, kind)
        for sample_name, labels, value, exemplar in samples:
            found = None if exemplar is None else Exemplar(*exemplar)
            family.add_sample(sample_name, labels, value, exemplar=found)
        yield family
