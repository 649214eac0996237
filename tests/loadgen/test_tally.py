"""Tallies: the counts add up, every failure has a reason."""

from loadgen.tally import IN_FLIGHT_CAP, TOO_LATE, Tally, merged


def worked() -> Tally:
    tally = Tally()
    for _ in range(4):
        tally.send(100)
    tally.drop(TOO_LATE)
    tally.complete(2000, 1900, 200, None)
    tally.complete(9000, 8900, 503, "http_503")
    tally.complete(1_000_000, 999_000, None, "timeout")
    return tally


def test_counts_add_up() -> None:
    """planned = sent + dropped, completed = ok + failed = the sum of the reasons."""
    tally = worked()
    assert (tally.planned, tally.sent, tally.dropped) == (5, 4, 1)
    assert (tally.completed, tally.ok, tally.failed) == (3, 1, 2)
    assert tally.errors == {"http_503": 1, "timeout": 1}
    assert tally.statuses == {200: 1, 503: 1}
    assert tally.dropped_reasons == {TOO_LATE: 1}


def test_failures_are_samples_of_their_own_and_of_the_whole() -> None:
    """A time-out is in the response times, and ok latencies stay clean of it."""
    tally = worked()
    assert tally.response().max_us == 1_000_000
    assert tally.response().count == 3
    assert tally.response_ok.max_us == 2000
    assert tally.service.count == 3
    assert tally.lateness.count == 4


def test_merging_adds_everything_and_leaves_the_parts_alone() -> None:
    """Two tallies and their sum."""
    left, right = worked(), worked()
    right.drop(IN_FLIGHT_CAP)
    whole = merged([left, right])
    assert (whole.planned, whole.sent, whole.ok, whole.failed) == (11, 8, 2, 4)
    assert whole.dropped_reasons == {TOO_LATE: 2, IN_FLIGHT_CAP: 1}
    assert whole.errors == {"http_503": 2, "timeout": 2}
    assert whole.statuses == {200: 2, 503: 2}
    assert whole.response().count == 6
    assert (whole.service.count, whole.lateness.count) == (6, 8)
    assert left.planned == 5
