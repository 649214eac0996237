"""One breaker through all its states, with a clock that the test owns."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.policy.breaker import NEVER, Breaker
from sidecar.policy.errors import PolicyError
from sidecar.policy.machine import State
from sidecar.policy.outcome import Evidence
from sidecar.policy.trip_rules import BreakerPolicy, Verdict
from tests.fakes.clock import FakeClock


@dataclass
class OpenAtOnce:
    """A pool without a floor: what a rule condemns is opened."""

    told: list[tuple[str, str, str]] = field(default_factory=list)

    def trip(self, breaker: Breaker, verdict: Verdict, now: float) -> None:
        """No second thoughts."""
        breaker.open(now, verdict)

    def changed(
        self, breaker: Breaker, kind: str, before: str, after: str, numbers: dict[str, float]
    ) -> None:
        """Remember it."""
        if kind:
            self.told.append((kind, before, after))


class Bench:
    """A breaker, its clock, and shorthands."""

    def __init__(self, policy: BreakerPolicy | None = None) -> None:
        self.clock = FakeClock()
        self.pool = OpenAtOnce()
        self.breaker = Breaker("orders-1", policy or BreakerPolicy(), self.pool, 0.0, random.Random(3))

    def state(self) -> State:
        """Of the breaker, read anew."""
        return self.breaker.state

    def see(self, evidence: Evidence, times: int = 1, slow: bool = False) -> None:
        """Attempts that ended now, outside of probes."""
        for _ in range(times):
            self.breaker.record(evidence, slow, self.breaker.epoch, False, self.clock.now)

    def wait_for_half_open(self) -> None:
        """Let the open time pass."""
        self.clock.advance(self.breaker.until - self.clock.now)
        self.breaker.advance(self.clock.now)

    def probe(self, evidence: Evidence, slow: bool = False) -> None:
        """One probe, answered at once."""
        epoch = self.breaker.epoch
        self.breaker.start_probe(self.clock.now)
        self.breaker.record(evidence, slow, epoch, True, self.clock.now)


def test_three_silences_open_it_and_pybreaker_says_so() -> None:
    """Closed -> open, told once, with the reason."""
    bench = Bench()
    bench.see(Evidence.CERTAIN, 2)
    assert bench.state() is State.CLOSED
    bench.see(Evidence.CERTAIN)
    assert bench.state() is State.OPEN
    assert bench.pool.told == [("breaker", "closed", "open")]
    assert repr(bench.breaker) == "<Breaker open level=0 epoch=1>"


def test_three_silences_open() -> None:
    """Three give-ups, or a mixture of them with refused connects."""
    bench = Bench()
    bench.see(Evidence.GOOD, 100)
    bench.see(Evidence.SILENT, 2)
    assert bench.state() is State.CLOSED
    bench.see(Evidence.SILENT)
    assert bench.state() is State.OPEN
    mixed = Bench()
    mixed.see(Evidence.GOOD, 100)
    mixed.see(Evidence.SILENT, 2)
    mixed.see(Evidence.CERTAIN)
    assert mixed.state() is State.OPEN


def test_a_success_between_breaks_the_row() -> None:
    """Two refused, one answer, two refused: no trip of an endpoint with a history."""
    bench = Bench()
    bench.see(Evidence.GOOD, 100)
    for evidence in (Evidence.CERTAIN, Evidence.CERTAIN, Evidence.GOOD) * 2:
        bench.see(evidence)
    assert bench.state() is State.CLOSED


def test_a_slow_success_between_breaks_the_row_too() -> None:
    """It is an answer, however late."""
    bench = Bench()
    bench.see(Evidence.GOOD, 100)
    for evidence in (Evidence.CERTAIN, Evidence.CERTAIN, Evidence.GOOD) * 2:
        bench.see(evidence, slow=evidence is Evidence.GOOD)
    assert bench.state() is State.CLOSED
    assert (bench.breaker.certain_run, bench.breaker.failure_run) == (0, 3.0)


@pytest.mark.parametrize(("pause", "state"), [(60.0, State.OPEN), (60.1, State.CLOSED)])
def test_a_run_that_was_not_continued_for_a_minute_is_over(pause: float, state: State) -> None:
    """Two refused before lunch and one after it are no row."""
    bench = Bench()
    bench.clock.advance(100.0)
    bench.see(Evidence.CERTAIN, 2)
    bench.clock.advance(pause)
    bench.see(Evidence.CERTAIN)
    assert bench.state() is state


def test_429_makes_no_run_and_passes_no_probe() -> None:
    """It worsens the ratio only; as a probe's answer it opens again."""
    bench = Bench(BreakerPolicy(failure_ratio=1.0))
    bench.see(Evidence.RATIO, 50)
    assert bench.state() is State.CLOSED
    bench.see(Evidence.CERTAIN, 3)
    bench.wait_for_half_open()
    bench.probe(Evidence.RATIO)
    assert bench.state() is State.OPEN


