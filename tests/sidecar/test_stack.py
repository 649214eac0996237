"""One upstream through its public API, with a clock and dice that the test owns."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.balance.endpoints import Endpoint, EndpointSpec
from sidecar.policy.concurrency import BulkheadPolicy
from sidecar.policy.events import PolicyEvent
from sidecar.policy.machine import State
from sidecar.policy.outcome import Outcome
from sidecar.policy.outlier_detection import OutlierPolicy
from sidecar.policy.retry import Refusal, Retry
from sidecar.policy.retry_budget import BudgetPolicy
from sidecar.policy.settings import BalancePolicy, UpstreamPolicy
from sidecar.policy.trip_rules import BreakerPolicy
from sidecar.stack import UNTESTED_S, Pick, Rejection, Upstream
from tests.fakes.clock import FakeClock


def spec(index: int, **change: object) -> EndpointSpec:
    """orders-<index> at port 9000 + index."""
    values: dict[str, object] = {"id": f"orders-{index}", "host": "127.0.0.1", "port": 9000 + index}
    return EndpointSpec(**{**values, **change})  # type: ignore[arg-type]


class Bench:
    """An upstream of `count` endpoints, and shorthands."""

    def __init__(self, count: int, policy: UpstreamPolicy | None = None, seed: int = 5) -> None:
        self.clock = FakeClock()
        self.events: list[PolicyEvent] = []
        self.up = Upstream(
            "orders",
            policy or UpstreamPolicy(),
            self.events.append,
            "gateway-1",
            self.clock,
            random.Random(seed),
        )
        self.up.update([spec(index) for index in range(1, count + 1)])

    def pick(self, *tried: Endpoint) -> Pick:
        """A pick that must succeed."""
        pick = self.up.pick(tried)
        assert isinstance(pick, Pick)
        return pick

    def answer(self, outcome: Outcome = Outcome.SUCCESS, seconds: float = 0.002) -> Pick:
        """One whole request with one attempt."""
        assert self.up.start() is None
        pick = self.pick()
        self.up.settle(pick, outcome, seconds)
        self.up.finish()
        return pick

    def fail_at(
        self, endpoint_id: str, outcome: Outcome = Outcome.CONNECT_FAILURE, times: int = 3, status: int = 0
    ) -> None:
        """Attempts that happened to go to one endpoint and failed."""
        endpoint = self.endpoint(endpoint_id)
        for _ in range(times):
            endpoint.pending += 1
            pick = Pick(endpoint, endpoint.breaker.epoch, False, self.clock.now)
            self.up.settle(pick, outcome, 0.001, None, status)

    def endpoint(self, endpoint_id: str) -> Endpoint:
        """By id."""
        found = self.up.endpoints.get(endpoint_id)
        assert found is not None
        return found

    def kinds(self) -> list[tuple[str, str, str]]:
        """(kind, endpoint, new state) of all events but membership."""
        return [(e.kind, e.endpoint, e.to_state) for e in self.events if e.kind != "membership"]


def test_no_endpoint_is_known() -> None:
    """UH with words, 503."""
    answer = Bench(0).up.pick(())
    assert isinstance(answer, Rejection)
    assert (answer.flag, answer.status) == ("UH", 503)
    assert answer.reason == "UH no healthy endpoint of orders is known"


def test_a_dead_endpoint_is_open_after_three_refused_connects() -> None:
    """The event says which, why and until when."""
    bench = Bench(3)
    bench.fail_at("orders-2")
    assert bench.kinds() == [("breaker", "orders-2", "open")]
    event = bench.events[-1]
    assert event.reason == "3 attempts in a row without any answer"
    assert 1.0 <= event.numbers["open_s"] <= 2.0
    assert all(bench.answer().endpoint.id != "orders-2" for _ in range(200))


def test_a_suspect_is_asked_again_at_once_one_request_at_a_time() -> None:
    """One refused connect sends the next request there too, so that two more decide, or clear it."""
    bench = Bench(3)
    bench.fail_at("orders-2", times=1)
    first = bench.pick()
    assert first.endpoint.id == "orders-2"
    assert bench.pick().endpoint.id != "orders-2"
    bench.up.settle(first, Outcome.SUCCESS, 0.001)
    assert Counter(bench.answer().endpoint.id for _ in range(60))["orders-2"] < 40


def test_a_post_is_not_used_as_a_probe_or_test() -> None:
    """`probe_ok=False` picks among the ready ones only."""
    bench = Bench(2)
    bench.fail_at("orders-1")
    bench.clock.advance(3.0)
    for _ in range(20):
        pick = bench.up.pick((), probe_ok=False)
        assert isinstance(pick, Pick)
        assert (pick.endpoint.id, pick.probe) == ("orders-2", False)


def test_half_open_admits_one_probe_and_three_close_it() -> None:
    """The first pick after the open time is the probe; the others go on elsewhere until it is answered."""
    bench = Bench(2)
    bench.fail_at("orders-1")
    bench.clock.advance(3.0)
    for _ in range(3):
        probe = bench.pick()
        assert (probe.endpoint.id, probe.probe) == ("orders-1", True)
        assert [bench.pick().endpoint.id for _ in range(5)] == ["orders-2"] * 5
        bench.up.settle(probe, Outcome.SUCCESS, 0.002)
    assert bench.endpoint("orders-1").breaker.state is State.CLOSED
    assert bench.endpoint("orders-1").gate == 0.05


def test_a_retry_leaves_the_tried_endpoint() -> None:
    """As long as there is another; alone, the same one again."""
    bench = Bench(2)
    first = bench.pick()
    for _ in range(50):
        assert bench.pick(first.endpoint).endpoint is not first.endpoint
    alone = Bench(1)
    first = alone.pick()
    assert alone.pick(first.endpoint).endpoint is first.endpoint


def test_all_dead_requests_are_spread_and_thinned() -> None:
    """One of two open, the other held: it gets the requests, and most of them are held back."""
    bench = Bench(2)
    bench.fail_at("orders-1", times=10)
    bench.fail_at("orders-2", times=10)
    assert ("breaker", "", "open") in bench.kinds()
    admitted = 0
    for _ in range(500):
        rejection = bench.up.start()
        if rejection is None:
            admitted += 1
            pick = bench.pick()
            assert pick.endpoint.breaker.state is State.CLOSED
            bench.up.settle(pick, Outcome.CONNECT_FAILURE, 0.0)
            bench.up.finish()
        else:
            assert rejection.overloaded
            assert rejection.reason == "UH the breaker of orders is open: every endpoint is bad"
    assert 20 <= admitted <= 90


def test_a_single_dead_endpoint_recovers_by_the_requests_that_are_let_through() -> None:
    """Held, three good answers, released; admission ends when the share is good again."""
    bench = Bench(1)
    bench.fail_at("orders-1", times=10)
    assert bench.endpoint("orders-1").breaker.held
    for _ in range(2000):
        bench.clock.advance(0.01)
        if bench.up.start() is None:
            bench.up.settle(bench.pick(), Outcome.SUCCESS, 0.002)
            bench.up.finish()
    assert not bench.endpoint("orders-1").breaker.held
    states = [state for kind, endpoint, state in bench.kinds() if kind == "breaker" and not endpoint]
    assert states[0] == "open"
    assert states[-1] == "closed"
    assert not bench.up.service.watching


def test_the_bulkhead_turns_away_with_its_numbers() -> None:
    """UO, retry-after, marked as overload; a place that comes free goes to who waits."""
    bench = Bench(1, UpstreamPolicy(bulkhead=BulkheadPolicy(max_active=1, max_pending=1)))
    assert bench.up.start() is None
    waiting = bench.up.start()
    assert waiting is not None
    assert waiting.wait_s == 0.1
    full = bench.up.start()
    assert full is not None
    assert (full.flag, full.overloaded, full.wait_s) == ("UO", True, 0.0)
    assert not bench.up.promote()
    bench.up.finish()
    assert bench.up.promote()


def test_retries_stop_with_the_budget() -> None:
    """Thirty of reserve, then no."""
    bench = Bench(3)
    answers = [bench.up.may_retry(Outcome.APP_FAILURE, 1, True, True, False, 5.0) for _ in range(31)]
    assert all(isinstance(answer, Retry) for answer in answers[:30])
    last = answers[30]
    assert isinstance(last, Refusal)
    assert last.reason == "budget_exhausted"


def test_fast_errors_attract_nothing() -> None:
    """An endpoint that fails in 0.1 ms beside one that works in 5 ms gets less, not more, also while
    closed.
    """
    bench = Bench(2, UpstreamPolicy(budget=BudgetPolicy()), seed=8)
    bench.up._outlier.set_policy(bench.up.policy.breaker.__class__(enabled=False))
    picks: Counter[str] = Counter()
    for _ in range(2000):
        bench.clock.advance(0.01)
        pick = bench.pick()
        picks[pick.endpoint.id] += 1
        bad = pick.endpoint.id == "orders-1"
        bench.up.settle(pick, Outcome.APP_FAILURE if bad else Outcome.SUCCESS, 0.0001 if bad else 0.005)
    assert picks["orders-1"] < 150


def test_a_survivor_keeps_everything_over_membership_changes() -> None:
    """The same object, its breaker and its latency; who comes later climbs a ramp, who was first does not."""
    bench = Bench(3)
    for _ in range(50):
        bench.answer(seconds=0.004)
    bench.fail_at("orders-1")
    survivor = bench.endpoint("orders-1")
    diff = bench.up.update([spec(1, weight=2), spec(2), spec(4)])
    assert [e.id for e in diff.added] == ["orders-4"]
    assert [e.id for e in diff.removed] == ["orders-3"]
    assert [e.id for e in diff.kept] == ["orders-1"]
    assert bench.endpoint("orders-1") is survivor
    assert survivor.breaker.state is State.OPEN
    assert survivor.weight == 2
    assert bench.endpoint("orders-4").breaker.ramp == 0.05
    assert bench.endpoint("orders-2").breaker.ramp == 1.0
    assert not bench.up.update([spec(1, weight=2), spec(2), spec(4)])


def test_the_registry_s_word_on_health_is_told_at_once() -> None:
    """With what it was before; a weight alone is no news."""
    bench = Bench(3)
    bench.up.update([spec(1, health="critical"), spec(2, weight=2), spec(3)])
    bench.up.update([spec(1), spec(2, weight=2), spec(3)])
    told = [(e.endpoint, e.from_state, e.to_state) for e in bench.events if e.kind == "told"]
    assert told == [("orders-1", "passing", "critical"), ("orders-1", "critical", "passing")]


def test_leaving_and_coming_back_is_no_way_around_a_verdict() -> None:
    """The breaker comes back with the id; the registry's word brings a probe at once, but a probe."""
    bench = Bench(3)
    bench.fail_at("orders-1")
    bench.up.update([spec(2), spec(3)])
    bench.up.update([spec(1, port=9999), spec(2), spec(3)])
    back = bench.endpoint("orders-1")
    assert back.port == 9999
    assert back.pool is None
    pick = bench.pick()
    assert (pick.endpoint.id, pick.probe) == ("orders-1", True)


