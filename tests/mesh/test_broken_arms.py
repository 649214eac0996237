"""What is said of a canary that fails."""

from typing import Any

from mesh.broken_arms import ATTEMPTS_MIN, broken_arms

SHARE = "and the rule reviews/0 sends it 50 %: who is sent there sees that"


def caller(*arms: tuple[str, int, int], opened: bool = False) -> dict[str, Any]:
    rule = {"rule": "reviews/0", "percent": 50.0, "open": opened}
    rows = [{"key": key, "attempts": attempts, "failed": failed, **rule} for key, attempts, failed in arms]
    return {"upstreams": {"reviews": {"arms": rows}}}


def test_an_arm_that_mostly_fails_is_told() -> None:
    """By all of its callers together; the other arm is well."""
    callers = [caller(("reviews|v1", 50, 0), ("reviews|v2", 6, 6)), caller(("reviews|v2", 6, 5))]
    assert broken_arms(callers) == [f"reviews v2 fails 92% of its requests, {SHARE}"]


def test_an_arm_that_is_open_gets_few_requests_and_is_told_all_the_same() -> None:
    callers = [caller(("reviews|v2", 1, 1), opened=True), caller(("reviews|v2", 0, 0))]
    assert broken_arms(callers) == [f"reviews v2 has no endpoint that works, {SHARE}"]


def test_a_few_failures_prove_nothing() -> None:
    assert broken_arms([caller(("reviews|v2", ATTEMPTS_MIN - 1, ATTEMPTS_MIN - 1))]) == []
    assert broken_arms([caller(("reviews|v2", 40, 19))]) == []


def test_who_says_nothing_is_no_trouble() -> None:
    """A sidecar that was not asked yet, or is another program's."""
    assert broken_arms([{}, {"upstreams": None}, {"upstreams": {"a": {}}}]) == []