def test_open_time_doubles_with_jitter_and_is_capped() -> None:
    """Open k lasts between 2^k and 1.5 x 2^k seconds (offset 0), at most 45 s."""
    bench = Bench()
    bench.see(Evidence.CERTAIN, 3)
    lengths = []
    for _ in range(8):
        lengths.append(bench.breaker.until - bench.clock.now)
        bench.wait_for_half_open()
        bench.probe(Evidence.BAD)
    for level, length in enumerate(lengths):
        nominal = min(30.0, 2.0**level)
        assert nominal <= length <= 1.5 * nominal


def test_three_good_probes_in_a_row_and_then_the_ramp() -> None:
    """5, 10, 25, 50, 100 % over ten seconds, and no step early."""
    bench = Bench()
    bench.see(Evidence.CERTAIN, 3)
    bench.wait_for_half_open()
    for _ in range(2):
        bench.probe(Evidence.GOOD)
    assert bench.state() is State.HALF_OPEN
    bench.probe(Evidence.GOOD)
    shares = []
    for _ in range(5):
        shares.append(bench.breaker.ramp)
        bench.clock.advance(2.5)
        bench.breaker.advance(bench.clock.now)
    assert shares == [0.05, 0.10, 0.25, 0.50, 1.0]
    assert bench.breaker.due_at == NEVER


def test_what_was_seen_before_a_trip_counts_no_more() -> None:
    """Two refused after the recovery are two, not five."""
    bench = Bench()
    bench.see(Evidence.GOOD, 5, slow=True)
    bench.see(Evidence.CERTAIN, 3)
    bench.wait_for_half_open()
    for _ in range(3):
        bench.probe(Evidence.GOOD)
    breaker = bench.breaker
    assert (breaker.window.total, breaker.window.bad, breaker.window.slow) == (0, 0, 0)
    assert (breaker.seen, breaker.failure_run, breaker.certain_run) == (0, 0.0, 0)
    bench.see(Evidence.CERTAIN, 2)
    assert bench.state() is State.CLOSED


def test_a_ramp_of_no_time_is_none() -> None:
    """All of the traffic at once, if a policy wants it so."""
    bench = Bench(BreakerPolicy(ramp_s=0.0))
    bench.see(Evidence.CERTAIN, 3)
    bench.wait_for_half_open()
    for _ in range(3):
        bench.probe(Evidence.GOOD)
    assert (bench.state(), bench.breaker.ramp, bench.breaker.due_at) == (State.CLOSED, 1.0, NEVER)


def test_each_caller_has_its_place_in_the_open_time() -> None:
    """Ten callers that saw the same death must not ask as one: half of the time is theirs, half is dice."""
    bench = Bench()
    bench.breaker.offset = 1.0
    bench.see(Evidence.CERTAIN, 3)
    assert 1.5 <= bench.breaker.until - bench.clock.now <= 2.0


