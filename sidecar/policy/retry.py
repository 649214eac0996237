"""May this attempt be repeated: each "no" has its own reason, and only a "yes" costs a token.

Order of the questions, cheapest and most certain first: has the answer begun, is the body still there, is the
outcome one that may be repeated, is it safe (idempotent, or no byte was processed), are attempts left, did a
hop below already retry, does the wait fit into the time left, and last: does the budget pay.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from .backoff import BackoffPolicy, after_hint, full_jitter
from .errors import PolicyError, check_range
from .outcome import FEEDS, Outcome, RetryRule

MAX_ATTEMPTS: Final = 10
MAX_RETRY_AFTER_S: Final = 30.0  # a longer hint means "not now": the caller should hear it
# Conditions in Envoy's words -> outcomes. 'gateway-error', 'retriable-status-codes' narrow APP_FAILURE by
# status.
_CONDITIONS: Final[dict[str, frozenset[Outcome]]] = {
    "connect-failure": frozenset({Outcome.CONNECT_FAILURE}),
    "refused-stream": frozenset({Outcome.CONNECT_FAILURE}),
    "reset": frozenset({Outcome.RESET, Outcome.REUSED_RESET, Outcome.TIMEOUT_TRY}),
    "reset-before-request": frozenset({Outcome.REUSED_RESET}),
    "5xx": frozenset(
        {
            Outcome.APP_FAILURE,
            Outcome.RESET,
            Outcome.REUSED_RESET,
            Outcome.TIMEOUT_TRY,
            Outcome.CONNECT_FAILURE,
        }
    ),
    "gateway-error": frozenset(),
    "retriable-status-codes": frozenset(),
    "rate-limited": frozenset({Outcome.RATE_LIMITED}),
}
CONDITIONS: Final = frozenset(_CONDITIONS)
_GATEWAY_STATUSES: Final = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`max_attempts` tries in all (1 = no retry) on the conditions `retry_on`.

    A failed connect may go on to `max_connect_attempts` endpoints, because nothing was processed anywhere.
    `statuses` belong to 'retriable-status-codes'. `unsafe_too` retries also what is not idempotent: only the
    owner of a service can know that. `per_try_s` bounds each attempt, the last too; none unless a document
    names one, for a slow answer is no failure.

    Three tries, as in Istio, not two: one kill can cost a request two of them, the connection that is reset
    and the next one, accepted by a process that is about to be gone. What bounds a storm is the budget.
    """

    max_attempts: int = 3
    max_connect_attempts: int = 3
    retry_on: frozenset[str] = frozenset({"connect-failure", "reset", "5xx"})
    statuses: frozenset[int] = frozenset()
    per_try_s: float = math.inf
    unsafe_too: bool = False
    backoff: BackoffPolicy = field(default_factory=BackoffPolicy)

    def __post_init__(self) -> None:
        check_range("retry.max_attempts", self.max_attempts, 1, MAX_ATTEMPTS)
        check_range("retry.max_connect_attempts", self.max_connect_attempts, 1, MAX_ATTEMPTS)
        check_range("retry.per_try_s", self.per_try_s, 0.001, math.inf)
        unknown = self.retry_on - CONDITIONS
        if unknown:
            raise PolicyError(
                "retry.retry_on", f"unknown {sorted(unknown)}; known are {', '.join(sorted(CONDITIONS))}"
            )

    def names(self, status: int) -> bool:
        """Whether a document names this very status, be it one that is usually no failure."""
        return status in self.statuses and "retriable-status-codes" in self.retry_on

    def covers(self, outcome: Outcome, status: int) -> bool:
        """Is `outcome` (and `status`, 0 = none) among the conditions."""
        for condition in self.retry_on:
            if outcome in _CONDITIONS[condition]:
                return True
            if condition == "gateway-error" and status in _GATEWAY_STATUSES:
                return True
            if condition == "retriable-status-codes" and status in self.statuses:
                return True
        return False


class Retry:
    """Yes: wait `delay_s` seconds, then pick again. The token is already taken."""

    __slots__ = ("delay_s",)

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s

    def __repr__(self) -> str:
        return f"Retry({self.delay_s:.3f})"


class Refusal:
    """No, and `reason` is one of a fixed set (they are metric labels)."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __repr__(self) -> str:
        return f"Refusal({self.reason!r})"


RESPONSE_STARTED: Final = Refusal("response_started")
BODY_GONE: Final = Refusal("body_not_replayable")
NOT_RETRYABLE: Final = Refusal("outcome_not_retryable")
NOT_IDEMPOTENT: Final = Refusal("not_idempotent")
LIMIT: Final = Refusal("attempts_exhausted")
RETRIED_BELOW: Final = Refusal("retried_below")
NOBODY_READY: Final = Refusal("no_endpoint_ready")  # all are bad: another attempt only adds load
NO_TIME: Final = Refusal("no_time_left")
NO_BUDGET: Final = Refusal("budget_exhausted")


def decide_retry(
    policy: RetryPolicy,
    outcome: Outcome,
    attempts: int,
    *,
    idempotent: bool,
    replayable: bool,
    response_started: bool,
    remaining_s: float,
    retry_after_s: float | None,
    status: int,
    retried_below: bool,
    elsewhere: bool,
    withdraw: Callable[[], bool],
    rng: random.Random,
) -> Retry | Refusal:
    """The decision; `elsewhere` = another endpoint is ready, so a transport failure need not wait."""
    if response_started:
        return RESPONSE_STARTED
    if not replayable:
        return BODY_GONE
    rule = FEEDS[outcome].retry
    if not policy.covers(outcome, status):
        return NOT_RETRYABLE
    if rule == RetryRule.NEVER and not (outcome == Outcome.CLIENT_ERROR and policy.names(status)):
        return NOT_RETRYABLE
    if rule != RetryRule.ALWAYS and not (idempotent or policy.unsafe_too):
        return NOT_IDEMPOTENT
    if policy.max_attempts == 1:  # retries are switched off, the safe ones too
        return LIMIT
    safe = outcome in (Outcome.CONNECT_FAILURE, Outcome.REUSED_RESET)
    if attempts >= (max(policy.max_connect_attempts, policy.max_attempts) if safe else policy.max_attempts):
        return LIMIT
    if retried_below:
        return RETRIED_BELOW
    if retry_after_s is not None and outcome == Outcome.RATE_LIMITED:
        if retry_after_s > MAX_RETRY_AFTER_S:
            return NO_TIME
        delay = after_hint(retry_after_s, rng)
    elif elsewhere and outcome != Outcome.APP_FAILURE:
        delay = 0.0  # a dead or frozen endpoint was left: waiting would help nobody
    elif outcome == Outcome.REUSED_RESET:
        delay = 0.0
    else:
        delay = full_jitter(policy.backoff, attempts, rng)
    if delay >= remaining_s:
        return NO_TIME
    # The keep-alive race is no load on the service, so it is free; it is bounded by the attempts.
    if outcome != Outcome.REUSED_RESET and not withdraw():
        return NO_BUDGET
    return Retry(delay)
