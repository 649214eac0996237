"""The last second and the last ten."""

import pytest

from loadgen.window import KEPT, Window


def test_before_the_first_whole_second_the_view_is_what_there_is() -> None:
    """Half a second in, the rate is that of the half second."""
    window = Window(100.0)
    for _ in range(20):
        window.at(100.2).send(0)
    view = window.last(10, 100.5)
    assert view.span_s == pytest.approx(0.5)
    assert view.per_second(view.tally.sent) == pytest.approx(40)


def test_an_empty_span_has_rate_zero() -> None:
    """No division by the nothing that has passed."""
    view = Window(5.0).last(1, 5.0)
    assert view.per_second(3) == 0.0


def test_views_cover_whole_seconds_only() -> None:
    """The running second is not in the view, so rates do not sag with the moment of the question."""
    window = Window(0.0)
    for second in range(3):
        for _ in range(second + 1):
            window.at(second + 0.5).send(0)
    assert window.last(1, 2.9).tally.sent == 2
    assert window.last(10, 2.9).tally.sent == 3
    assert window.last(10, 2.9).span_s == 2
    assert window.last(1, 3.0).tally.sent == 3


def test_ten_seconds_are_kept_and_no_more() -> None:
    """The eleventh second pushes the first one out."""
    window = Window(0.0)
    for second in range(30):
        window.at(second + 0.1).send(second)
    view = window.last(KEPT, 30.0)
    assert view.span_s == KEPT
    assert view.tally.sent == KEPT
    assert view.tally.lateness.min_us == 20


def test_silence_empties_the_view() -> None:
    """After a pause the last seconds show nothing, at once and however long it was."""
    window = Window(0.0)
    window.at(0.5).send(0)
    assert window.last(1, 2.5).tally.sent == 0
    assert window.last(10, 5.5).tally.sent == 1
    assert window.last(10, 1e9).tally.sent == 0
    assert window.last(10, 1e9).span_s == KEPT


def test_seconds_do_not_drift() -> None:
    """Uneven looks keep the seconds where the start put them."""
    window = Window(0.25)
    for now in (0.9, 1.6, 2.4, 4.2):
        window.at(now).send(0)
    assert [slot.sent for slot in window.whole(KEPT, 4.3)] == [1, 1, 1, 1]
