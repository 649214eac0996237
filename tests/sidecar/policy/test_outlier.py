"""The floor: never everybody open, the worst first, and the dead are not fed."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.policy.breaker import NEVER, Breaker
from sidecar.policy.events import PolicyEvent
from sidecar.policy.machine import State
from sidecar.policy.outcome import Evidence
from sidecar.policy.outlier import Outlier
from sidecar.policy.trip_rules import BreakerPolicy
from tests.fakes.clock import FakeClock


class Bench:
    """A pool of `count` breakers."""

    def __init__(self, count: int) -> None:
        self.clock = FakeClock()
        self.events: list[PolicyEvent] = []
        self.rng = random.Random(5)
        self.rebuilt = 0
        self.pool = Outlier("orders", BreakerPolicy(), self.events.append, self.rebuild, self.clock)
        self.breakers: list[Breaker] = []
        self.joined = 0
        for _ in range(count):
            self.join()

    def rebuild(self) -> None:
        """What the stack does after a change; here it is counted."""
        self.rebuilt += 1

    def join(self) -> None:
        """One more."""
        self.joined += 1
        breaker = Breaker(f"o-{self.joined}", BreakerPolicy(), self.pool, 0.0, self.rng)
        self.breakers.append(breaker)
        self.pool.add(breaker)

    def leave(self, index: int) -> None:
        """One less."""
        self.pool.remove(self.breakers.pop(index).key)
        self.pool.enforce_floor()

    def see(self, index: int, evidence: Evidence, times: int = 1, slow: bool = False) -> None:
        """Attempts at one endpoint that ended now."""
        breaker = self.breakers[index]
        for _ in range(times):
            breaker.record(evidence, slow, breaker.epoch, False, self.clock.now)


def test_one_dead_of_two_is_opened() -> None:
    """Floor 1."""
    bench = Bench(2)
    bench.see(0, Evidence.CERTAIN, 3)
    assert bench.pool.describe() == "closed=1 open=1"


def test_two_dead_of_three_one_open_one_held_and_fed_by_probes_only() -> None:
    """Floor 2; the held one is closed for pybreaker and gets no normal traffic."""
    bench = Bench(3)
    bench.see(0, Evidence.CERTAIN, 3)
    bench.see(1, Evidence.CERTAIN, 3)
    assert bench.pool.describe() == "closed=1 held=1 open=1"
    assert bench.breakers[1].state is State.CLOSED
    assert [bench.pool.gate(breaker) for breaker in bench.breakers] == [0.0, 0.0, 1.0]
    assert bench.events[-1].kind == "floor"
    assert bench.pool.refusals == 1


def test_a_held_one_is_probed_and_released_by_the_ramp() -> None:
    """Probes come one at a time after a growing pause; three good ones bring it back at 5 %."""
    bench = Bench(1)
    breaker = bench.breakers[0]
    bench.see(0, Evidence.CERTAIN, 3)
    assert breaker.held
    assert not breaker.probe_free
    bench.clock.advance(breaker.until - bench.clock.now)
    bench.pool.advance(bench.clock.now)
    for _ in range(3):
        assert breaker.probe_free
        epoch = breaker.epoch
        breaker.start_probe(bench.clock.now)
        assert not breaker.probe_free
        breaker.record(Evidence.GOOD, False, epoch, True, bench.clock.now)
    assert (breaker.held, breaker.ramp) == (False, 0.05)


def test_a_failed_probe_of_a_held_one_starts_over() -> None:
    """Twice the pause, and what was sent before it says nothing any more."""
    bench = Bench(1)
    breaker = bench.breakers[0]
    bench.see(0, Evidence.CERTAIN, 3)
    first = breaker.until - bench.clock.now
    bench.clock.advance(first)
    bench.pool.advance(bench.clock.now)
    epoch = breaker.epoch
    breaker.start_probe(bench.clock.now)
    breaker.record(Evidence.BAD, False, epoch, True, bench.clock.now)
    assert (breaker.held, breaker.level) == (True, 1)
    assert 2.0 <= breaker.until - bench.clock.now <= 3.0
    for _ in range(3):
        breaker.record(Evidence.GOOD, False, epoch, False, bench.clock.now)
    assert breaker.held


def test_a_failed_probe_of_a_held_one_settles_the_other_one_too() -> None:
    """What was sent before the verdict is charged to nobody: its answer is none, and nor is its silence."""
    bench = Bench(1)
    bench.pool.set_policy(BreakerPolicy(permits=2))
    breaker = bench.breakers[0]
    bench.see(0, Evidence.CERTAIN, 3)
    bench.clock.advance(breaker.until - bench.clock.now)
    bench.pool.advance(bench.clock.now)
    epoch = breaker.epoch
    breaker.start_probe(bench.clock.now)
    breaker.start_probe(bench.clock.now)
    breaker.record(Evidence.BAD, False, epoch, True, bench.clock.now)
    assert (breaker.level, breaker.probes) == (1, 0)
    breaker.record(Evidence.GOOD, False, epoch, True, bench.clock.now)
    pause = breaker.until - bench.clock.now
    assert breaker.due_at == breaker.until
    bench.clock.advance(pause)
    bench.pool.advance(bench.clock.now)
    assert (breaker.level, breaker.probe_free) == (1, True)


def test_the_good_probes_of_a_held_one_must_be_in_a_row() -> None:
    """Those before a bad one count no more."""
    bench = Bench(1)
    breaker = bench.breakers[0]
    bench.see(0, Evidence.CERTAIN, 3)
    for evidence in (Evidence.GOOD, Evidence.GOOD, Evidence.BAD, Evidence.GOOD, Evidence.GOOD):
        if not breaker.probe_free:
            bench.clock.advance(breaker.until - bench.clock.now)
            bench.pool.advance(bench.clock.now)
        epoch = breaker.epoch
        breaker.start_probe(bench.clock.now)
        breaker.record(evidence, False, epoch, True, bench.clock.now)
    assert breaker.held


def test_one_held_on_partial_evidence_needs_twenty_good_answers_in_a_row() -> None:
    """It still gets traffic, so three of them would be luck; a failure among them begins the row anew."""
    bench = Bench(1)
    breaker = bench.breakers[0]
    bench.see(0, Evidence.GOOD, 400)
    bench.see(0, Evidence.RATIO, 200)
    assert breaker.held
    assert not breaker.dead
    bench.see(0, Evidence.GOOD, 19)
    bench.see(0, Evidence.BAD)
    bench.see(0, Evidence.GOOD, 19)
    assert breaker.held
    bench.see(0, Evidence.GOOD)
    assert (breaker.held, breaker.ramp, breaker.score) == (False, 1.0, 0.0)


def test_a_held_one_is_opened_when_there_is_room() -> None:
    """Then it is held no longer, and no good answer of before counts for it."""
    bench = Bench(1)
    breaker = bench.breakers[0]
    bench.see(0, Evidence.GOOD, 400)
    bench.see(0, Evidence.RATIO, 200)
    assert breaker.held
    bench.join()
    bench.see(0, Evidence.CERTAIN, 3)
    assert (breaker.state, breaker.held, breaker.dead) == (State.OPEN, False, False)
    assert bench.pool.describe() == "closed=1 open=1"


def test_one_held_in_its_ramp_is_off_the_ramp() -> None:
    """It gets what its score is worth, not a twentieth of that."""
    bench = Bench(1)
    breaker = bench.breakers[0]
    breaker.slow_start(bench.clock.now, "new")
    assert breaker.ramp == 0.05
    bench.see(0, Evidence.RATIO, 3)
    assert (breaker.held, breaker.ramp) == (True, 1.0)
    bench.clock.advance(2.5)
    bench.pool.advance(bench.clock.now)
    assert breaker.ramp == 1.0


def test_the_worse_one_takes_the_place() -> None:
    """A dead endpoint is opened although a half-bad one holds the only place; that one is held instead."""
    bench = Bench(2)
    bench.see(0, Evidence.GOOD, 400)
    bench.see(0, Evidence.RATIO, 200)
    assert bench.breakers[0].state is State.OPEN
    bench.see(1, Evidence.CERTAIN, 3)
    assert bench.breakers[1].state is State.OPEN
    assert bench.breakers[0].held
    assert 0.5 < bench.pool.gate(bench.breakers[0]) < 0.9


def test_slow_everywhere_opens_nobody_slow_alone_opens() -> None:
    """A service that became slow keeps its endpoints; one slow endpoint of two goes."""
    bench = Bench(2)
    for _ in range(30):
        bench.see(0, Evidence.GOOD, slow=True)
        bench.see(1, Evidence.GOOD, slow=True)
    assert bench.pool.describe() == "closed=2"
    alone = Bench(2)
    for _ in range(30):
        alone.see(0, Evidence.GOOD, slow=True)
        alone.see(1, Evidence.GOOD)
        alone.clock.advance(0.1)
    assert alone.pool.describe() == "closed=1 open=1"
    assert "slow" in alone.breakers[0].reason


def test_shrinking_under_the_open_ones_holds_the_mildest() -> None:
    """Four with two open lose both good ones: one may stay open."""
    bench = Bench(4)
    bench.see(0, Evidence.CERTAIN, 3)
    bench.see(1, Evidence.CERTAIN, 3)
    assert bench.pool.describe() == "closed=2 open=2"
    bench.leave(3)
    bench.leave(2)
    assert bench.pool.describe() == "held=1 open=1"


def test_a_removed_endpoint_is_not_heard_any_more() -> None:
    """An answer in flight while it left changes nothing and tells nothing."""
    bench = Bench(2)
    gone = bench.breakers[0]
    bench.leave(0)
    told = len(bench.events)
    for _ in range(5):
        gone.record(Evidence.CERTAIN, False, gone.epoch, False, bench.clock.now)
    assert len(bench.events) == told
    assert bench.pool.describe() == "closed=1"


def test_as_slow_as_half_of_the_others_slowness_is_the_service() -> None:
    """60 % of the calls here, 40 % there: ejecting one would slow the other down."""
    bench = Bench(2)
    for _ in range(20):
        bench.see(0, Evidence.GOOD, 3, slow=True)
        bench.see(1, Evidence.GOOD, 2, slow=True)
        bench.see(0, Evidence.GOOD, 2)
        bench.see(1, Evidence.GOOD, 3)
        bench.clock.advance(0.1)
    assert bench.pool.describe() == "closed=2"


def test_slow_is_nobody_without_others_to_compare_with() -> None:
    """Neither where they had no traffic, nor where they had it long ago."""
    bench = Bench(2)
    bench.see(0, Evidence.GOOD, 30, slow=True)
    assert bench.pool.describe() == "closed=2"
    later = Bench(2)
    later.clock.advance(100.0)
    later.see(1, Evidence.GOOD, 30)
    later.clock.advance(20.0)
    later.see(0, Evidence.GOOD, 30, slow=True)
    assert later.pool.describe() == "closed=2"


def test_silence_is_looked_at_at_once_though_slowness_was_just_looked_at() -> None:
    """Asking all others is not for every slow sample, but a frozen one costs a request each time."""
    bench = Bench(3)
    bench.see(2, Evidence.GOOD, 100)
    bench.see(0, Evidence.GOOD, 30, slow=True)
    assert bench.breakers[0].state is State.OPEN
    bench.see(1, Evidence.SILENT, 4)
    assert bench.breakers[1].state is State.OPEN
    assert bench.breakers[0].held, "the milder one makes room"


def test_silent_everywhere_is_held_once_with_half_a_share() -> None:
    """More silence is no new verdict: the pause before its probe would begin anew each time."""
    bench = Bench(2)
    bench.see(1, Evidence.LATE, 10)
    bench.see(0, Evidence.SILENT, 4)
    breaker = bench.breakers[0]
    assert (breaker.held, breaker.score, bench.pool.gate(breaker)) == (True, 0.5, 0.5)
    epoch, until = breaker.epoch, breaker.until
    bench.clock.advance(0.1)
    bench.see(0, Evidence.SILENT, 8)
    assert (breaker.epoch, breaker.until) == (epoch, until)


def test_places_are_traded_only_for_much_worse_ones() -> None:
    """Two that are about as bad would else take turns at each sample."""
    bench = Bench(2)
    bench.see(0, Evidence.GOOD, 400)
    bench.see(0, Evidence.RATIO, 200)
    bench.see(1, Evidence.GOOD, 100)
    while not bench.pool.refusals and bench.breakers[1].state is State.CLOSED:
        bench.see(1, Evidence.RATIO)
    assert bench.breakers[1].held
    assert bench.breakers[0].state is State.OPEN
    assert bench.pool.refusals == 1


def test_a_held_one_that_dies_gets_no_traffic_any_more() -> None:
    """Its verdict follows the evidence, also where the floor keeps it closed."""
    bench = Bench(1)
    breaker = bench.breakers[0]
    bench.see(0, Evidence.GOOD, 400)
    while not breaker.held:
        bench.see(0, Evidence.RATIO)
    assert bench.pool.gate(breaker) > 0.5
    bench.see(0, Evidence.CERTAIN, 3)
    assert (breaker.dead, bench.pool.gate(breaker)) == (True, 0.0)


def test_a_pin_takes_no_place_of_a_rule() -> None:
    """An operator may open more than the floor would; that keeps no dead one in."""
    bench = Bench(2)
    bench.breakers[0].force(State.OPEN, 60.0, bench.clock.now)
    assert bench.pool.opened == 0
    bench.see(1, Evidence.CERTAIN, 3)
    assert bench.pool.describe() == "open=2"


def test_all_bad_is_everybody_condemned_and_not_nobody_there() -> None:
    """It begins admission: with no endpoint at all there is nothing to thin out."""
    assert not Bench(0).pool.all_bad()
    bench = Bench(2)
    assert not bench.pool.all_bad()
    bench.see(0, Evidence.CERTAIN, 3)
    assert not bench.pool.all_bad()
    bench.see(1, Evidence.CERTAIN, 3)
    assert bench.pool.describe() == "held=1 open=1"
    assert bench.pool.all_bad()


def test_each_change_rebuilds_who_may_be_picked() -> None:
    """Once per change, and before anybody is told."""
    bench = Bench(2)
    bench.see(0, Evidence.CERTAIN, 2)
    assert bench.rebuilt == 0
    bench.see(0, Evidence.CERTAIN)
    assert bench.rebuilt == 1


def test_the_time_of_a_removed_endpoint_is_nobody_s() -> None:
    """Else each pick would look for what is due, and find nothing, until another breaker moves."""
    bench = Bench(2)
    bench.see(0, Evidence.CERTAIN, 3)
    assert bench.pool.due_at < NEVER
    bench.leave(0)
    assert (bench.pool.due_at, bench.pool.opened) == (NEVER, 0)


def test_new_rules_reach_every_breaker_and_the_floor() -> None:
    """The mildest of the open ones are held when more must stay."""
    bench = Bench(4)
    bench.see(0, Evidence.CERTAIN, 3)
    bench.see(1, Evidence.GOOD, 400)
    bench.see(1, Evidence.RATIO, 200)
    assert bench.pool.describe() == "closed=2 open=2"
    stricter = BreakerPolicy(min_ready=0.75)
    bench.pool.set_policy(stricter)
    assert all(breaker.policy is stricter for breaker in bench.breakers)
    assert bench.breakers[0].state is State.OPEN, "the dead one"
    assert bench.breakers[1].held


def test_the_floor_is_a_share_rounded_up_and_never_nobody() -> None:
    """0.55 x 100 is 55.00000000000001 to a computer, and fifty-five to a person."""
    for count, share, floor in ((100, 0.55, 55), (3, 0.5, 2), (4, 0.5, 2), (3, 0.0, 1), (1, 0.5, 1)):
        bench = Bench(count)
        bench.pool.set_policy(BreakerPolicy(min_ready=share))
        assert bench.pool.floor == floor


MOVES = st.tuples(
    st.sampled_from(["good", "bad", "certain", "slow", "probe", "wait", "long", "join", "leave"]),
    st.integers(0, 9),
)


@settings(max_examples=200)
@given(st.integers(1, 6), st.lists(MOVES, max_size=150))
def test_never_more_open_than_the_floor_allows(count: int, moves: list[tuple[str, int]]) -> None:
    """Open and half-open endpoints <= N - max(1, ceil(N/2)), through failures, time and membership."""
    bench = Bench(count)
    for move, pick in moves:
        size = len(bench.breakers)
        index = pick % size if size else 0
        if move == "join" and size < 8:
            bench.join()
        elif not size:
            continue
        elif move == "leave":
            bench.leave(index)
        elif move in ("good", "slow"):
            bench.see(index, Evidence.GOOD, 4, slow=move == "slow")
        elif move in ("bad", "certain"):
            bench.see(index, Evidence[move.upper()], 4)
        elif move == "probe":
            breaker = bench.breakers[index]
            if breaker.probe_free:
                epoch = breaker.epoch
                breaker.start_probe(bench.clock.now)
                breaker.record(
                    Evidence.GOOD if pick % 2 else Evidence.BAD, False, epoch, True, bench.clock.now
                )
        else:
            bench.clock.advance(0.5 if move == "wait" else 7.0)
            bench.pool.advance(bench.clock.now)
        size = len(bench.breakers)
        open_now = sum(breaker.state is not State.CLOSED for breaker in bench.breakers)
        assert open_now == bench.pool.opened
        assert open_now <= max(0, size - max(1, -(-size // 2)))