def test_an_endpoint_that_is_dead_for_days_overflows_nothing() -> None:
    """2.0 ** 1024 is an error in Python."""
    bench = Bench()
    bench.breaker.level = 5000
    bench.see(Evidence.CERTAIN, 3)
    assert 30.0 <= bench.breaker.until - bench.clock.now <= 45.0


def test_new_rules_keep_what_was_seen_unless_the_window_has_another_length() -> None:
    """A policy that is applied again is no amnesty."""
    bench = Bench()
    bench.see(Evidence.GOOD, 5)
    bench.breaker.set_policy(BreakerPolicy(need=5))
    assert bench.breaker.window.total == 5
    bench.breaker.set_policy(BreakerPolicy(window_s=20.0))
    assert (bench.breaker.window.total, bench.breaker.window.width_s) == (0, 2.0)


def test_a_relapse_in_the_ramp_keeps_the_backoff_and_adds_to_it() -> None:
    """The second open time is a doubled one."""
    bench = Bench()
    bench.see(Evidence.CERTAIN, 3)
    bench.wait_for_half_open()
    for _ in range(3):
        bench.probe(Evidence.GOOD)
    bench.see(Evidence.CERTAIN, 3)
    assert bench.state() is State.OPEN
    assert (bench.breaker.level, bench.breaker.ramp) == (1, 1.0)
    assert bench.breaker.until - bench.clock.now >= 2.0


def test_the_level_comes_down_only_by_proof() -> None:
    """Time alone proves nothing; twenty good answers over ten seconds take one doubling back."""
    bench = Bench()
    bench.see(Evidence.CERTAIN, 3)
    bench.wait_for_half_open()
    bench.probe(Evidence.BAD)
    bench.wait_for_half_open()
    for _ in range(3):
        bench.probe(Evidence.GOOD)
    bench.clock.advance(60.0)
    bench.breaker.advance(bench.clock.now)
    bench.see(Evidence.GOOD, 19)
    bench.clock.advance(10.0)
    assert bench.breaker.level == 1
    bench.see(Evidence.GOOD)
    assert bench.breaker.level == 0


def test_twenty_good_answers_at_once_take_no_doubling_back() -> None:
    """Nor do ten seconds with a failure among them; and each doubling needs its own proof."""
    bench = Bench()
    bench.see(Evidence.CERTAIN, 3)
    for _ in range(2):
        bench.wait_for_half_open()
        bench.probe(Evidence.BAD)
    bench.wait_for_half_open()
    for _ in range(3):
        bench.probe(Evidence.GOOD)
    bench.clock.advance(60.0)
    bench.breaker.advance(bench.clock.now)
    bench.see(Evidence.GOOD, 50)
    assert bench.breaker.level == 2
    bench.see(Evidence.BAD)
    bench.see(Evidence.GOOD, 19)
    bench.see(Evidence.BAD)
    bench.clock.advance(10.0)
    bench.see(Evidence.GOOD, 19)
    assert bench.breaker.level == 2
    bench.see(Evidence.GOOD)
    assert bench.breaker.level == 1
    bench.clock.advance(10.0)
    bench.see(Evidence.GOOD, 19)
    assert bench.breaker.level == 1
    bench.see(Evidence.GOOD)
    assert bench.breaker.level == 0


def test_a_breaker_that_is_switched_off_never_opens() -> None:
    """By itself; an operator still can."""
    bench = Bench(BreakerPolicy(enabled=False))
    bench.see(Evidence.CERTAIN, 50)
    assert bench.state() is State.CLOSED
    bench.breaker.force(State.OPEN, 5.0, bench.clock.now)
    assert bench.state() is State.OPEN


def test_a_late_answer_is_slow_and_no_silence() -> None:
    """Others were answered meanwhile: ten of them are no row of silences."""
    bench = Bench()
    bench.see(Evidence.GOOD, 100)
    bench.see(Evidence.LATE, 10)
    assert bench.state() is State.CLOSED
    assert (bench.breaker.window.slow, bench.breaker.certain_run) == (10, 0)


