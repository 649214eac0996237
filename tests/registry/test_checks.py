"""Deadlines, TTLs and aliases over a clock that the test moves."""

import random

from registry.checks import MAX_OUTPUT, CriticalSince, Deadlines, Ttls, alias_status, clip_output
from registry.model import CRITICAL, PASSING, WARNING, Check
from tests.fakes.clock import FakeClock


def test_a_ttl_check_expires_once_and_only_when_not_heard_of() -> None:
    clock, ttls = FakeClock(), Ttls()
    ttls.start("a", 5, clock())
    ttls.start("b", 5, clock())
    clock.advance(4)
    assert ttls.heard("a", clock())
    assert ttls.expired(clock()) == []
    clock.advance(1)
    assert ttls.expired(clock()) == ["b"]
    assert ttls.expired(clock()) == []
    clock.advance(4)
    assert ttls.expired(clock()) == ["a"]


def test_an_expired_check_counts_again_once_it_is_heard() -> None:
    clock, ttls = FakeClock(), Ttls()
    ttls.start("a", 5, clock())
    clock.advance(6)
    assert ttls.expired(clock()) == ["a"]
    assert ttls.heard("a", clock())
    clock.advance(5)
    assert ttls.expired(clock()) == ["a"]


def test_an_unknown_check_is_not_heard() -> None:
    assert not Ttls().heard("nobody", 0)


def test_a_stopped_check_never_expires() -> None:
    ttls = Ttls()
    ttls.start("a", 5, 0)
    ttls.stop("a")
    assert ttls.expired(100) == []


def test_deadlines_agree_with_the_obvious_list() -> None:
    """Random moves: the lazy heap says what a plain dictionary says."""
    seed = 11
    rng, clock = random.Random(seed), FakeClock(0)
    lazy, plain = Deadlines(), dict[str, float]()
    for _ in range(5000):
        name = f"n{rng.randrange(20)}"
        match rng.randrange(4):
            case 0 | 1:
                due = clock() + rng.uniform(-1, 10)
                lazy.set(name, due)
                plain[name] = due
            case 2:
                lazy.drop(name)
                plain.pop(name, None)
            case _:
                clock.advance(rng.uniform(0, 1))
                due_now = {name for name, due in plain.items() if due <= clock()}
                assert set(lazy.expired(clock())) == due_now, f"seed {seed}"
                for gone in due_now:
                    del plain[gone]
    assert len(lazy) == len(plain)


def test_a_service_goes_after_it_was_critical_for_the_whole_time() -> None:
    clock, since = FakeClock(), CriticalSince()
    since.watch("a", 600)
    since.status("a", CRITICAL, clock())
    clock.advance(599)
    assert since.overdue(clock()) == []
    since.status("a", PASSING, clock())
    since.status("a", CRITICAL, clock())
    clock.advance(2)
    assert since.overdue(clock()) == []
    clock.advance(598)
    assert since.overdue(clock()) == ["a"]


def test_said_again_critical_is_no_new_beginning() -> None:
    """Else a check that registers itself anew every minute would never go."""
    since = CriticalSince()
    since.watch("a", 600)
    for now in (0, 200, 400, 599):
        since.status("a", CRITICAL, now)
    assert since.overdue(600) == ["a"]


def test_a_short_deregistration_time_is_raised_to_a_minute() -> None:
    since = CriticalSince()
    since.watch("a", 1)
    since.status("a", CRITICAL, 0)
    assert since.overdue(59) == []
    assert since.overdue(60) == ["a"]


def test_without_a_deregistration_time_nothing_goes() -> None:
    since = CriticalSince()
    since.watch("a", 0)
    since.status("a", CRITICAL, 0)
    assert since.overdue(1e9) == []


def test_output_keeps_its_end() -> None:
    assert clip_output("short") == "short"
    long = clip_output("x" * 10_000 + "the reason")
    assert long.endswith("the reason")
    assert long.startswith(f"Captured {MAX_OUTPUT} of 10010 bytes")


def _check(name: str, status: str, output: str = "") -> Check:
    return Check("n", name, name, status, output=output)


def test_an_alias_says_the_worst_of_its_target() -> None:
    assert alias_status([]) == (PASSING, "No checks found.")
    assert alias_status([_check("a", PASSING)]) == (PASSING, "All checks passing.")
    warns = [_check("a", WARNING, "slow"), _check("b", PASSING)]
    assert alias_status(warns) == (WARNING, 'Aliased check "a" failing: slow')
    assert alias_status([*warns, _check("c", CRITICAL, "dead")]) == (
        CRITICAL,
        'Aliased check "c" failing: dead',
    )
    worst_first = [_check("c", CRITICAL, "dead"), *warns]
    assert alias_status(worst_first) == (CRITICAL, 'Aliased check "c" failing: dead')
