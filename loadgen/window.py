"""The last second and the last ten: a ring of one-second tallies."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.tally import Tally, merged

KEPT = 10
"""Whole seconds that are kept beside the running one: the span of the longer of the two views."""


@dataclass(frozen=True, slots=True)
class View:
    """What happened in `span_s` seconds; 0 seconds only before the clock first moved."""

    span_s: float
    tally: Tally

    def per_second(self, count: int) -> float:
        """A count of this view as a rate; 0 for an empty span."""
        return count / self.span_s if self.span_s > 0 else 0.0


class Window:
    """Recent tallies by the second in which things happened (sends at the send, answers at the answer).

    A view covers whole seconds, so that a rate never swings with the moment of the question; until the first
    second is whole, it covers what there is. All times are seconds of the caller's clock and may stand still
    but not go back.
    """

    def __init__(self, start: float) -> None:
        self._begin = start
        self._current = Tally()
        self._whole: deque[Tally] = deque(maxlen=KEPT)

    def at(self, now: float) -> Tally:
        """The tally to record into at the time `now`."""
        behind = int(now - self._begin)
        if behind > 0:
            self._whole.append(self._current)
            # after a long silence all kept seconds are empty; there is no need to make more than those
            self._whole.extend(Tally() for _ in range(min(behind - 1, KEPT)))
            self._current = Tally()
            self._begin += behind
        return self._current

    def last(self, seconds: int, now: float) -> View:
        """The last 1..KEPT whole seconds, or as many as there are."""
        slots = self.whole(seconds, now)
        if not slots:
            return View(max(0.0, now - self._begin), merged([self._current]))
        return View(float(len(slots)), merged(slots))

    def whole(self, seconds: int, now: float) -> Sequence[Tally]:
        """The tallies of the last whole seconds, oldest first; fewer when there are fewer."""
        self.at(now)
        return tuple(self._whole)[-seconds:]