def test_a_probe_of_the_old_process_says_nothing_about_the_new_one() -> None:
    """The same id at another port: what is in flight counts no more."""
    bench = Bench(2)
    bench.fail_at("orders-1")
    bench.clock.advance(3.0)
    old = bench.pick()
    assert old.probe
    bench.up.update([spec(1, port=9999), spec(2)])
    new = bench.pick()
    assert (new.probe, new.endpoint.port) == (True, 9999)
    bench.up.settle(old, Outcome.RESET, 0.1)
    assert bench.endpoint("orders-1").breaker.state is State.HALF_OPEN
    for pick in (new, bench.pick(), bench.pick()):
        bench.up.settle(pick, Outcome.SUCCESS, 0.001)


def test_a_healthy_one_that_comes_back_climbs() -> None:
    """No verdict, but a cold process."""
    bench = Bench(2)
    bench.up.update([spec(2)])
    bench.up.update([spec(1), spec(2)])
    assert bench.endpoint("orders-1").breaker.ramp == 0.05


def test_a_service_that_is_only_called_by_post_is_closed_again() -> None:
    """A request that is safe to repeat may test a half-open endpoint at once, any other after a second."""
    bench = Bench(2)
    bench.fail_at("orders-1")
    breaker = bench.endpoint("orders-1").breaker
    assert breaker.state is State.OPEN

    def post() -> Pick:
        pick = bench.up.pick((), None, False)
        assert isinstance(pick, Pick)
        bench.up.settle(pick, Outcome.SUCCESS, 0.002)
        return pick

    bench.clock.advance(2.5)
    assert not post().probe
    assert breaker.state is State.HALF_OPEN
    bench.clock.advance(UNTESTED_S - 0.1)
    assert not post().probe
    bench.clock.advance(0.1)
    assert [post().probe for _ in range(3)] == [True] * 3
    assert breaker.state is State.CLOSED


