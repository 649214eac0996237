"""The call graph of a topology: where calls would never end, or bring about too many.

Pure functions over edges.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from services.errors import Fault, Path

# One request from outside that causes more calls than this is a slip (a fan-out per level
# multiplies), and would hold a laptop for seconds; isotope's largest example makes 999.
MAX_CALLS_PER_REQUEST = 10_000.0
# A cycle that has not settled by then ends too late to be meant: it is as good as endless.
MAX_ROUNDS = 1000
# How near the sum must be to its limit to count as settled.
_SETTLED = 1e-6


@dataclass(frozen=True, slots=True)
class Edge:
    """One call in a script: who, whom, how likely (0..1), and where it is written."""

    caller: str
    callee: str
    probability: float
    place: Path


def endless_calls(edges: Sequence[Edge]) -> Fault | None:
    """Cycles without an end, and fan-out that has one too far away.

    A cycle in which every call is certain never ends. One with a probability ends when it is
    expected to: each round must cause less than one further round, which is what keeps the expected
    number of calls finite. `a` calling `b` twice at 60 % and `b` calling `a` back does not.
    """
    cycle = _find_cycle([edge for edge in edges if edge.probability >= 1])
    if cycle is not None:
        remedy = "remove one of these calls, or give it a probability below 100"
        return Fault(cycle[-1].place, f"the calls {_way(cycle)} never end", remedy)
    worst = _too_many_calls(edges)
    if worst is None:
        return None
    cycle = _find_cycle(_reached_from(worst, edges))
    if cycle is not None:
        problem = f"the calls {_way(cycle)} bring about more calls than they end"
        return Fault(cycle[-1].place, problem, "lower a probability on the way")
    first = next(edge for edge in edges if edge.caller == worst)
    problem = f'a request to "{worst}" makes more than {MAX_CALLS_PER_REQUEST:,.0f} calls in all'
    return Fault(first.place, problem, "call fewer services, or call them less often")


def _way(cycle: Sequence[Edge]) -> str:
    return " -> ".join([*(edge.caller for edge in cycle), cycle[0].caller])


def _reached_from(name: str, edges: Sequence[Edge]) -> list[Edge]:
    calls = _calls_by_caller(edges)
    found: list[Edge] = []
    seen = {name}
    pending = [name]
    while pending:
        for edge in calls.get(pending.pop(), ()):
            found.append(edge)
            if edge.callee not in seen:
                seen.add(edge.callee)
                pending.append(edge.callee)
    return found


def _calls_by_caller(edges: Sequence[Edge]) -> dict[str, list[Edge]]:
    calls: dict[str, list[Edge]] = {}
    for edge in edges:
        calls.setdefault(edge.caller, []).append(edge)
    return calls


def _find_cycle(edges: Sequence[Edge]) -> list[Edge] | None:
    """Some cycle of calls, in calling order; None when there is none.

    Depth-first with a stack of its own: a chain of a thousand services is a valid file.
    """
    calls = _calls_by_caller(edges)
    done: set[str] = set()
    for start in calls:
        if start in done:
            continue
        way: list[Edge] = []
        place_on_way = {start: 0}
        pending = [iter(calls[start])]
        while pending:
            edge = next(pending[-1], None)
            if edge is None:
                pending.pop()
                name = way.pop().callee if way else start
                done.add(name)
                del place_on_way[name]
            elif edge.callee in place_on_way:
                return [*way[place_on_way[edge.callee] :], edge]
            elif edge.callee not in done:
                way.append(edge)
                place_on_way[edge.callee] = len(way)
                pending.append(iter(calls.get(edge.callee, ())))
    return None


def _too_many_calls(edges: Sequence[Edge]) -> str | None:
    """A service whose expected number of calls, its callees' included, is over the limit or endless.

    Expected calls E[a] = sum over a's calls of p * (1 + E[callee]). Without cycles one round from the
    callees up gives it; with them it grows to the answer, or past every limit when a cycle feeds itself.
    """
    calls = _calls_by_caller(edges)
    order = _callees_first(calls)
    expected = dict.fromkeys(calls, 0.0)
    for _ in range(MAX_ROUNDS):
        settled = True
        for name in order:
            total = sum(edge.probability * (1 + expected.get(edge.callee, 0.0)) for edge in calls[name])
            if total > MAX_CALLS_PER_REQUEST:
                return name
            settled = settled and total - expected[name] <= _SETTLED * total
            expected[name] = total
        if settled:
            return None
    return max(order, key=lambda name: expected[name])


def _callees_first(calls: dict[str, list[Edge]]) -> list[str]:
    """Those who call, each after those it calls, as far as cycles let it."""
    order: list[str] = []
    seen: set[str] = set()
    for start in calls:
        pending = [(start, iter(calls[start]))] if start not in seen else []
        seen.add(start)
        while pending:
            name, rest = pending[-1]
            edge = next(rest, None)
            if edge is None:
                order.append(name)
                pending.pop()
            elif edge.callee in calls and edge.callee not in seen:
                seen.add(edge.callee)
                pending.append((edge.callee, iter(calls[edge.callee])))
    return order
