"""In any window, retries stay below the ratio of requests plus the reserve."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.policy.errors import PolicyError
from sidecar.policy.retry_budget import BudgetPolicy, RetryBudget
from tests.fakes.clock import FakeClock


@given(st.lists(st.tuples(st.sampled_from(["request", "retry"]), st.floats(0.0, 0.7)), max_size=300))
def test_never_more_retries_than_the_window_pays(events: list[tuple[str, float]]) -> None:
    """Recounted over the last ten buckets: retries <= 0.2 x requests + 30, and tokens are never negative."""
    clock = FakeClock()
    budget = RetryBudget(BudgetPolicy(), clock)
    log: list[tuple[int, str]] = []
    for kind, pause in events:
        clock.advance(pause)
        if kind == "request":
            budget.deposit()
            log.append((int(clock.now), kind))
        elif budget.withdraw():
            log.append((int(clock.now), kind))
            recent = [what for bucket, what in log if bucket > int(clock.now) - 10]
            assert recent.count("retry") <= 0.2 * recent.count("request") + 30
        assert budget.tokens() >= -0.2 * len(log)  # requests that left may leave a debt


def test_the_reserve_alone_pays_for_a_kill_at_500_requests_a_second() -> None:
    """11 attempts are lost in the worst moment that we promise to survive; 30 are there without any
    request.
    """
    budget = RetryBudget(BudgetPolicy(), FakeClock())
    assert sum(budget.withdraw() for _ in range(100)) == 30


def test_tokens_come_back_with_time_and_requests() -> None:
    """Withdrawals leave the window after ten seconds; each request brings a fifth of a token."""
    clock = FakeClock()
    budget = RetryBudget(BudgetPolicy(reserve_per_s=0.0), clock)
    for _ in range(10):
        budget.deposit()
    assert (budget.withdraw(), budget.withdraw(), budget.withdraw()) == (True, True, False)
    clock.advance(11.0)
    for _ in range(5):
        budget.deposit()
    assert (budget.withdraw(), budget.withdraw()) == (True, False)
    assert budget.snapshot() == {"tokens": 0.0, "max": 1.0}


def test_a_part_of_a_token_buys_nothing() -> None:
    """Fourteen requests pay for two retries, not for two and four fifths."""
    budget = RetryBudget(BudgetPolicy(reserve_per_s=0.0), FakeClock())
    for _ in range(14):
        budget.deposit()
    assert sum(budget.withdraw() for _ in range(5)) == 2
    assert budget.snapshot() == {"tokens": 0.8, "max": 2.8}
    assert budget.withdrawn == 2


def test_a_debt_is_shown_as_nothing_left() -> None:
    """Requests leave the window before the retries that they paid for."""
    clock = FakeClock()
    budget = RetryBudget(BudgetPolicy(reserve_per_s=0.0), clock)
    for _ in range(10):
        budget.deposit()
    clock.advance(9.0)
    assert (budget.withdraw(), budget.withdraw()) == (True, True)
    clock.advance(2.0)
    assert budget.tokens() == -2.0
    assert budget.snapshot()["tokens"] == 0.0
    assert not budget.withdraw()


def test_a_policy_that_is_applied_again_is_no_new_budget() -> None:
    """Only a window of another length starts empty."""
    budget = RetryBudget(BudgetPolicy(), FakeClock())
    assert all(budget.withdraw() for _ in range(30))
    budget.set_policy(BudgetPolicy(ratio=0.5))
    assert not budget.withdraw()
    budget.set_policy(BudgetPolicy(window_s=20.0))
    assert budget.tokens() == 60.0


def test_settings_are_validated() -> None:
    """A ratio above 1 is a mistake, and the error names the field."""
    with pytest.raises(PolicyError, match=r"budget\.ratio"):
        BudgetPolicy(ratio=20)