def test_a_probe_that_never_answers_counts_as_failed() -> None:
    """After its deadline the breaker opens again, and the late answer changes nothing."""
    bench = Bench()
    bench.see(Evidence.CERTAIN, 3)
    bench.wait_for_half_open()
    epoch = bench.breaker.epoch
    bench.breaker.start_probe(bench.clock.now)
    assert not bench.breaker.probe_free
    bench.clock.advance(2.0)
    bench.breaker.advance(bench.clock.now)
    assert bench.state() is State.OPEN
    bench.breaker.record(Evidence.GOOD, False, epoch, True, bench.clock.now)
    assert bench.state() is State.OPEN


def test_a_second_probe_does_not_put_off_the_first_one_s_deadline() -> None:
    """Else a stream of probes into a frozen process would never end."""
    bench = Bench(BreakerPolicy(permits=2))
    bench.see(Evidence.CERTAIN, 3)
    bench.wait_for_half_open()
    bench.breaker.start_probe(bench.clock.now)
    bench.clock.advance(1.5)
    bench.breaker.start_probe(bench.clock.now)
    bench.clock.advance(0.5)
    bench.breaker.advance(bench.clock.now)
    assert bench.state() is State.OPEN


def test_each_probe_has_its_own_deadline() -> None:
    """The second is not charged with the first one's age, once that was answered; nor the other way round."""
    bench = Bench(BreakerPolicy(permits=2))
    bench.see(Evidence.CERTAIN, 3)
    bench.wait_for_half_open()
    breaker, clock = bench.breaker, bench.clock
    first = clock.now
    breaker.start_probe(first)
    second = clock.advance(1.5)
    breaker.start_probe(second)
    clock.advance(0.2)
    breaker.record(Evidence.GOOD, False, breaker.epoch, True, clock.now, first)
    clock.advance(0.5)
    breaker.advance(clock.now)
    assert bench.state() is State.HALF_OPEN
    third = clock.now
    breaker.start_probe(third)
    breaker.record(Evidence.NEUTRAL, False, breaker.epoch, True, clock.now, third)
    clock.advance(second + 2.0 - clock.now)
    breaker.advance(clock.now)
    assert bench.state() is State.OPEN


def test_a_slow_probe_is_a_failed_one() -> None:
    """It came back as slow as it went."""
    bench = Bench()
    bench.see(Evidence.CERTAIN, 3)
    bench.wait_for_half_open()
    bench.probe(Evidence.GOOD)
    bench.probe(Evidence.GOOD, slow=True)
    assert bench.state() is State.OPEN
    assert bench.breaker.reason == "a probe was slow"


def test_a_cancelled_probe_gives_its_permit_back_and_decides_nothing() -> None:
    """The caller went away: neither success nor failure."""
    bench = Bench()
    bench.see(Evidence.CERTAIN, 3)
    bench.wait_for_half_open()
    bench.probe(Evidence.NEUTRAL)
    assert bench.state() is State.HALF_OPEN
    assert bench.breaker.probe_free
    assert bench.breaker.due_at == NEVER


def test_an_answer_sent_before_the_trip_decides_no_probe() -> None:
    """Samples carry their epoch."""
    bench = Bench()
    old = bench.breaker.epoch
    bench.see(Evidence.CERTAIN, 3)
    bench.wait_for_half_open()
    for _ in range(3):
        bench.breaker.record(Evidence.GOOD, False, old, False, bench.clock.now)
        bench.breaker.record(Evidence.BAD, False, old, False, bench.clock.now)
    assert bench.state() is State.HALF_OPEN


