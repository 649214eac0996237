"""What is believed of a registry that is lost, reborn empty, or right; over a clock that the test moves."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from registry.client.last_good import EMPTY_HOLD, HOLD, LastGood
from registry.client.records import ServiceInstance
from registry.client.settle import KVSettle, NamesSettle
from registry.model import CRITICAL, PASSING, WARNING, KVEntry
from tests.fakes.clock import FakeClock


def _one(number: int, status: str = PASSING, *, port: int | None = None, node: str = "n1") -> ServiceInstance:
    return ServiceInstance(f"w{number}", "web", "127.0.0.1", port or 8000 + number, status=status, node=node)


A, B, C = _one(1), _one(2), _one(3)


class Bench:
    """Belief with a clock; `sees` is an answer, its result the new set or None."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.belief = LastGood()

    def sees(self, *instances: ServiceInstance, after: float = 0.0, reset: bool = False):  # type: ignore[no-untyped-def]
        self.clock.advance(after)
        return self.belief.observe(self.clock(), instances, reset=reset)


def test_a_registry_that_answers_is_believed_at_once() -> None:
    bench = Bench()
    assert bench.sees(A, B) == (A, B)
    assert bench.sees(A, B) is None
    assert bench.sees(A) == (A,)
    assert bench.sees(replace(A, status=CRITICAL)) == (replace(A, status=CRITICAL),)
    assert bench.sees(A, B, C) == (A, B, C)
    assert bench.belief.recheck_in(bench.clock()) is None


def test_an_empty_set_must_stand_before_it_is_believed() -> None:
    bench = Bench()
    bench.sees(A)
    assert bench.sees() is None
    assert bench.belief.instances == (A,)
    assert bench.belief.recheck_in(bench.clock()) == EMPTY_HOLD
    assert bench.sees(after=EMPTY_HOLD - 0.1) is None
    assert bench.sees(after=0.1) == ()
    assert bench.belief.recheck_in(bench.clock()) is None


def test_the_hold_of_an_empty_set_begins_anew_after_a_set() -> None:
    bench = Bench()
    bench.sees(A)
    bench.sees()
    assert bench.sees(A, after=EMPTY_HOLD - 0.1) is None
    assert bench.sees(after=0.2) is None
    assert bench.belief.instances == (A,)


def test_an_empty_first_answer_is_not_said_before_it_is_certain() -> None:
    bench = Bench()
    assert bench.sees() is None
    assert bench.belief.instances is None
    assert bench.sees(after=EMPTY_HOLD) == ()
    assert Bench().sees(A) == (A,)


def test_a_registry_reborn_empty_costs_nobody_an_instance() -> None:
    """It refills one by one; at no time does a caller lose one."""
    bench = Bench()
    bench.sees(A, B, C)
    bench.belief.lost()
    bench.clock.advance(30)
    assert bench.sees(reset=True) is None
    assert bench.sees(B, after=0.5) is None
    assert bench.sees(A, B, after=0.5) is None
    assert bench.sees(A, B, C, after=0.5) is None
    assert bench.belief.held == 0
    assert bench.belief.recheck_in(bench.clock()) is None


def test_what_does_not_come_back_goes_when_the_hold_is_over() -> None:
    bench = Bench()
    bench.sees(A, B)
    bench.belief.lost()
    assert bench.sees(A, after=30) is None
    assert bench.belief.held == 1
    assert bench.belief.recheck_in(bench.clock()) == HOLD
    assert bench.sees(A, after=HOLD) == (A,)


def test_an_index_that_went_backwards_is_enough_for_suspicion() -> None:
    bench = Bench()
    bench.sees(A, B)
    assert bench.sees(A, reset=True) is None
    assert bench.belief.instances == (A, B)


def test_new_instances_are_taken_while_old_ones_are_held() -> None:
    bench = Bench()
    bench.sees(A)
    bench.belief.lost()
    assert bench.sees(B) == (A, B)
    assert bench.belief.held == 1


def test_a_suddenly_critical_one_keeps_its_status_for_the_hold() -> None:
    """A TTL check that a registry just got back starts critical."""
    bench = Bench()
    bench.sees(A)
    bench.belief.lost()
    assert bench.sees(replace(A, status=CRITICAL)) is None
    assert bench.sees(A, after=1) is None
    assert bench.sees(replace(A, status=CRITICAL), after=1) is None
    assert bench.sees(replace(A, status=CRITICAL), after=HOLD) == (replace(A, status=CRITICAL),)


def test_other_news_pass_through_the_hold() -> None:
    bench = Bench()
    bench.sees(A, replace(B, status=CRITICAL))
    bench.belief.lost()
    assert bench.sees(replace(A, status=WARNING), B) == (replace(A, status=WARNING), B)
    moved = replace(A, port=9999, status=CRITICAL)
    assert bench.sees(moved, B) == (moved, B)


def test_the_same_place_under_another_node_name_is_the_same_instance() -> None:
    bench = Bench()
    bench.sees(A)
    bench.belief.lost()
    renamed = replace(A, node="n2")
    assert bench.sees(renamed) == (renamed,)
    assert bench.belief.held == 0