def test_outlier_detection_stands_in_the_place_of_our_breaker() -> None:
    """Two errors in a row by the document, and back at a sweep; our own rules would have waited for more."""
    policy = UpstreamPolicy(
        outlier=OutlierPolicy(errors_5xx=2, interval_s=1.0, base_s=3.0, max_percent=50),
        breaker=BreakerPolicy(enabled=False),
    )
    bench = Bench(2, policy)
    first, second = bench.endpoint("orders-1"), bench.endpoint("orders-2")
    bench.fail_at("orders-1", Outcome.APP_FAILURE, 1, 500)
    assert first.breaker.state is State.CLOSED
    bench.fail_at("orders-1", Outcome.CONNECT_FAILURE, 1)
    assert first.breaker.state is State.OPEN
    assert {bench.answer().endpoint.id for _ in range(50)} == {"orders-2"}
    bench.fail_at("orders-2", Outcome.APP_FAILURE, 2, 500)
    assert second.breaker.state is State.CLOSED, "50 % of two is one"
    bench.clock.advance(3.1)
    assert {bench.answer().endpoint.id for _ in range(50)} == {"orders-1", "orders-2"}
    assert first.breaker.ramp == 1.0


def test_where_a_document_s_detection_begins_our_own_breakers_end() -> None:
    """Nobody is held back, or turned away, for what they found before; not even for a moment."""
    bench = Bench(3)
    for index in (1, 2, 3):
        bench.fail_at(f"orders-{index}", times=10)
    assert bench.up.service.watching
    bench.up.set_policy(
        UpstreamPolicy(outlier=OutlierPolicy(errors_5xx=0), breaker=BreakerPolicy(enabled=False))
    )
    assert ("breaker", "", "closed") in bench.kinds()
    assert Counter(bench.answer().endpoint.id for _ in range(300)).keys() == {
        "orders-1",
        "orders-2",
        "orders-3",
    }
    assert all(each.breaker.ramp == 1.0 and not each.breaker.held for each in bench.up.endpoints.all)


