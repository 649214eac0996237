"""The minimum rate of a request's body: which bytes and which seconds count."""

from __future__ import annotations

import pytest

from sidecar.io.pace import SECOND_LOOK_S, WINDOW_S, Pace
from tests.fakes.clock import FakeClock

RATE = 100


class Body:
    """A body that is looked at whenever `Pace` asks for it."""

    def __init__(self, waits: bool = False) -> None:
        self.clock = FakeClock()
        self.pace = Pace(RATE, waits, self.clock)
        self.next = self.clock() + self.pace.look()

    def survives(self, seconds: float, a_second: int = 0) -> bool:
        """Time passes, with so many bytes at the end of each second."""
        for _ in range(int(seconds * 4)):
            self.clock.advance(0.25)
            if self.next <= self.clock():
                again = self.pace.look()
                if not again:
                    return False
                self.next = self.clock() + again
            if a_second and self.clock() % 1.0 == 0.0:
                self.pace.add(a_second)
        return True


def test_a_body_at_the_rate_comes_for_as_long_as_it_likes() -> None:
    """Evenly, or in bursts with less than a window between them."""
    assert Body().survives(300, RATE)
    bursts = Body()
    for _ in range(20):
        bursts.pace.add(10 * RATE)
        assert bursts.survives(WINDOW_S - 1)


@pytest.mark.parametrize("a_second", [0, 1, RATE - 10])
def test_a_slower_one_is_found_at_the_end_of_the_first_window(a_second: int) -> None:
    """Silence, a byte a second, or nearly enough."""
    body = Body()
    assert body.survives(WINDOW_S, a_second)
    assert not body.survives(1.0, a_second)


def test_what_was_fast_before_buys_no_time() -> None:
    """A megabyte, and then a byte a second."""
    body = Body()
    body.pace.add(1_000_000)
    assert not body.survives(WINDOW_S + 1.0, 1)


def test_a_pause_of_ours_is_not_the_clients() -> None:
    """However long, and as often as it comes."""
    body = Body()
    for _ in range(5):
        body.pace.pause()
        body.pace.pause()
        assert body.survives(60)
        body.pace.resume()
        assert body.survives(1)
    assert body.survives(WINDOW_S - 5)
    assert not body.survives(1.0)


def test_bytes_that_waited_while_we_stood_still_count() -> None:
    """The timer comes before the read, when both are due."""
    body = Body()
    body.clock.advance(60.0)
    assert body.pace.look() == SECOND_LOOK_S
    body.pace.add(10 * RATE)
    assert body.pace.look() == WINDOW_S


def test_who_waits_to_be_asked_is_measured_from_the_first_byte() -> None:
    """The answer to an expectation is the app's to give."""
    body = Body(waits=True)
    assert body.survives(100)
    body.pace.add(1)
    assert body.survives(WINDOW_S - 1)
    assert not body.survives(WINDOW_S + 1.5)
