"""Each request is drawn on its own from a seeded source: errors, latencies and probabilities."""

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from services.behaviour import Behaviour
from services.script import Call, Concurrent, Service, Sleep, parse_topology


def service(**settings: object) -> Service:
    return replace(Service("a", line=1), **settings)  # type: ignore[arg-type]


def test_a_plain_script_is_done_as_written() -> None:
    script = (Sleep(0.01), Concurrent((Call("b"), Sleep(0.02), Call("c"))), Call("d"))
    decision = Behaviour(service(script=script), random.Random(1)).decide()
    assert (decision.fails, decision.steps) == (False, script)


def test_latency_comes_before_the_script() -> None:
    text = "services: [{name: a, isEntrypoint: true, latency: 5ms, script: [sleep: 1ms]}]"
    decision = Behaviour(parse_topology(text, "f").service("a"), random.Random(1)).decide()
    assert decision.steps == (Sleep(0.005), Sleep(0.001))


def test_a_failing_request_does_nothing_else() -> None:
    decision = Behaviour(service(error_rate=1.0, script=(Call("b"),)), random.Random(1)).decide()
    assert (decision.fails, decision.steps) == (True, ())


def test_the_error_rate_is_a_share_and_no_counter() -> None:
    """30 % is 30 %, not every third; 60 % is 60 %, not all; and errors come in runs as chance has it."""
    for rate in (0.3, 0.6):
        behaviour = Behaviour(service(error_rate=rate), random.Random(11))
        draws = [behaviour.decide().fails for _ in range(20_000)]
        assert abs(sum(draws) / len(draws) - rate) < 0.01
        runs = sum(a and b and c for a, b, c in zip(draws, draws[1:], draws[2:], strict=False))
        assert abs(runs / len(draws) - rate**3) < 0.015


def test_the_probability_of_each_call_is_its_own() -> None:
    """Alone and among concurrent ones; 1 % is 1 % and 99 % is 99 %."""
    rare, often = Call("b", probability=0.01), Call("c", probability=0.99)
    behaviour = Behaviour(service(script=(rare, Concurrent((often, Call("d"))))), random.Random(5))
    decisions = [behaviour.decide().steps for _ in range(20_000)]
    rares = sum(rare in steps for steps in decisions)
    oftens = sum(Concurrent((often, Call("d"))) in steps for steps in decisions)
    assert 140 <= rares <= 260
    assert 19_740 <= oftens <= 19_860


def test_a_call_of_some_versions_is_made_by_these_alone() -> None:
    script = (Call("b", versions=("v2",)), Concurrent((Call("c", versions=("v1", "v2")), Call("d"))))
    made = {
        version: Behaviour(service(script=script), random.Random(1), version=version).decide().steps
        for version in ("v1", "v2")
    }
    assert made == {"v1": script[1:], "v2": script}


def test_a_service_can_be_replaced_while_it_runs() -> None:
    behaviour = Behaviour(service(), random.Random(1))
    assert not behaviour.decide().fails
    behaviour.service = service(error_rate=1.0)
    assert behaviour.decide().fails


@given(st.integers(), st.floats(0, 1), st.floats(0.01, 1))
def test_the_same_seed_decides_the_same(seed: int, error_rate: float, probability: float) -> None:
    shared = service(error_rate=error_rate, script=(Call("b", probability=probability),))
    one, other = (Behaviour(shared, random.Random(seed)) for _ in range(2))
    assert [one.decide() for _ in range(20)] == [other.decide() for _ in range(20)]


def test_the_same_request_draws_the_same_from_every_instance() -> None:
    """Its errors and its latency; another request id draws anew, and a run with a seed is drawn in order."""
    shared = service(error_rate=0.5, script=(Call("b", probability=0.5), Call("c", probability=0.5)))
    one, other = (Behaviour(shared, random.Random(seed)) for seed in (1, 2))
    asked = [f"request-{number} 1 GET /" for number in range(200)]
    assert [one.decide(each) for each in asked] == [other.decide(each) for each in reversed(asked)][::-1]
    assert 60 < sum(one.decide(each).fails for each in asked) < 140
    seeded = [Behaviour(shared, random.Random(3), in_order=True) for _ in range(2)]
    assert [seeded[0].decide(each) for each in asked] == [seeded[1].decide("other") for _ in asked]
    assert len({seeded[0].decide(asked[0]).fails for _ in range(50)}) == 2
