"""All numbers of a run: since the start or the last reset, of the last seconds, and the telling requests."""

from collections import deque
from dataclasses import dataclass

from loadgen.tally import Tally, merged
from loadgen.window import KEPT, Window

EXEMPLARS = 20
"""Slow and failed requests kept of each sort, by trace id: as many as a person looks through."""


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A request worth looking up in the traces; `intended` is Unix time in seconds."""

    trace_id: str
    intended: float
    ms: float
    status: int | None
    error: str | None
    sampled: bool


class Measurement:
    """Attributes each request to the stretch in which its intended start lies.

    Counts always cover everything since `begun` (start or last reset). Latencies leave out the warm-up once
    something after it was measured. A request that was intended before a reset is no part of the numbers
    after it, however late it ends. Changes of rate or pattern reset nothing. `wall_offset` is what makes
    Unix time of the clock.
    """

    def __init__(self, start: float, *, warmup: float = 0.0, wall_offset: float = 0.0) -> None:
        self.begun = start
        self.steady_from = start + warmup
        self.window = Window(start)
        self.resets = 0
        self._wall_offset = wall_offset
        self._warmup = Tally()
        self._steady = Tally()
        self._gone = Tally()
        self._slow_us = 0
        self._failed: deque[Exemplar] = deque(maxlen=EXEMPLARS)
        self._slow: deque[Exemplar] = deque(maxlen=EXEMPLARS)

    def reset(self, now: float) -> None:
        """Forget all but the last seconds' view; what is intended from now on counts, with no warm-up."""
        self.begun = self.steady_from = now
        self.resets += 1
        self._warmup, self._steady, self._gone = Tally(), Tally(), Tally()
        self._failed.clear()
        self._slow.clear()

    def tally_for(self, intended: float) -> Tally:
        """Where a request with this intended start is counted, now and when it ends."""
        if intended >= self.steady_from:
            return self._steady
        return self._warmup if intended >= self.begun else self._gone

    def warming(self, now: float) -> bool:
        """Whether requests intended now still belong to the warm-up."""
        return now < self.steady_from

    def counts(self) -> Tally:
        """Everything since the start or the last reset."""
        return merged((self._warmup, self._steady))

    def measured(self) -> Tally:
        """What latencies are taken from: all but the warm-up, or the warm-up while there is nothing else."""
        return self._steady if self._steady.planned else self._warmup

    def drop(self, tally: Tally, now: float, reason: str) -> None:
        """A planned request was not sent."""
        tally.drop(reason)
        self.window.at(now).drop(reason)

    def send(self, tally: Tally, now: float, intended: float) -> None:
        """A planned request was sent now."""
        late = round((now - intended) * 1e6)
        tally.send(late)
        self.window.at(now).send(late)

    def complete(
        self,
        tally: Tally,
        now: float,
        *,
        intended: float,
        sent: float,
        status: int | None,
        error: str | None,
        trace_id: str,
        sampled: bool,
    ) -> None:
        """A sent request ended now; it becomes an exemplar when it failed or is among the slowest 1 %."""
        response_us = round((now - intended) * 1e6)
        service_us = round((now - sent) * 1e6)
        tally.complete(response_us, service_us, status, error)
        self.window.at(now).complete(response_us, service_us, status, error)
        if error is not None or response_us >= self._slow_us:
            exemplar = Exemplar(
                trace_id, intended + self._wall_offset, response_us / 1000, status, error, sampled
            )
            (self._slow if error is None else self._failed).append(exemplar)

    def mark_slow(self, now: float) -> None:
        """Take anew what counts as slow: the p99 of the last seconds; called about once per second."""
        self._slow_us = self.window.last(KEPT, now).tally.response_ok.percentile(0.99) or 0

    def exemplars(self) -> list[Exemplar]:
        """The last failed and the last slow requests, by intended start."""
        return sorted((*self._failed, *self._slow), key=lambda e: e.intended)