def test_what_the_registry_calls_critical_stays_out_when_our_breakers_end() -> None:
    bench = Bench(2)
    bench.up.update([spec(1, health="critical"), spec(2)])
    bench.up.set_policy(UpstreamPolicy(outlier=OutlierPolicy(), breaker=BreakerPolicy(enabled=False)))
    assert {bench.answer().endpoint.id for _ in range(20)} == {"orders-2"}


def test_after_all_were_ejected_all_requests_pass_again_at_once() -> None:
    """As in Envoy: no share of them is turned away until enough went well."""
    policy = UpstreamPolicy(
        outlier=OutlierPolicy(errors_5xx=2, interval_s=1.0, base_s=3.0, max_percent=100),
        breaker=BreakerPolicy(enabled=False),
    )
    bench = Bench(2, policy)
    for index in (1, 2):
        bench.fail_at(f"orders-{index}", Outcome.APP_FAILURE, 20, 500)
    rejected = bench.up.pick(())
    assert isinstance(rejected, Rejection)
    assert rejected.flag == "UH"
    bench.clock.advance(4.1)
    assert {bench.answer().endpoint.id for _ in range(100)} == {"orders-1", "orders-2"}


def test_with_so_few_left_all_are_used() -> None:
    """minHealthPercent: the ejected one gets its share again, and is still ejected."""
    policy = UpstreamPolicy(
        outlier=OutlierPolicy(errors_5xx=1, max_percent=100, min_health_percent=51),
        breaker=BreakerPolicy(enabled=False),
    )
    bench = Bench(2, policy)
    first = bench.endpoint("orders-1")
    bench.fail_at("orders-1", Outcome.APP_FAILURE, 1, 503)
    assert first.breaker.state is State.OPEN
    bench.clock.advance(60.0)
    assert {bench.answer().endpoint.id for _ in range(50)} == {"orders-1", "orders-2"}


def test_other_rules_begin_with_nobody_ejected() -> None:
    """And the same rules anew leave who is ejected where it is."""
    policy = UpstreamPolicy(outlier=OutlierPolicy(errors_5xx=1, max_percent=100))
    bench = Bench(2, policy)
    first = bench.endpoint("orders-1")
    bench.fail_at("orders-1", Outcome.APP_FAILURE, 1, 503)
    bench.up.set_policy(policy)
    assert first.breaker.state is State.OPEN
    bench.up.set_policy(UpstreamPolicy())
    assert first.breaker.state is State.CLOSED


