"""The story of a trace: what stands in it, and that odd records do not stop it."""

from typing import Any

from mesh.explain_text import story

ATTEMPT = {
    "number": 1, "endpoint": "payments-1", "address": "127.0.0.1:1", "reason": "", "start_ms": 0.02,
    "connected_ms": 0.1, "duration_ms": 1.5, "status": 503, "outcome": "app_failure", "breaker": "closed",
    "probe": False,
}  # fmt: skip
SECOND = ATTEMPT | {
    "number": 2, "endpoint": "payments-2", "reason": "URX: answered 503", "start_ms": 21.0,
    "duration_ms": 1200.0, "status": 200, "outcome": "success", "breaker": "half-open", "probe": False,
}  # fmt: skip
OUTBOUND = {
    "trace_id": "a" * 32, "span_id": "b" * 16, "request_id": "r", "at": 1_700_000_000.25,
    "instance": "orders-1", "direction": "outbound", "method": "GET", "path": "/x",
    "host": "payments", "route": "payments/0",
    "policy_version": "0123456789ab", "upstream": "payments|v2", "status": 200, "flag": "URX", "detail": "",
    "duration_ms": 1221.0, "limit_ms": 5000.0, "remaining_ms": 3779.0,
    "budget": {"tokens": 36.6, "max": 63.6}, "kept": "retried",
    "candidates": [
        {"endpoint": "payments-1", "breaker": "closed", "cost_ms": 353.74, "pending": 0, "held": False},
        {"endpoint": "payments-2", "breaker": "half-open", "cost_ms": 1.0, "pending": 0, "held": False},
    ],
    "attempts": [ATTEMPT, SECOND],
}  # fmt: skip
INBOUND = {
    "trace_id": "a" * 32, "at": 1_700_000_000.5, "instance": "payments-1", "direction": "inbound",
    "method": "GET", "path": "/x", "host": "payments", "route": "default", "upstream": "",
    "status": 503, "flag": "FI",
    "detail": "fault payments: aborted", "duration_ms": 0.155, "limit_ms": 4999.0, "remaining_ms": 4998.0,
    "budget": None, "kept": "failed", "candidates": [], "attempts": [],
}  # fmt: skip


def told(*exchanges: dict[str, Any], **more: Any) -> list[str]:
    return story({"trace_id": "a" * 32, "exchanges": list(exchanges), "silent": [], **more})


def test_a_retried_request_is_told_from_its_rule_to_who_answered() -> None:
    """Rule, deadline, budget, answer, candidates, attempts; columns that say nothing are left out."""
    lines = told(OUTBOUND)
    assert lines[0] == f"trace {'a' * 32}: 1 exchange, 1 extra attempt"
    assert lines[2].endswith("orders-1 outbound: GET payments/x → 200 URX in 1.221 s (kept: retried)")
    assert lines[3:] == [
        "  rule      payments/0 → payments|v2 (policies at version 0123456789ab)",
        "  deadline  5 s, 3.779 s left at the end",
        "  budget    tokens 36.6, max 63.6",
        "  answered  by payments-2, attempt 2",
        "  candidates",
        "    ENDPOINT     BREAKER     COST_MS   PENDING",
        "    payments-1   closed      353.7     0",
        "    payments-2   half-open   1         0",
        "  attempts",
        "    #   ENDPOINT     WHY                 AT         TOOK     STATUS   OUTCOME       BREAKER",
        "    1   payments-1   first try           +0.02 ms   1.5 ms   503      app_failure   closed",
        "    2   payments-2   URX: answered 503   +21 ms     1.2 s    200      success       half-open",
    ]


def test_an_answer_of_the_sidecar_itself_says_why() -> None:
    """An injected fault has no attempt and no rule that leads anywhere."""
    lines = told(INBOUND, silent=["users-1"])
    assert lines[2].endswith("payments-1 inbound: GET payments/x → 503 FI in 0.155 ms (kept: failed)")
    assert lines[3:] == [
        "  deadline  4.999 s, 4.998 s left at the end",
        "  because   fault payments: aborted",
        "  answered  by this sidecar itself",
        "",
        "did not answer: users-1",
    ]


def test_a_record_with_holes_is_told_too() -> None:
    """A sidecar of another version; a client that had gone."""
    lines = told({"status": 0, "attempts": [{"number": 1, "endpoint": "a-1"}]})
    assert any("→ no answer in -" in line for line in lines)
    assert "  answered  by nobody" in lines
    assert "  answered  by nobody: the caller was gone" in told({"status": 499, "flag": "DC"})
