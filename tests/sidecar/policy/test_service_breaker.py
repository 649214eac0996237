"""The service's own breaker: a state with a name for what admission does."""

import random

import pytest

from sidecar.policy.admission import AdmissionPolicy
from sidecar.policy.errors import PolicyError
from sidecar.policy.events import PolicyEvent
from sidecar.policy.machine import State
from sidecar.policy.service_breaker import ServiceBreaker
from tests.fakes.clock import FakeClock


class Bench:
    """A breaker over endpoints of which the test says whether all are bad."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.bad = False
        self.events: list[PolicyEvent] = []
        self.breaker = ServiceBreaker(
            "orders", AdmissionPolicy(), lambda: self.bad, self.events.append, self.clock, random.Random(2)
        )

    def traffic(self, requests: int, failing: bool) -> int:
        """Requests of which those that are admitted end as said; how many were admitted."""
        admitted = 0
        for _ in range(requests):
            self.clock.advance(0.01)
            if not self.breaker.watching or self.breaker.admit():
                admitted += 1
                self.breaker.admission.window.record(self.clock.now, int(failing), 0)
        return admitted

    def words(self) -> list[str]:
        """The states it went through."""
        return [event.to_state for event in self.events]


def test_open_half_open_closed_by_what_goes_well() -> None:
    """All bad: open, a tenth gets through; better: half-open; good: closed. No timer is involved."""
    bench = Bench()
    bench.traffic(200, failing=True)
    bench.bad = True
    bench.breaker.consider()
    assert bench.traffic(300, failing=True) < 90
    assert bench.breaker.state is State.OPEN
    bench.bad = False
    assert bench.traffic(2000, failing=False) > 1000
    assert bench.words() == ["open", "half-open", "closed"]
    assert not bench.breaker.watching
    assert bench.breaker.snapshot()["opens"] == 1


def test_partial_trouble_is_not_its_business() -> None:
    """As long as one endpoint is good everybody is admitted."""
    bench = Bench()
    bench.traffic(500, failing=True)
    bench.breaker.consider()
    assert bench.traffic(100, failing=True) == 100
    assert bench.words() == []


def test_an_operator_pins_the_service() -> None:
    """Open: nobody; closed: everybody; both for a time."""
    bench = Bench()
    bench.breaker.force(State.OPEN, 5.0)
    assert bench.traffic(100, failing=False) == 0
    bench.clock.advance(5.0)
    assert bench.traffic(100, failing=False) == 100
    bench.bad = True
    bench.breaker.force(State.CLOSED, 100.0)
    assert bench.traffic(100, failing=True) == 100
    bench.breaker.force(None, 0.0)
    assert bench.breaker.state is State.OPEN
    with pytest.raises(PolicyError):
        bench.breaker.force(State.OPEN, 1e9)


def test_it_stays_open_while_all_are_bad_whatever_goes_well() -> None:
    """Held endpoints answer some; it is one of them that must come back before everybody is let in."""
    bench = Bench()
    bench.bad = True
    bench.breaker.consider()
    bench.breaker.consider()
    bench.traffic(2000, failing=False)
    assert (bench.words(), bench.breaker.watching) == (["open"], True)
    assert bench.breaker.admission.probability() == 0.0
    bench.bad = False
    bench.traffic(1, failing=False)
    assert bench.words() == ["open", "closed"]


def test_half_open_falls_back_when_it_fails_again() -> None:
    """And nobody is told of a state that did not change."""
    bench = Bench()
    bench.traffic(200, failing=True)
    bench.bad = True
    bench.breaker.consider()
    bench.traffic(200, failing=True)
    bench.bad = False
    while bench.breaker.state is State.OPEN:
        bench.traffic(1, failing=False)
    bench.traffic(1000, failing=True)
    assert bench.words() == ["open", "half-open", "open"]
    assert bench.breaker.snapshot()["opens"] == 2
    assert bench.breaker.reason.endswith("turned away again")


def test_after_a_pin_a_service_that_is_well_is_not_watched() -> None:
    """The request that finds the pin over is admitted by no dice."""
    bench = Bench()
    for _ in range(50):
        bench.breaker.admission.window.record(bench.clock.now, 1, 0)
    bench.breaker.force(State.OPEN, 1.0)
    bench.clock.advance(1.0)
    assert bench.breaker.admit()
    assert (bench.breaker.watching, bench.breaker.state) == (False, State.CLOSED)
    bench.breaker.force(None, 0.0)
    assert bench.words() == ["open", "closed"]