def test_a_probe_that_is_known_to_be_under_way_has_more_time() -> None:
    """Its sidecar says that the app works on it: three seconds are no relapse."""
    bench = Bench(2)
    bench.fail_at("orders-1")
    bench.clock.advance(2.5)
    pick = bench.pick()
    assert pick.probe
    for _ in range(3):
        bench.clock.advance(1.5)
        bench.up.lives(pick)
        bench.answer()
    assert pick.endpoint.breaker.state is State.HALF_OPEN
    bench.clock.advance(2.1)
    bench.answer()
    assert pick.endpoint.breaker.state is State.OPEN


def test_warning_halves_the_share() -> None:
    """Still in rotation, with less."""
    bench = Bench(2)
    bench.up.update([spec(1, health="warning"), spec(2)])
    picks = Counter(bench.answer().endpoint.id for _ in range(3000))
    assert picks["orders-1"] == pytest.approx(1000, rel=0.15)


def test_a_new_endpoint_starts_at_the_pools_median() -> None:
    """Not at 10 ms beside 1 ms ones."""
    bench = Bench(2)
    for _ in range(100):
        bench.answer(seconds=0.001)
    bench.up.update([spec(1), spec(2), spec(3)])
    bench.clock.advance(1.0)
    bench.answer()
    assert bench.endpoint("orders-3").ewma == pytest.approx(0.001, rel=0.2)


def warm(bench: Bench, seconds: float = 3.0) -> None:
    """Enough traffic for a reference: 100 requests/s of 5 ms."""
    for _ in range(int(seconds * 100)):
        assert bench.up.start() is None
        pick = bench.pick()
        bench.clock.advance(0.01)
        bench.up.settle(pick, Outcome.SUCCESS, 0.005)
        bench.up.finish()


def test_a_silent_endpoint_is_given_up_while_others_answer() -> None:
    """hedge_after says when; reconsider says now; the attempt counts as certain evidence."""
    bench = Bench(3)
    warm(bench)
    delay = bench.up.hedge_after(5.0)
    assert delay is not None
    assert delay == pytest.approx(0.150)
    stuck = bench.pick()
    bench.clock.advance(delay)
    other = bench.pick(stuck.endpoint)
    bench.up.settle(other, Outcome.SUCCESS, 0.005)
    assert bench.up.reconsider(stuck) == 0.0
    bench.up.settle(stuck, Outcome.TIMEOUT_TRY, delay)
    assert stuck.endpoint.breaker.certain_run == 1


def test_a_slow_request_at_a_lively_endpoint_is_left_alone() -> None:
    """It answered another meanwhile: ask again when it has been silent for as long."""
    bench = Bench(2)
    warm(bench)
    slow = bench.pick()
    bench.clock.advance(0.149)
    slow.endpoint.pending += 1
    bench.up.settle(Pick(slow.endpoint, 0, False, bench.clock.now), Outcome.SUCCESS, 0.005)
    bench.clock.advance(0.001)
    assert bench.up.reconsider(slow) == pytest.approx(0.149)


def test_nobody_answers_so_perhaps_we_slept() -> None:
    """A short grace first, once; then it is given up, because another one is idle and could answer."""
    bench = Bench(2)
    warm(bench)
    stuck = bench.pick()
    bench.clock.advance(0.5)
    assert bench.up.reconsider(stuck) == 0.010
    bench.clock.advance(0.010)
    assert bench.up.reconsider(stuck) == 0.0


def test_nothing_is_given_up_when_all_are_silent_or_the_budget_is_empty() -> None:
    """The whole service became slow: leaving would only double its load."""
    bench = Bench(2)
    warm(bench)
    picks = [bench.pick(), bench.pick()]
    assert {pick.endpoint.id for pick in picks} == {"orders-1", "orders-2"}
    bench.clock.advance(0.5)
    assert bench.up.reconsider(picks[0]) == 0.050
    bench.up.settle(picks[1], Outcome.SUCCESS, 0.5)
    while bench.up.budget.withdraw():
        pass
    assert bench.up.reconsider(picks[0]) == 0.050


