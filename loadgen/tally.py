"""The numbers of one stretch of time: counts that always add up, and the latencies behind them."""

from collections.abc import Iterable

from loadgen.histogram import Histogram

IN_FLIGHT_CAP = "in_flight_cap"
"""Dropped because as many requests as allowed were waiting for answers."""
TOO_LATE = "too_late"
"""Dropped because the generator came to it later than a user would have waited."""


class Tally:
    """planned = sent + dropped; completed = ok + failed; every failure and every drop has a reason.

    Latencies are whole microseconds. `response_ok` and `response_failed` run from the intended start and are
    kept apart because fast failures flatter the percentiles of a sick system; `service` runs from the send,
    `lateness` from the intended start to the send. Tallies merge without loss. Reasons and statuses are
    bounded sets (see `connection.py`), so the size is fixed.
    """

    __slots__ = (
        "dropped_reasons",
        "errors",
        "failed",
        "lateness",
        "ok",
        "planned",
        "response_failed",
        "response_ok",
        "sent",
        "service",
        "statuses",
    )

    def __init__(self) -> None:
        self.planned = 0
        self.sent = 0
        self.ok = 0
        self.failed = 0
        self.dropped_reasons: dict[str, int] = {}
        self.errors: dict[str, int] = {}
        self.statuses: dict[int, int] = {}
        self.response_ok = Histogram()
        self.response_failed = Histogram()
        self.service = Histogram()
        self.lateness = Histogram()

    @property
    def completed(self) -> int:
        """Requests that have an answer or an error."""
        return self.ok + self.failed

    @property
    def dropped(self) -> int:
        """Planned requests that were never sent."""
        return self.planned - self.sent

    def send(self, lateness_us: int) -> None:
        """A planned request left, so much after its intended start."""
        self.planned += 1
        self.sent += 1
        self.lateness.record(lateness_us)

    def drop(self, reason: str) -> None:
        """A planned request could not leave."""
        self.planned += 1
        self.dropped_reasons[reason] = self.dropped_reasons.get(reason, 0) + 1

    def complete(self, response_us: int, service_us: int, status: int | None, error: str | None) -> None:
        """A sent request ended: with a status (and an error from 400 on) or with an error alone."""
        if error is None:
            self.ok += 1
            self.response_ok.record(response_us)
        else:
            self.failed += 1
            self.errors[error] = self.errors.get(error, 0) + 1
            self.response_failed.record(response_us)
        if status is not None:
            self.statuses[status] = self.statuses.get(status, 0) + 1
        self.service.record(service_us)

    def response(self) -> Histogram:
        """Response times of all completed requests, failed ones included: a time-out is a sample."""
        both = Histogram()
        both.merge(self.response_ok)
        both.merge(self.response_failed)
        return both

    def merge(self, other: "Tally") -> None:
        """Add the other's counts and latencies to this one."""
        self.planned += other.planned
        self.sent += other.sent
        self.ok += other.ok
        self.failed += other.failed
        for mine, theirs in ((self.dropped_reasons, other.dropped_reasons), (self.errors, other.errors)):
            for reason, n in theirs.items():
                mine[reason] = mine.get(reason, 0) + n
        for status, n in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + n
        self.response_ok.merge(other.response_ok)
        self.response_failed.merge(other.response_failed)
        self.service.merge(other.service)
        self.lateness.merge(other.lateness)

    def __repr__(self) -> str:
        return (
            f"<Tally planned={self.planned} sent={self.sent} ok={self.ok} failed={self.failed} "
            f"dropped={self.dropped}>"
        )


def merged(tallies: Iterable[Tally]) -> Tally:
    """A new tally that holds all of them."""
    whole = Tally()
    for tally in tallies:
        whole.merge(tally)
    return whole
