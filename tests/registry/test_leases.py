"""Session deadlines and lock-delays."""

from dataclasses import replace

from registry.leases import Leases
from registry.model import Session
from tests.fakes.clock import FakeClock

SESSION = Session("s1", "n1", ttl=10)


def test_a_session_ends_after_twice_its_ttl_unless_renewed() -> None:
    clock, leases = FakeClock(), Leases()
    leases.start(SESSION, clock())
    clock.advance(19)
    leases.renew(SESSION, clock())
    clock.advance(19)
    assert leases.expired(clock()) == []
    clock.advance(1)
    assert leases.expired(clock()) == ["s1"]


def test_without_a_ttl_and_when_stopped_nothing_ends() -> None:
    leases = Leases()
    leases.start(replace(SESSION, id="s2", ttl=0), 0)
    leases.start(SESSION, 0)
    leases.stop("s1")
    assert leases.expired(1e9) == []


def test_a_lock_delay_holds_for_its_time_and_at_most_a_minute() -> None:
    leases = Leases()
    leases.delay("a", 15, 100)
    leases.delay("b", 3600, 100)
    assert leases.delayed("a", 114.9)
    assert not leases.delayed("a", 115)
    assert leases.delayed("b", 159)
    assert not leases.delayed("b", 160)
    assert not leases.delayed("c", 100)


def test_a_lock_delay_that_is_over_is_forgotten() -> None:
    """Keys come from clients: what is remembered of them must not grow with them."""
    leases = Leases()
    leases.delay("a", 15, 100)
    leases.delay("b", 30, 100)
    assert leases.expired(115) == []
    assert list(leases._locked_until) == ["b"]
    assert leases.delayed("b", 115)