def test_an_operator_pins_for_a_time() -> None:
    """Forced open ends in half-open, forced closed ignores every rule, and both end by themselves."""
    bench = Bench()
    bench.breaker.force(State.OPEN, 5.0, bench.clock.now)
    assert bench.state() is State.OPEN
    bench.clock.advance(5.0)
    bench.breaker.advance(bench.clock.now)
    assert bench.state() is State.HALF_OPEN
    bench.breaker.force(State.CLOSED, 5.0, bench.clock.now)
    bench.see(Evidence.CERTAIN, 50)
    assert bench.state() is State.CLOSED
    bench.clock.advance(5.0)
    bench.breaker.advance(bench.clock.now)
    bench.see(Evidence.CERTAIN, 3)
    assert bench.state() is State.OPEN
    with pytest.raises(PolicyError, match="ttl"):
        bench.breaker.force(State.OPEN, 1e9, bench.clock.now)
    with pytest.raises(PolicyError, match="only open and closed"):
        bench.breaker.force(State.HALF_OPEN, 1.0, bench.clock.now)


@pytest.mark.parametrize("pinned", [State.OPEN, State.CLOSED])
def test_news_from_outside_end_no_pin(pinned: State) -> None:
    """The registry saw it come back, a new process took its name: the operator's word stands to its end."""
    bench = Bench()
    bench.breaker.force(pinned, 60.0, bench.clock.now)
    bench.breaker.renew(bench.clock.now)
    bench.breaker.reprobe(bench.clock.now)
    bench.clock.advance(59.0)
    bench.breaker.advance(bench.clock.now)
    assert (bench.state(), bench.breaker.forced, bench.breaker.ramp) == (pinned, pinned, 1.0)
    bench.clock.advance(1.0)
    bench.breaker.advance(bench.clock.now)
    assert bench.breaker.forced is None


EVENTS = st.sampled_from(
    ["good", "bad", "certain", "ratio", "slow", "probe", "answer", "fail", "drop", "wait", "long"]
)


@settings(max_examples=300)
@given(st.lists(EVENTS, max_size=120), st.integers(1, 3))
def test_invariants_hold_whatever_happens(events: list[str], permits: int) -> None:
    """Probes in flight <= permits; only legal transitions; an old epoch changes nothing; `due_at` is
    honoured.
    """
    bench = Bench(BreakerPolicy(permits=permits))
    breaker, clock = bench.breaker, bench.clock
    probes: list[int] = []
    for event in events:
        before, epoch = breaker.state, breaker.epoch
        if event in ("good", "slow"):
            bench.see(Evidence.GOOD, slow=event == "slow")
        elif event in ("bad", "certain", "ratio"):
            bench.see(Evidence[event.upper()])
        elif event == "probe":
            if breaker.probe_free:
                breaker.start_probe(clock.now)
                probes.append(breaker.epoch)
        elif event in ("answer", "fail", "drop"):
            if probes:
                kind = {"answer": Evidence.GOOD, "fail": Evidence.BAD, "drop": Evidence.NEUTRAL}[event]
                breaker.record(kind, False, probes.pop(), True, clock.now)
        else:
            clock.advance(0.3 if event == "wait" else 5.0)
            breaker.advance(clock.now)
            assert breaker.due_at > clock.now or breaker.due_at == NEVER
        assert 0 <= breaker.probes <= permits
        assert 0.0 < breaker.ramp <= 1.0
        if before is not breaker.state:
            assert (before, breaker.state) in {
                (State.CLOSED, State.OPEN),
                (State.OPEN, State.HALF_OPEN),
                (State.HALF_OPEN, State.OPEN),
                (State.HALF_OPEN, State.CLOSED),
            }
            assert breaker.epoch > epoch
        snapshot = (breaker.state, breaker.epoch, breaker.window.total, breaker.good_run, breaker.probes)
        breaker.record(Evidence.CERTAIN, True, breaker.epoch - 1, True, clock.now)
        assert snapshot == (
            breaker.state,
            breaker.epoch,
            breaker.window.total,
            breaker.good_run,
            breaker.probes,
        )
