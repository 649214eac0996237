"""The machine itself: honest numbers, repeatable, for thousands of endpoints; `make bench` has its speed."""

import pytest

from tests.simulation.world import World, constant, lognormal, quantile


def test_the_same_seed_gives_the_same_world() -> None:
    """Bit by bit."""
    runs = []
    for _ in range(2):
        world = World(41)
        servers = world.servers(3, lognormal(0.005))
        caller = world.caller(servers, 200)
        world.at(2.0, servers[0].kill)
        world.run(5.0)
        runs.append((caller.latencies, caller.ok, [e.at for e in caller.events]))
    assert runs[0] == runs[1]


def test_a_queue_before_workers_is_a_queue() -> None:
    """One worker of 10 ms at 50/s is half busy: waiting doubles p50 at most, and nothing is lost."""
    world = World(42)
    servers = world.servers(1, constant(0.010), workers=1)
    caller = world.caller(servers, 50)
    world.run(60.0)
    assert 0.010 <= quantile(caller.latencies, 0.5) < 0.020
    assert quantile(caller.latencies, 0.95) > 0.020
    assert caller.ok.count(False) == 0


def test_thousands_of_endpoints() -> None:
    """2,000 endpoints are all used, evenly."""
    world = World(43)
    servers = world.servers(2000, constant(0.005))
    world.caller(servers, 20_000)
    world.run(2.0)
    counts = [server.handled for server in servers]
    assert sum(counts) == pytest.approx(40_000, rel=0.05)
    assert max(counts) < 60