def test_a_registry_that_keeps_falling_never_costs_an_instance() -> None:
    bench = Bench()
    bench.sees(A, B)
    for _ in range(20):
        bench.belief.lost()
        assert bench.sees(after=HOLD - 1) is None
    assert bench.belief.instances == (A, B)


def test_no_instances_at_all_for_the_whole_hold_are_believed_gone() -> None:
    bench = Bench()
    bench.sees(A)
    bench.belief.lost()
    assert bench.sees() is None
    assert bench.sees(after=HOLD - 0.1) is None
    assert bench.sees(after=0.2) == ()


ANSWERS = st.lists(
    st.tuples(
        st.sampled_from(["seen", "seen", "lost", "reset"]),
        st.sets(st.integers(1, 4)),
        st.floats(0, HOLD),
    ),
    min_size=1,
    max_size=40,
)


def _ids(instances: tuple[ServiceInstance, ...] | None) -> set[str]:
    return {one.id for one in instances or ()}


@given(ANSWERS)
def test_belief_under_any_history(history: list[tuple[str, set[int], float]]) -> None:
    """An empty set is believed only after its hold, nothing goes within the hold after a
    suspicion, and a registry that stays the same is believed in the end."""
    bench = Bench()
    suspect_since = empty_since = None
    seen: tuple[ServiceInstance, ...] = ()
    for what, numbers, pause in history:
        bench.clock.advance(pause)
        if what == "lost":
            bench.belief.lost()
            suspect_since = float("inf")
            continue
        now = bench.clock()
        before = bench.belief.instances or ()
        if suspect_since == float("inf") or what == "reset":
            # With nothing known there is nothing to hold.
            suspect_since = now if before else None
        seen = tuple(_one(number) for number in sorted(numbers))
        empty_since = None if seen else empty_since if empty_since is not None else now
        after = bench.belief.observe(now, seen, reset=what == "reset")
        believed = bench.belief.instances
        assert after is None or after == believed
        if suspect_since is not None and now < suspect_since + HOLD:
            assert _ids(before) <= _ids(believed)
        if believed == () and before:
            assert empty_since is not None
            assert now >= empty_since + EMPTY_HOLD
        assert _ids(seen) <= _ids(believed)
    if suspect_since == float("inf"):
        bench.belief.observe(bench.clock(), seen, reset=False)
    bench.clock.advance(2 * HOLD)
    bench.belief.observe(bench.clock(), seen, reset=False)
    bench.clock.advance(EMPTY_HOLD)
    bench.belief.observe(bench.clock(), seen, reset=False)
    assert bench.belief.instances == seen
    assert bench.belief.recheck_in(bench.clock()) is None


def _entry(key: str, value: bytes = b"v", index: int = 1) -> KVEntry:
    return KVEntry(key, value, modify_index=index)


def test_a_tree_is_held_whole_while_keys_are_missing_after_a_rebirth() -> None:
    settle = KVSettle(HOLD)
    both = (_entry("a"), _entry("b"))
    assert settle.observe(0, both, reset=False) == both
    assert settle.observe(1, (_entry("b"),), reset=True) is None
    assert settle.recheck_in(1) == HOLD
    assert settle.observe(2, (_entry("a", index=9), _entry("b", index=8)), reset=False) is None, (
        "only indexes differ"
    )
    settle.lost()
    assert settle.observe(3, (_entry("b"),), reset=False) is None
    assert settle.observe(3 + HOLD, (_entry("b"),), reset=False) == (_entry("b"),)
    assert settle.recheck_in(3 + HOLD) is None


def test_a_deleted_key_goes_at_once_when_the_registry_never_left() -> None:
    settle = KVSettle(HOLD)
    settle.observe(0, (_entry("a"), _entry("b")), reset=False)
    assert settle.observe(1, (_entry("a"),), reset=False) == (_entry("a"),)
    assert settle.observe(2, (), reset=False) == ()


def test_no_keys_are_said_at_once() -> None:
    assert KVSettle(HOLD).observe(0, (), reset=False) == ()


def test_names_are_held_after_a_rebirth_and_new_ones_taken_at_once() -> None:
    """Else a sidecar would call a service unknown while its instances are registering again."""
    settle = NamesSettle(HOLD)
    assert settle.observe(0, frozenset({"consul", "orders"}), reset=False) == {"consul", "orders"}
    settle.lost()
    assert settle.observe(1, frozenset({"consul"}), reset=False) is None
    assert settle.recheck_in(1) == HOLD
    assert settle.observe(2, frozenset({"consul", "users"}), reset=False) == {"consul", "orders", "users"}
    assert settle.observe(1 + HOLD, frozenset({"consul", "users"}), reset=False) == {"consul", "users"}
    assert settle.recheck_in(1 + HOLD) is None
    assert settle.observe(20, frozenset({"consul"}), reset=False) == {"consul"}, "no doubt, no hold"
