"""The index rules, the pace and the back-off of a watch."""

import random

import pytest

from registry.client.cursor import BURST, RATE, WAIT, WAIT_SPREAD, Backoff, Cursor, Pace, jittered_wait
from tests.fakes.clock import FakeClock


def test_the_first_query_does_not_block_and_then_the_index_follows() -> None:
    cursor = Cursor()
    assert cursor.index == 0
    assert not cursor.answered(7)
    assert cursor.index == 7
    assert not cursor.answered(9)
    assert cursor.index == 9


def test_an_index_that_goes_backwards_starts_from_zero() -> None:
    cursor = Cursor()
    cursor.answered(100)
    assert cursor.answered(3)
    assert cursor.index == 0
    assert not cursor.answered(3)
    assert cursor.index == 3


@pytest.mark.parametrize("index", [0, -5])
def test_an_index_below_one_counts_as_one(index: int) -> None:
    """0 would make the next query answer at once, for ever."""
    cursor = Cursor()
    cursor.answered(index)
    assert cursor.index == 1


def test_after_a_loss_the_next_query_does_not_block_but_a_rebirth_is_still_seen() -> None:
    """Asking a reborn registry with the old, higher index would wait for nothing."""
    cursor = Cursor()
    cursor.answered(100)
    cursor.lost()
    assert cursor.index == 0
    assert cursor.answered(5)


def test_the_pace_allows_a_burst_and_then_its_rate() -> None:
    clock = FakeClock()
    pace = Pace(clock)
    assert [pace.delay() for _ in range(BURST)] == [0] * BURST
    asked = 0
    began = clock()
    while clock() < began + 10:
        clock.advance(pace.delay())
        asked += 1
    assert asked == pytest.approx(10 * RATE, abs=2)


def test_an_idle_watch_gathers_no_more_than_its_burst() -> None:
    clock = FakeClock()
    pace = Pace(clock)
    clock.advance(3600)
    assert [pace.delay() > 0 for _ in range(BURST + 1)] == [False] * BURST + [True]


def test_the_backoff_grows_to_its_cap_and_forgets() -> None:
    backoff = Backoff(random.Random(1), first=0.1, most=1.5)
    delays = [backoff.failed() for _ in range(2000)]
    assert 0.05 <= delays[0] <= 0.1
    assert all(0.75 <= delay <= 1.5 for delay in delays[5:])
    assert len(set(delays[5:])) > 1000, "jittered"
    backoff.worked()
    assert backoff.failed() <= 0.1


def test_waits_part() -> None:
    rng = random.Random(1)
    waits = {jittered_wait(WAIT, rng) for _ in range(100)}
    assert len(waits) == 100
    assert min(waits) >= WAIT * (1 - WAIT_SPREAD)
    assert max(waits) <= WAIT * (1 + WAIT_SPREAD)