def test_a_single_endpoint_is_never_given_up() -> None:
    """There is nobody to ask instead."""
    bench = Bench(1)
    warm(bench)
    assert bench.up.hedge_after(5.0) is None


def test_an_operator_can_close_all_doors() -> None:
    """Forced open on all: UH, and it says what they are."""
    bench = Bench(2)
    assert bench.up.force("orders-1", State.OPEN, 5.0)
    assert bench.up.force("orders-2", State.OPEN, 5.0)
    assert not bench.up.force("orders-9", State.OPEN, 5.0)
    answer = bench.up.pick(())
    assert isinstance(answer, Rejection)
    assert answer.reason == "UH no endpoint of orders may be used (open=2)"
    bench.clock.advance(5.1)
    assert bench.pick().probe


def test_a_new_policy_keeps_the_state() -> None:
    """Settings are swapped under a running upstream."""
    bench = Bench(2)
    bench.fail_at("orders-1")
    bench.up.set_policy(UpstreamPolicy(bulkhead=BulkheadPolicy(max_active=7)))
    assert bench.endpoint("orders-1").breaker.state is State.OPEN
    assert bench.up.snapshot()["active"] == 0


def test_the_snapshot_has_the_contracts_keys() -> None:
    """What the page and `mesh status` read."""
    bench = Bench(1)
    bench.answer()
    snapshot = bench.up.snapshot()
    assert snapshot["budget"] == {"tokens": 30.2, "max": 30.2}
    rows = snapshot["endpoints"]
    assert isinstance(rows, list)
    row = rows[0]
    wanted = "id address health weight breaker breaker_reason opens ramp in_flight ewma_ms requests failures"
    assert set(wanted.split()) <= row.keys()
    assert (row["address"], row["requests"], row["in_flight"]) == ("127.0.0.1:9001", 1, 0)
    assert bench.up.explain(1)[0]["breaker"] == "closed"


MOVES = st.tuples(
    st.sampled_from(["pick", "settle", "settle", "wait", "long", "members", "force"]), st.integers(0, 999)
)


@settings(max_examples=200)
@given(st.integers(1, 6), st.lists(MOVES, max_size=150), st.integers(0, 99))
def test_invariants_of_picks_whatever_happens(count: int, moves: list[tuple[str, int]], seed: int) -> None:
    """Never an open endpoint while a closed one exists; probes <= permits; pending is exact; survivors
    stay.
    """
    bench = Bench(count, seed=seed)
    flying: list[Pick] = []
    outcomes = list(Outcome)
    for move, number in moves:
        everyone = bench.up.endpoints.all
        if move == "pick":
            pick = bench.up.pick(tuple(p.endpoint for p in flying[-2:]) if number % 3 == 0 else ())
            if isinstance(pick, Pick):
                flying.append(pick)
                state = pick.endpoint.breaker.state
                assert pick.endpoint in everyone
                assert state is not State.OPEN
                assert pick.probe or state is State.CLOSED
            else:
                assert not any(e.breaker.state is State.CLOSED for e in everyone)
        elif move == "settle" and flying:
            pick = flying.pop(number % len(flying))
            bench.up.settle(pick, outcomes[number % len(outcomes)], 0.001 * (number % 400))
        elif move == "wait":
            bench.clock.advance(0.4)
        elif move == "long":
            bench.clock.advance(6.0)
        elif move == "members":
            keep = [e.spec for index, e in enumerate(everyone) if number >> index & 1]
            before = {e.id: (e, e.breaker.epoch) for e in everyone}
            bench.up.update([*keep, spec(10 + number % 3)])
            for e in bench.up.endpoints.all:
                if e.spec in keep:
                    assert before[e.id][0] is e
        elif move == "force" and everyone:
            pinned = [State.OPEN, State.CLOSED, None][number % 3]
            bench.up.force(everyone[number % len(everyone)].id, pinned, 1.0)
        for endpoint in bench.up.endpoints.all:
            assert endpoint.pending == sum(p.endpoint is endpoint for p in flying)
            assert 0 <= endpoint.breaker.probes <= 1


