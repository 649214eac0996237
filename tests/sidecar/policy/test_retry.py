"""Each reason not to retry, and the one way to a yes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.policy.backoff import BackoffPolicy, after_hint, full_jitter
from sidecar.policy.errors import PolicyError
from sidecar.policy.outcome import Outcome
from sidecar.policy.retry import Refusal, Retry, RetryPolicy, decide_retry


class Asked:
    """Calls `decide_retry` with an easy yes, except for what the test says; counts withdrawals."""

    def __init__(self, funds: bool = True) -> None:
        self.withdrawn = 0
        self.funds = funds

    def _withdraw(self) -> bool:
        self.withdrawn += 1
        return self.funds

    def __call__(self, outcome: Outcome, attempts: int = 1, **change: object) -> Retry | Refusal:
        kwargs: dict[str, object] = {
            "idempotent": True,
            "replayable": True,
            "response_started": False,
            "remaining_s": 5.0,
            "retry_after_s": None,
            "status": 0,
            "retried_below": False,
            "elsewhere": True,
            "withdraw": self._withdraw,
            "rng": random.Random(7),
        }
        policy = change.pop("policy", RetryPolicy())
        return decide_retry(policy, outcome, attempts, **{**kwargs, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("outcome", "change", "reason"),
    [
        (Outcome.APP_FAILURE, {"response_started": True}, "response_started"),
        (Outcome.APP_FAILURE, {"replayable": False}, "body_not_replayable"),
        (Outcome.CLIENT_ERROR, {}, "outcome_not_retryable"),
        (Outcome.SHED, {}, "outcome_not_retryable"),
        (Outcome.RATE_LIMITED, {"retry_after_s": 1.0}, "outcome_not_retryable"),
        (Outcome.TIMEOUT_TOTAL, {}, "outcome_not_retryable"),
        (Outcome.CANCELLED, {}, "outcome_not_retryable"),
        (Outcome.APP_FAILURE, {"idempotent": False}, "not_idempotent"),
        (Outcome.RESET, {"idempotent": False}, "not_idempotent"),
        (Outcome.REUSED_RESET, {"idempotent": False}, "not_idempotent"),
        (Outcome.APP_FAILURE, {"attempts": 3}, "attempts_exhausted"),
        (Outcome.CONNECT_FAILURE, {"attempts": 3}, "attempts_exhausted"),
        (Outcome.APP_FAILURE, {"retried_below": True}, "retried_below"),
        (Outcome.APP_FAILURE, {"remaining_s": 0.0}, "no_time_left"),
    ],
)
def test_each_no_has_its_reason_and_costs_no_token(
    outcome: Outcome, change: dict[str, object], reason: str
) -> None:
    """Only a yes may take from the budget."""
    asked = Asked()
    answer = asked(outcome, **change)  # type: ignore[arg-type]
    assert isinstance(answer, Refusal)
    assert answer.reason == reason
    assert asked.withdrawn == 0


def test_an_empty_budget_is_the_last_no() -> None:
    """All else says yes."""
    answer = Asked(funds=False)(Outcome.APP_FAILURE)
    assert isinstance(answer, Refusal)
    assert answer.reason == "budget_exhausted"


def test_a_post_that_never_left_is_retried_three_times_in_all() -> None:
    """A failed connect is safe for every method, and for one attempt more."""
    asked = Asked()
    assert isinstance(asked(Outcome.CONNECT_FAILURE, 1, idempotent=False), Retry)
    assert isinstance(asked(Outcome.CONNECT_FAILURE, 2, idempotent=False), Retry)
    assert asked.withdrawn == 2


def test_no_wait_when_a_dead_endpoint_is_left_for_another() -> None:
    """Backoff protects a loaded service; a refused connect says nothing about load."""
    answer = Asked()(Outcome.RESET)
    assert isinstance(answer, Retry)
    assert answer.delay_s == 0.0
    alone = Asked()(Outcome.RESET, elsewhere=False)
    assert isinstance(alone, Retry)
    assert 0.0 < alone.delay_s <= 0.025


def test_the_keep_alive_race_is_free_of_charge() -> None:
    """It is no load on the service."""
    asked = Asked(funds=False)
    assert isinstance(asked(Outcome.REUSED_RESET), Retry)


def test_the_keep_alive_race_does_not_wait() -> None:
    """Not even where no other endpoint is ready: the next connection is a fresh one."""
    answer = Asked()(Outcome.REUSED_RESET, elsewhere=False)
    assert isinstance(answer, Retry)
    assert answer.delay_s == 0.0


def test_a_connect_may_be_tried_more_often_than_a_request() -> None:
    """Nothing was processed anywhere."""
    policy = RetryPolicy(max_attempts=2, max_connect_attempts=4)
    assert isinstance(Asked()(Outcome.CONNECT_FAILURE, 3, policy=policy), Retry)
    assert isinstance(Asked()(Outcome.CONNECT_FAILURE, 4, policy=policy), Refusal)
    assert isinstance(Asked()(Outcome.RESET, 2, policy=policy), Refusal)


def test_the_owner_of_a_service_may_say_that_a_post_is_safe() -> None:
    """Only that makes it so."""
    unsafe_too = RetryPolicy(unsafe_too=True)
    assert isinstance(Asked()(Outcome.RESET, idempotent=False, policy=unsafe_too), Retry)
    assert isinstance(Asked()(Outcome.SHED, idempotent=False, policy=unsafe_too), Refusal)


def test_switched_off_means_off() -> None:
    """One attempt in all excludes the safe retries too."""
    answer = Asked()(Outcome.CONNECT_FAILURE, policy=RetryPolicy(max_attempts=1))
    assert isinstance(answer, Refusal)
    assert answer.reason == "attempts_exhausted"


def test_conditions_narrow_by_status() -> None:
    """gateway-error means 502, 503 and 504; listed codes mean themselves."""
    gateway = RetryPolicy(retry_on=frozenset({"gateway-error"}))
    listed = RetryPolicy(retry_on=frozenset({"retriable-status-codes"}), statuses=frozenset({500}))
    assert isinstance(Asked()(Outcome.APP_FAILURE, status=503, policy=gateway), Retry)
    assert isinstance(Asked()(Outcome.APP_FAILURE, status=500, policy=gateway), Refusal)
    assert isinstance(Asked()(Outcome.APP_FAILURE, status=500, policy=listed), Retry)


def test_rate_limited_by_policy_waits_what_the_server_says() -> None:
    """U[x, 1.5x] of Retry-After; beyond 30 s the caller should hear it instead."""
    policy = RetryPolicy(retry_on=frozenset({"rate-limited"}))
    answer = Asked()(Outcome.RATE_LIMITED, retry_after_s=2.0, policy=policy)
    assert isinstance(answer, Retry)
    assert 2.0 <= answer.delay_s <= 3.0
    assert isinstance(Asked()(Outcome.RATE_LIMITED, retry_after_s=5.0, policy=policy), Refusal)
    assert isinstance(
        Asked()(Outcome.RATE_LIMITED, retry_after_s=31.0, remaining_s=99.0, policy=policy), Refusal
    )


@given(st.integers(1, 60), st.integers(0, 2**32))
def test_backoff_stays_in_its_bounds(attempts: int, seed: int) -> None:
    """U[0, base x 2^(n-1)], never above the cap, for any number of attempts."""
    delay = full_jitter(BackoffPolicy(0.025, 0.25), attempts, random.Random(seed))
    assert 0.0 <= delay <= min(0.25, 0.025 * 2.0 ** (attempts - 1))
    assert 1.0 <= after_hint(1.0, random.Random(seed)) <= 1.5


class Half(random.Random):
    """Dice that always show the middle."""

    def random(self) -> float:
        return 0.5


def test_the_middle_of_each_backoff() -> None:
    """base x 2^(n-1) up to the cap; Retry-After and a quarter of it."""
    waits = [full_jitter(BackoffPolicy(0.025, 0.25), attempts, Half()) for attempts in (1, 2, 3, 4, 5, 60)]
    assert waits == pytest.approx([0.0125, 0.025, 0.05, 0.1, 0.125, 0.125])
    assert after_hint(2.0, Half()) == 2.5


def test_settings_are_validated() -> None:
    """An unknown condition is named, with the known ones."""
    with pytest.raises(PolicyError, match=r"5xxx.*connect-failure"):
        RetryPolicy(retry_on=frozenset({"5xxx"}))
    with pytest.raises(PolicyError, match=r"backoff\.cap_s"):
        BackoffPolicy(1.0, 0.5)
