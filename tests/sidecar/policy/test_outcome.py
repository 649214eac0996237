"""The table of outcomes is complete and says what the words promise."""

import pytest

from sidecar.policy.outcome import FEEDS, Evidence, Outcome, Penalty, RetryRule, Share, classify_status


def test_every_outcome_has_its_row() -> None:
    """The rows are found by the outcome's number."""
    assert len(FEEDS) == len(Outcome)
    assert [int(outcome) for outcome in Outcome] == list(range(len(FEEDS)))


def test_the_keep_alive_race_charges_nobody() -> None:
    """A reused connection that dies before an answer is no evidence, no penalty and no failure of the
    service.
    """
    row = FEEDS[Outcome.REUSED_RESET]
    assert (row.evidence, row.penalty, row.share) == (Evidence.NEUTRAL, 0, Share.UNCOUNTED)


def test_protection_is_no_failure_of_the_endpoint() -> None:
    """Ejecting who sheds would move its load to the others; the balancer turns away, the service counts."""
    row = FEEDS[Outcome.SHED]
    assert (row.evidence, row.retry, row.penalty) == (Evidence.NEUTRAL, RetryRule.NEVER, Penalty.HARD)
    assert (row.share, row.answered) == (Share.FAILED, True)


def test_a_caller_that_gave_up_says_nothing_about_the_service() -> None:
    """Or a browser that reloads would open it; the attempt's age is still a bound of its latency."""
    row = FEEDS[Outcome.CANCELLED]
    assert (row.evidence, row.share, row.latency) == (Evidence.IF_SLOW, Share.UNCOUNTED, True)


def test_only_a_failed_connect_may_always_be_repeated() -> None:
    """Nothing was processed there, and only there."""
    assert [o for o in Outcome if FEEDS[o].retry is RetryRule.ALWAYS] == [Outcome.CONNECT_FAILURE]


@pytest.mark.parametrize(
    ("status", "overloaded", "expected"),
    [
        (200, False, Outcome.SUCCESS),
        (304, False, Outcome.SUCCESS),
        (404, False, Outcome.CLIENT_ERROR),
        (429, False, Outcome.RATE_LIMITED),
        (429, True, Outcome.SHED),
        (500, False, Outcome.APP_FAILURE),
        (500, True, Outcome.APP_FAILURE),
        (501, False, Outcome.CLIENT_ERROR),
        (503, False, Outcome.APP_FAILURE),
        (503, True, Outcome.SHED),
        (505, False, Outcome.CLIENT_ERROR),
        (404, True, Outcome.CLIENT_ERROR),
    ],
)
def test_a_status_is_classified_in_one_place(status: int, overloaded: bool, expected: Outcome) -> None:
    """4xx prove that the endpoint works; `x-envoy-overloaded` makes 429 and 503 a shed."""
    assert classify_status(status, overloaded) is expected