def test_what_the_registry_calls_critical_is_open_until_good_answers_close_it() -> None:
    """No caller has to run into it first; passing again means probes and a ramp, not a full share."""
    bench = Bench(3)
    specs = [spec(1), spec(2, health="critical"), spec(3)]
    bench.up.update(specs)
    breaker = bench.endpoint("orders-2").breaker
    assert (breaker.state, breaker.reason) == (State.OPEN, "the registry says critical")
    assert {bench.answer().endpoint.id for _ in range(50)} == {"orders-1", "orders-3"}
    opens = breaker.opens
    bench.up.update(specs)
    assert breaker.opens == opens
    bench.up.update([spec(1), spec(2), spec(3)])
    first = bench.answer()
    assert first.endpoint.id == "orders-2"
    assert first.probe
    for _ in range(2):
        bench.answer()
    assert breaker.state is State.CLOSED
    assert breaker.ramp < 1.0


def test_a_critical_one_that_joins_is_open_from_the_start() -> None:
    """It waits for its first good answers."""
    bench = Bench(2)
    bench.up.update([spec(1), spec(2), spec(3, health="critical")])
    assert bench.endpoint("orders-3").breaker.state is State.OPEN


def test_the_floor_also_holds_against_the_registry() -> None:
    """Two of three critical: one is opened, the other only held, so that somebody is always asked."""
    bench = Bench(3)
    bench.up.update([spec(1, health="critical"), spec(2, health="critical"), spec(3)])
    states = sorted(bench.endpoint(f"orders-{n}").breaker.state for n in (1, 2))
    assert states == [State.CLOSED, State.OPEN]
    assert {bench.answer().endpoint.id for _ in range(30)} == {"orders-3"}


def test_what_an_open_breaker_kept_from_its_endpoint_is_counted() -> None:
    """Attempts of the others between its opening and its half-open, over any number of openings."""
    bench = Bench(3)

    def kept_away() -> list[int]:
        rows = bench.up.snapshot()["endpoints"]
        assert isinstance(rows, list)
        return [row["rejections"] for row in rows]

    for _ in range(10):
        bench.answer()
    assert kept_away() == [0, 0, 0]
    bench.fail_at("orders-1")
    assert bench.endpoint("orders-1").breaker.state is State.OPEN
    for _ in range(5):
        bench.answer()
    assert kept_away() == [5, 0, 0]
    bench.clock.advance(30.0)  # its open time is over: it is asked again
    bench.answer()
    before = kept_away()
    assert before[0] >= 5
    for _ in range(5):
        bench.answer()
    assert kept_away() == before, "an endpoint that is not open is kept from nothing"


def test_who_is_said_to_be_back_does_not_inherit_its_backoff() -> None:
    """A process that gets up fails its first probe: the next one comes after the shortest open time."""
    bench = Bench(3)
    for _ in range(10):
        bench.answer()
    bench.fail_at("orders-1")
    breaker = bench.endpoint("orders-1").breaker
    for _ in range(4):  # probes while it is down
        bench.clock.advance(60.0)
        pick = bench.pick()
        assert (pick.endpoint.id, pick.probe) == ("orders-1", True)
        bench.up.settle(pick, Outcome.CONNECT_FAILURE, 0.001)
    assert breaker.level == 4
    for health in ("critical", "passing"):
        bench.up.update([spec(1, health=health), spec(2), spec(3)])
    pick = bench.pick()
    assert (pick.endpoint.id, pick.probe) == ("orders-1", True)
    bench.up.settle(pick, Outcome.TIMEOUT_TRY, 0.15)
    assert breaker.state is State.OPEN
    assert breaker.until - bench.clock() <= 4 * bench.up.policy.breaker.open_s


def test_a_new_endpoint_climbs_as_its_warmup_says() -> None:
    """Half a minute into a minute with aggression 2 it has 71 % of its weight: 41 of 100 requests for two."""
    ramp = tuple(max(0.1, (step / 20) ** 0.5) for step in range(20))
    policy = UpstreamPolicy(
        breaker=BreakerPolicy(ramp=ramp, ramp_s=60.0),
        balance=BalancePolicy(kind="round_robin", ramp_weighs=True),
    )
    bench = Bench(1, policy)
    bench.up.update([spec(1), spec(2)])
    shares = []
    for _ in range(3):
        picks = Counter(bench.answer().endpoint.id for _ in range(2000))
        shares.append(picks["orders-2"] / 2000)
        bench.clock.advance(30.0)
    assert shares == pytest.approx([0.1 / 1.1, 0.5**0.5 / (1 + 0.5**0.5), 0.5], rel=0.12)
