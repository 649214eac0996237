"""One replica dies, freezes, slows down, lies or flaps: what callers notice."""

import math

import pytest

from tests.simulation.world import Caller, Server, World, constant, lognormal, quantile

SHOP = lognormal(0.006, 0.5)  # p50 6 ms, p99 19 ms


def scene(replicas: int, rate: float, seed: int) -> tuple[World, list[Server], Caller]:
    """One caller of one service."""
    world = World(seed)
    servers = world.servers(replicas, SHOP)
    return world, servers, world.caller(servers, rate)


def p99(caller: Caller, begin: float, end: float) -> float:
    """Seconds."""
    return quantile([latency for latency, _ in caller.between(begin, end)], 0.99)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("replicas", "rate"), [(3, 300), (3, 50), (3, 5), (2, 300), (2, 50)])
def test_a_killed_replica_costs_no_request(replicas: int, rate: float, seed: int) -> None:
    """SIGKILL at 10 s: no failed request, open within three attempts there, and few probes after."""
    world, servers, caller = scene(replicas, rate, seed)
    world.at(10.0, servers[0].kill)
    world.run(30.0)
    assert caller.ok.count(False) == 0
    assert caller.moves(servers[0])[0][1] == "open"
    assert sum(servers[0].arrivals[second] for second in range(12, 30)) <= 8


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("replicas", [2, 3])
def test_a_frozen_replica_is_left_before_anyone_times_out(replicas: int, seed: int) -> None:
    """SIGSTOP of app and sidecar at 300/s: nothing fails, it is open within 1.5 s, p99 of second 2 to 10
    stays within 1.5x.
    """
    world, servers, caller = scene(replicas, 300, seed)
    world.at(10.0, servers[0].freeze)
    world.run(20.0)
    assert caller.ok.count(False) == 0
    assert caller.moves(servers[0])[0][0] < 11.5
    assert p99(caller, 12.0, 20.0) < 1.5 * p99(caller, 0.0, 9.5)
    assert max(latency for latency, _ in caller.between(9.0, 20.0)) < 0.8


@pytest.mark.parametrize(("replicas", "rate"), [(2, 20), (3, 50), (3, 300)])
def test_pauses_of_single_processes_cost_nobody_a_request(replicas: int, rate: float) -> None:
    """Each replica stops now and then for 200 ms on average: nothing fails, and load grows by less than 2
    %.
    """
    world, servers, caller = scene(replicas, rate, 13)
    for server in servers:
        at = 2.0
        while at < 200.0:
            at += world.rng.expovariate(1 / 5.0)
            length = world.rng.expovariate(1 / 0.2)
            world.at(at, server.freeze)
            world.at(at + length, server.thaw)
            at += length
    world.run(200.0)
    assert caller.ok.count(False) == 0
    assert caller.attempts < 1.02 * len(caller.ok)


def test_pauses_below_a_third_of_a_second_open_nothing() -> None:
    """250 ms, every few seconds, one replica of three at 300/s: a laptop's scheduler is no failure."""
    world, servers, caller = scene(3, 300, 14)
    for second in range(5, 60, 3):
        world.at(second, servers[0].freeze)
        world.at(second + 0.25, servers[0].thaw)
    world.run(62.0)
    assert sum(state == "open" for _, state in caller.moves(servers[0])) <= 2
    assert caller.ok.count(False) == 0


def test_of_posts_only_those_in_flight_are_lost_to_a_frozen_replica() -> None:
    """They cannot be repeated; the GETs around them find out, so that no later POST goes there."""
    world, servers, caller = scene(3, 300, 4)
    caller.unsafe_share = 0.5
    world.at(10.0, servers[0].freeze)
    world.run(20.0)
    lost = [(start, ok) for start, ok in zip(caller.starts, caller.ok, strict=True) if not ok]
    assert len(lost) <= 6
    assert all(start < 10.3 for start, _ in lost)


@pytest.mark.parametrize("rate", [1, 50, 300])
def test_a_black_hole_that_fails_fast_attracts_nothing(rate: float) -> None:
    """0.1 ms errors beside 6 ms answers: nobody is lost, and it is opened."""
    world, servers, caller = scene(3, rate, 5)
    servers[0].error_rate = 1.0
    servers[0].error_latency = constant(0.0001)
    world.run(60.0)
    assert caller.ok.count(False) == 0
    assert caller.moves(servers[0])[0][1] == "open"
    assert servers[0].handled < 0.05 * len(caller.ok) + 20


