"""Snapshots of several workers as one: counts add up, of states the worst is shown; pure.

Percentiles cannot be had from percentiles: of those the slowest worker's are shown, so none is better than it
looks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias

from ..balance.view import merged_view

Snapshot: TypeAlias = dict[str, Any]

_CONNECTIONS = ("downstream", "upstream_idle", "upstream_active")
_PERCENTILES = ("p50_ms", "p95_ms", "p99_ms")
# What only grows, in each part of a snapshot.
_SIDE = ("requests", "failed")
_UPSTREAM = ("requests", "failed", "retries", "overflows")
_ENDPOINT = ("opens", "requests", "failures", "rejections")


def merged(parts: Sequence[Snapshot]) -> Snapshot:
    """One snapshot of the shape of `observe.snapshot`, for at least one part."""
    sides = [part["outbound"] for part in parts if part["outbound"] is not None]
    return {
        **parts[0],
        "state": "draining" if any(part["state"] == "draining" for part in parts) else "serving",
        "outbound": _side(sides) if sides else None,
        "upstreams": _upstreams(parts),
        # all act on the same set within a moment; until then the one that lags behind is shown
        "policy": min((part["policy"] for part in parts), key=_lag),
        "connections": {name: sum(part["connections"][name] for part in parts) for name in _CONNECTIONS},
    }


def _lag(policy: dict[str, Any]) -> tuple[bool, float]:
    return not policy["problem"], policy["at"]


def _side(sides: Sequence[dict[str, Any]]) -> dict[str, Any]:
    totals = {name: sum(side[name] for side in sides) for name in (*_SIDE, "in_flight")}
    return {**totals, "window": _window([side["window"] for side in sides])}


def _window(windows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    rate = sum(window["rps"] for window in windows)
    errors = sum(window["rps"] * window["error_rate"] for window in windows)
    result: dict[str, Any] = {"rps": round(rate, 3)}
    for name in _PERCENTILES:
        result[name] = max((window[name] for window in windows if window[name] is not None), default=None)
    result["error_rate"] = round(errors / rate, 6) if rate else max(each["error_rate"] for each in windows)
    return result


def _upstreams(parts: Sequence[Snapshot]) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {}
    for part in parts:
        for name, upstream in part["upstreams"].items():
            found.setdefault(name, []).append(upstream)
    return {name: _upstream(views) for name, views in found.items()}


def _upstream(views: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        **merged_view([("", view) for view in views]),
        "requests": sum(view["requests"] for view in views),
        "failed": sum(view["failed"] for view in views),
        "window": _window([view["window"] for view in views]),
        "stale_s": max(view["stale_s"] for view in views),
        "subsets": sorted({subset for view in views for subset in view["subsets"]}),
    }


# ---- what stays of a worker that is gone ---------------------------------------------------------------

# ("outbound", name), ("upstream", its name, name) or ("endpoint", upstream, its id, name) -> count
Counts: TypeAlias = Counter[tuple[str, ...]]


def counted(snapshot: Snapshot) -> Counts:
    """All that only grows."""
    counts: Counts = Counter()
    if snapshot["outbound"] is not None:
        counts.update({("outbound", name): snapshot["outbound"][name] for name in _SIDE})
    for key, upstream in snapshot["upstreams"].items():
        counts.update({("upstream", key, name): upstream[name] for name in _UPSTREAM})
        for row in upstream["endpoints"]:
            counts.update({("endpoint", key, row["id"], name): row[name] for name in _ENDPOINT})
    return counts


def added(snapshot: Snapshot, gone: Counts) -> Snapshot:
    """The snapshot with the counts of those that are gone, for all that it still shows."""

    def plus(part: dict[str, Any], names: Sequence[str], *path: str) -> dict[str, Any]:
        return {**part, **{name: part[name] + gone[(*path, name)] for name in names}}

    side = snapshot["outbound"]
    upstreams = {}
    for key, upstream in snapshot["upstreams"].items():
        rows = [plus(row, _ENDPOINT, "endpoint", key, row["id"]) for row in upstream["endpoints"]]
        upstreams[key] = {**plus(upstream, _UPSTREAM, "upstream", key), "endpoints": rows}
    return {
        **snapshot,
        "outbound": None if side is None else plus(side, _SIDE, "outbound"),
        "upstreams": upstreams,
    }
