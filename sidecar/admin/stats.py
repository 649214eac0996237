"""`/stats` in Envoy's text form, `name: value`, of what the snapshot and the metrics say. Pure.

Names that Envoy has are Envoy's (`cluster.orders.upstream_rq_total`, `http.outbound.downstream_rq_5xx`,
`server.live`); a cluster's name is the service's, as in `/clusters`. Behind them stand all metrics of
`/stats/prometheus`, their labels written as Istio's proxy writes them there
(`istiocustom.istio_requests_total;.;reporter=.=source;.;…`). Quantiles are read from histograms' buckets:
since the start, for there is no interval of their own (`nan`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client.metrics_core import Metric

from registry import regexp

QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1.0)
FILTER_MAX = 1024  # characters; Istio's own limit for an expression is one of its size, which holds besides
TYPES = ("All", "Counters", "Gauges", "Histograms")


class WrongQuery(ValueError):
    """What was asked for cannot be; one line."""


class Buckets(NamedTuple):
    """A histogram: upper bounds with how many samples were at most so large; the last is infinite."""

    bounds: tuple[float, ...]
    counts: tuple[float, ...]

    @property
    def total(self) -> float:
        return self.counts[-1] if self.counts else 0.0


class Stats:
    """All of them, by name."""

    def __init__(self, snapshot: Mapping[str, Any], families: Iterable[Metric]) -> None:
        self.counters: dict[str, float] = {}
        self.gauges: dict[str, float] = {}
        self.histograms: dict[str, Buckets] = {}
        self._add_server(snapshot)
        for name, upstream in snapshot.get("upstreams", {}).items():
            self._add_cluster(name, upstream)
        for family in families:
            self._add_family(family)
        for name in snapshot.get("upstreams", {}):
            self.histograms.setdefault(f"cluster.{name}.upstream_rq_time", Buckets((), ()))

    def _add_server(self, snapshot: Mapping[str, Any]) -> None:
        draining = snapshot.get("state") == "draining"
        self.gauges |= {
            "server.live": float(not draining),
            "server.state": int(draining),  # 0 LIVE, 1 DRAINING
            "server.uptime": int(snapshot.get("uptime_s", 0)),
            "server.concurrency": max(1, len(snapshot.get("workers", ()))),
            "server.total_connections": snapshot.get("connections", {}).get("downstream", 0),
        }
        for name in ("inbound", "outbound"):
            side = snapshot.get(name)
            if side:
                self.counters[f"http.{name}.downstream_rq_total"] = side["requests"]
                self.counters[f"http.{name}.downstream_rq_5xx"] = side["failed"]
                self.gauges[f"http.{name}.downstream_rq_active"] = side["in_flight"]

    def _add_cluster(self, name: str, upstream: Mapping[str, Any]) -> None:
        prefix, rows = f"cluster.{name}", upstream["endpoints"]
        self.counters |= {
            f"{prefix}.upstream_rq_total": upstream["requests"],
            f"{prefix}.upstream_rq_retry": upstream["retries"],
            f"{prefix}.upstream_rq_pending_overflow": upstream["overflows"],
            f"{prefix}.outlier_detection.ejections_total": sum(row["opens"] for row in rows),
        }
        out = [row for row in rows if row["breaker"] == "open"]
        well = [row for row in rows if row["breaker"] == "closed" and row["health"] != "critical"]
        self.gauges |= {
            f"{prefix}.upstream_rq_active": upstream["active"],
            f"{prefix}.upstream_rq_pending_active": upstream["pending"],
            f"{prefix}.membership_total": len(rows),
            f"{prefix}.membership_healthy": len(well),
            f"{prefix}.membership_degraded": sum(row["health"] == "warning" for row in well),
            f"{prefix}.outlier_detection.ejections_active": len(out),
        }

    def _add_family(self, family: Metric) -> None:
        counts: dict[str, dict[float, float]] = {}
        for sample in family.samples:
            if sample.name.endswith("_bucket") and family.type == "histogram":
                bound = float(sample.labels["le"])
                labels = {key: value for key, value in sample.labels.items() if key != "le"}
                for name in (tagged(family.name, labels), *_envoys_histogram(family.name, labels)):
                    found = counts.setdefault(name, {})
                    found[bound] = found.get(bound, 0.0) + sample.value
            elif family.type == "counter" and sample.name.endswith("_total"):
                self.counters[tagged(sample.name, sample.labels)] = sample.value
                for name in _envoys_counters(sample.name, sample.labels):
                    self.counters[name] = self.counters.get(name, 0) + sample.value
            elif family.type == "gauge":
                self.gauges[tagged(sample.name, sample.labels)] = sample.value
                if sample.name == "mesh_downstream_connections":
                    self.gauges[f"listener.{sample.labels['listener']}.downstream_cx_active"] = sample.value
        for name, by_bound in counts.items():
            bounds = tuple(sorted(by_bound))
            self.histograms[name] = Buckets(bounds, tuple(by_bound[bound] for bound in bounds))


def tagged(name: str, labels: Mapping[str, str]) -> str:
    """A metric's name with its labels, as Istio's proxy writes both."""
    prefix = "istiocustom." if name.startswith("istio_") else ""
    return prefix + ";.;".join((name, *(f"{key}=.={value}" for key, value in labels.items())))


def _envoys_counters(name: str, labels: Mapping[str, str]) -> Iterator[str]:
    code = labels.get("response_code", "")
    if name == "istio_requests_total" and labels["reporter"] == "source" and code.isdigit() and code != "0":
        prefix = f"cluster.{labels['destination_service_name']}.upstream_rq_"
        yield f"{prefix}{code}"
        yield f"{prefix}{code[0]}xx"
        yield f"{prefix}completed"


def _envoys_histogram(name: str, labels: Mapping[str, str]) -> Iterator[str]:
    if name == "istio_request_duration_milliseconds":
        if labels["reporter"] == "source":
            yield f"cluster.{labels['destination_service_name']}.upstream_rq_time"
        else:
            yield "http.inbound.downstream_rq_time"


class Query:
    """What of them is asked for.

    Raises:
        WrongQuery: for an expression or a type that is none.
    """

    def __init__(self, filter: str = "", used_only: bool = False, type: str = "All") -> None:
        kind = next((each for each in TYPES if each.lower() == type.lower()), None)
        if kind is None:
            raise WrongQuery(f"type={type[:40]!r}: use one of {', '.join(TYPES)}")
        self._kind = kind
        self._used_only = used_only
        self._filter: regexp.Regexp | None = None
        if len(filter) > FILTER_MAX:
            raise WrongQuery(f"filter: has more than {FILTER_MAX} characters")
        if filter:
            try:
                self._filter = regexp.compile(filter, search=True)
            except regexp.RegexpError as error:
                raise WrongQuery(f"filter: Invalid regex: {error}") from None

    def numbers(self, stats: Stats) -> list[tuple[str, float]]:
        """Counters and gauges, by name."""
        found: dict[str, float] = {}
        if self._kind in ("All", "Counters"):
            found |= stats.counters
        if self._kind in ("All", "Gauges"):
            found |= stats.gauges
        return sorted((name, value) for name, value in found.items() if self._wanted(name, bool(value)))

    def histograms(self, stats: Stats) -> list[tuple[str, Buckets]]:
        """By name."""
        if self._kind not in ("All", "Histograms"):
            return []
        found = stats.histograms.items()
        return sorted((name, each) for name, each in found if self._wanted(name, each.total > 0))

    def _wanted(self, name: str, used: bool) -> bool:
        if self._used_only and not used:
            return False
        return self._filter is None or self._filter.search(name.encode()) is not None


def stats_text(stats: Stats, query: Query) -> str:
    """A line for each."""
    lines = [f"{name}: {plain(value)}" for name, value in query.numbers(stats)]
    for name, each in query.histograms(stats):
        words = " ".join(f"P{plain(100 * at)}(nan,{_shown(quantile(each, at))})" for at in QUANTILES)
        lines.append(f"{name}: {words if each.total else 'No recorded values'}")
    return "".join(f"{line}\n" for line in lines)


def stats_json(stats: Stats, query: Query) -> dict[str, Any]:
    """The same as Envoy's `format=json` has it."""
    rows: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in query.numbers(stats)]
    computed = [
        {"name": name, "values": [{"interval": None, "cumulative": quantile(each, at)} for at in QUANTILES]}
        for name, each in query.histograms(stats)
    ]
    if computed:
        quantiles = {"supported_quantiles": [100 * at for at in QUANTILES], "computed_quantiles": computed}
        rows.append({"histograms": quantiles})
    return {"stats": rows}


def quantile(buckets: Buckets, at: float) -> float | None:
    """Read from the bucket that it lies in, by a straight line; None without samples."""
    if not buckets.total:
        return None
    rank, below, before = at * buckets.total, 0.0, 0.0
    for bound, count in zip(buckets.bounds, buckets.counts, strict=True):
        if count > before and count >= rank:
            if math.isinf(bound):
                return below  # beyond the last bound nothing is known
            return round(below + (bound - below) * (rank - before) / (count - before), 6)
        below, before = bound, count
    return below


def plain(number: float) -> str:
    """Whole numbers without a point."""
    return str(int(number)) if number == int(number) else repr(round(number, 6))


def _shown(number: float | None) -> str:
    return "nan" if number is None else plain(number)


__all__: Sequence[str] = ("Query", "Stats", "WrongQuery", "stats_json", "stats_text")