def test_a_slow_replica_is_taken_out_although_it_never_fails() -> None:
    """Thirty times slower: found by slow calls, not by errors, and the others keep p99."""
    world, servers, caller = scene(3, 100, 6)
    world.at(20.0, servers[0].become(slowdown=30.0))
    world.run(60.0)
    assert caller.moves(servers[0])[0][1] == "open"
    assert p99(caller, 30.0, 60.0) < 2 * p99(caller, 5.0, 20.0)


def test_a_service_that_slows_down_as_a_whole_opens_nobody() -> None:
    """All thirty times slower: their breakers stay closed, and load is not doubled by giving up."""
    world, servers, caller = scene(3, 100, 7)
    for server in servers:
        world.at(20.0, server.become(slowdown=30.0))
    world.run(60.0)
    assert not any(caller.moves(server) for server in servers)
    assert caller.attempts < 1.05 * len(caller.ok)
    assert caller.ok.count(False) == 0


def test_a_flapping_replica_is_asked_ever_more_rarely() -> None:
    """Up two seconds, down two seconds: nobody fails, and it is opened less than once in six seconds."""
    world, servers, caller = scene(3, 100, 8)
    for cycle in range(30):
        world.at(4.0 * cycle + 2.0, servers[0].kill)
        world.at(4.0 * cycle + 4.0, servers[0].start)
    world.run(120.0)
    assert caller.ok.count(False) == 0
    assert sum(state == "open" for _, state in caller.moves(servers[0])) <= 20


@pytest.mark.parametrize(("replicas", "bad"), [(2, 1), (3, 1), (3, 2)])
def test_some_bad_are_ejected_and_the_rest_serves_all(replicas: int, bad: int) -> None:
    """After the first seconds nobody fails, also when the floor forbids to open all of the bad ones."""
    world, servers, caller = scene(replicas, 100, 9)
    for server in servers[:bad]:
        world.at(10.0, server.become(error_rate=1.0))
    world.run(60.0)
    late = [ok for _, ok in caller.between(13.0, 60.0)]
    assert late.count(False) <= 0.001 * len(late)


def test_all_bad_sends_a_trickle_and_comes_back_by_a_slope() -> None:
    """Dead for 20 s: at most a fifth of the load still goes there; 5 s after the return nobody is held
    back.
    """
    world, servers, caller = scene(3, 200, 10)
    for server in servers:
        world.at(10.0, server.kill)
        world.at(30.0, server.start)
    world.run(60.0)
    tried = sum(server.arrivals[second] for server in servers for second in range(15, 30))
    assert tried < 0.2 * 200 * 15
    assert all(ok for _, ok in caller.between(36.0, 60.0))
    back = [sum(server.arrivals[second] for server in servers) for second in range(30, 40)]
    assert max(back) < 1.3 * 200 * 1.3


def test_at_one_request_a_second_a_kill_is_survived_too() -> None:
    """Thin traffic: no failure, and the breaker still opens."""
    world, servers, caller = scene(2, 1, 11)
    world.at(30.0, servers[0].kill)
    world.run(120.0)
    assert caller.ok.count(False) == 0
    assert caller.moves(servers[0])[0][1] == "open"


@pytest.mark.parametrize("rate", [1, 10, 100])
def test_a_tenth_that_fails_everywhere_is_left_alone(rate: float) -> None:
    """Ten minutes at 10 % failures: at most one trip of three endpoints."""
    world, servers, caller = scene(3, rate, 12)
    for server in servers:
        server.error_rate = 0.1
    world.run(600.0)
    assert sum(state == "open" for server in servers for _, state in caller.moves(server)) <= 1


@pytest.mark.parametrize("replicas", [1, 2, 5])
@pytest.mark.parametrize(("seconds", "rate"), [(3.0, 1), (3.0, 100), (30.0, 1)])
def test_a_slow_answer_is_asked_for_once(replicas: int, seconds: float, rate: float) -> None:
    """Without a document nothing is given up for its length: each request is one attempt, and none fails."""
    world = World(5)
    servers = world.servers(replicas, constant(seconds))
    caller = world.caller(servers, rate)
    caller.timeout_s = math.inf
    world.run(120.0)
    assert len(caller.ok) > 60 * rate
    assert caller.ok.count(False) == 0
    assert caller.attempts - len(caller.ok) <= seconds * rate * 1.5, "those that are still under way"
    assert not any(caller.moves(server) for server in servers)
