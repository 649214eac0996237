"""Call graphs that never end are found, however long, and those that do are let through."""

from hypothesis import given
from hypothesis import strategies as st

from services.graph import Edge, endless_calls


def edges(*calls: str, probability: float = 1.0) -> list[Edge]:
    """`"a>b"` is a call from a to b; `"a>b@50"` with 50 %."""
    found = []
    for number, call in enumerate(calls):
        way, _, percent = call.partition("@")
        caller, callee = way.split(">")
        found.append(Edge(caller, callee, float(percent) / 100 if percent else probability, (number,)))
    return found


def words(*calls: str) -> tuple[str, int] | None:
    fault = endless_calls(edges(*calls))
    return None if fault is None else (fault.problem, int(fault.place[0]))


def test_a_tree_and_a_diamond_end() -> None:
    assert words("a>b", "a>c", "b>d", "c>d") is None
    assert words() is None


def test_a_cycle_of_certain_calls_names_the_way_and_its_closing_call() -> None:
    assert words("a>b", "b>a") == ("the calls a -> b -> a never end", 1)
    assert words("a>a") == ("the calls a -> a never end", 0)
    assert words("x>a", "a>b", "b>c", "c>b") == ("the calls b -> c -> b never end", 3)


def test_a_cycle_behind_a_finished_branch_is_found() -> None:
    assert words("a>b", "b>d", "a>c", "c>d", "d>c") == ("the calls d -> c -> d never end", 3)


def test_a_cycle_that_ends_by_chance_is_fine() -> None:
    assert words("a>b@50", "b>a") is None
    assert words("a>a@99") is None


def test_chance_must_end_more_calls_than_the_cycle_makes() -> None:
    """Twice at 60 % is 1.2 calls back for each call: it grows, though no call is certain."""
    problem = "the calls a -> b -> a bring about more calls than they end"
    assert words("a>b@60", "a>b@60", "b>a") == (problem, 2)
    assert words("a>b@40", "a>b@40", "b>a") is None
    assert words("a>a@50", "a>a@50") == ("the calls a -> a bring about more calls than they end", 0)


def test_fan_out_that_multiplies_is_a_slip() -> None:
    """Ten levels of ten calls each would be ten billion; four levels are eleven thousand."""
    calls = [f"s{level}>s{level + 1}" for level in range(4) for _ in range(10)]
    assert words(*calls) == ('a request to "s0" makes more than 10,000 calls in all', 0)
    assert words(*calls[:30]) is None


def test_an_innocent_cycle_is_not_blamed_for_fan_out_elsewhere() -> None:
    calls = [f"s{level}>s{level + 1}" for level in range(4) for _ in range(10)]
    found = words("a>b@10", "b>a@10", *calls)
    assert found is not None
    assert found[0] == 'a request to "s0" makes more than 10,000 calls in all'


def test_a_long_chain_is_no_problem_and_a_long_cycle_is_found() -> None:
    """Fifteen hundred hops: neither Python's stack nor the number of rounds is a limit."""
    chain = [f"s{i}>s{i + 1}" for i in range(1500)]
    assert words(*chain) is None
    found = words(*chain, "s1500>s0")
    assert found is not None
    assert found[1] == 1500


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_certain_calls_are_endless_exactly_when_someone_reaches_himself(calls: list[tuple[int, int]]) -> None:
    """Against the plain definition: the transitive closure has a loop."""
    reach = set(calls)
    for _ in range(7):
        reach |= {(a, d) for a, b in reach for c, d in calls if b == c}
    cyclic = any(a == b for a, b in reach)
    fault = endless_calls([Edge(str(a), str(b), 1.0, (0,)) for a, b in calls])
    assert (fault is not None and "never end" in fault.problem) == cyclic
