"""Snapshots of two workers as one."""

from __future__ import annotations

from typing import Any

from sidecar.workers.snapshot import added, counted, merged


def part(requests: int, breaker: str = "closed", **change: Any) -> dict[str, Any]:
    """What a worker shows that sent `requests` to one endpoint."""
    window = {"rps": float(requests), "p50_ms": 1.0, "p95_ms": 2.0, "p99_ms": 3.0, "error_rate": 0.0}
    row = {"id": "web-1", "breaker": breaker, "opens": 0, "in_flight": 1, "requests": requests}
    upstream = {
        "retries": 1,
        "active": 1,
        "active_high_water": 1,
        "pending": 0,
        "overflows": 0,
        "budget": {"tokens": 5.0, "max": 10.0},
        "service": {"breaker": "closed"},
        "endpoints": [{**row, "failures": 0, "rejections": 0}],
        "subsets": ["v2"],
        "requests": requests,
        "failed": 1,
        "window": window,
        "stale_s": 0.0,
    }
    whole = {
        "name": "ingress",
        "state": "serving",
        "outbound": {"requests": requests, "failed": 1, "in_flight": 1, "window": window},
        "upstreams": {"web": upstream},
        "policy": {"version": "new", "problem": "", "at": 2.0},
        "connections": {"downstream": 3, "upstream_idle": 1, "upstream_active": 1},
    }
    return {**whole, **change}


def test_counts_add_up_and_the_worst_state_is_shown() -> None:
    """Whichever of the two comes first."""
    for parts in ([part(2), part(3, "open")], [part(3, "open"), part(2)]):
        whole = merged(parts)
        assert (whole["outbound"]["requests"], whole["outbound"]["in_flight"]) == (5, 2)
        assert whole["outbound"]["window"]["rps"] == 5.0
        web = whole["upstreams"]["web"]
        assert (web["requests"], web["retries"], web["subsets"]) == (5, 2, ["v2"])
        assert (web["endpoints"][0]["breaker"], web["endpoints"][0]["requests"]) == ("open", 5)
        assert whole["connections"]["downstream"] == 6


def test_a_service_that_only_one_worker_knows_is_shown() -> None:
    """A worker learns of a service when it is first asked for it."""
    assert merged([part(2, upstreams={}), part(3)])["upstreams"]["web"]["requests"] == 3


def test_the_worker_that_lags_behind_speaks_for_the_policies() -> None:
    """Nobody may believe that all act on a set while one does not."""
    old = {"version": "old", "problem": "", "at": 1.0}
    refused = {"version": "old", "problem": "web: no such subset", "at": 3.0}
    assert merged([part(1), part(1, policy=old)])["policy"]["version"] == "old"
    assert merged([part(1), part(1, policy=refused)])["policy"] == refused
    assert merged([part(1), part(1, state="draining")])["state"] == "draining"


def test_percentiles_are_the_slowest_worker_s_and_errors_go_by_rate() -> None:
    """A worker without requests has none."""
    busy, idle = part(9), part(0)
    busy["outbound"]["window"] = {"rps": 9.0, "p50_ms": 4.0, "p95_ms": 5.0, "p99_ms": 6.0, "error_rate": 0.1}
    idle["outbound"]["window"] = {
        "rps": 1.0,
        "p50_ms": None,
        "p95_ms": None,
        "p99_ms": None,
        "error_rate": 0.0,
    }
    window = merged([idle, busy])["outbound"]["window"]
    assert window == {"rps": 10.0, "p50_ms": 4.0, "p95_ms": 5.0, "p99_ms": 6.0, "error_rate": 0.09}


def test_what_a_dead_worker_counted_stays() -> None:
    """And what nobody shows any more does not come back by it."""
    gone = counted(part(4))
    gone.update(counted(part(1)))
    whole = added(merged([part(2)]), gone)
    assert whole["outbound"]["requests"] == whole["upstreams"]["web"]["requests"] == 7
    assert whole["upstreams"]["web"]["endpoints"][0]["requests"] == 7
    assert whole["upstreams"]["web"]["endpoints"][0]["in_flight"] == 1
    assert added(merged([part(2, upstreams={}, outbound=None)]), gone)["upstreams"] == {}
