"""Retries over several hops: the load at the end stays a small multiple."""

from dataclasses import replace

import pytest

from sidecar.policy.admission import AdmissionPolicy
from sidecar.policy.retry_budget import BudgetPolicy
from sidecar.policy.settings import UpstreamPolicy
from sidecar.policy.trip_rules import BreakerPolicy
from tests.simulation.world import Caller, Server, World, constant

RATE = 200.0


ALONE = UpstreamPolicy(admission=AdmissionPolicy(cap=0.0), breaker=BreakerPolicy(enabled=False))
UNBOUND = replace(ALONE, budget=BudgetPolicy(ratio=1.0, reserve_per_s=1000.0))


def chain(
    world: World, error_rate: float, policy: UpstreamPolicy | None = None
) -> tuple[list[list[Server]], Caller]:
    """client -> a -> b -> c -> d, three replicas each, each replica behind its own sidecar; d fails."""
    last = world.servers(3, constant(0.002), name="d")
    for server in last:
        server.error_rate = error_rate
    tiers: list[list[Server]] = [last]
    for name in ("c", "b", "a"):
        tier = world.servers(3, constant(0.002), name=name)
        for server in tier:
            server.calls = world.caller(tiers[-1], 0, policy, f"{server.name}-sidecar")
        tiers.append(tier)
    return tiers, world.caller(tiers[-1], RATE, policy, "client")


@pytest.mark.parametrize("error_rate", [0.2, 0.5, 0.8, 1.0])
def test_four_hops_that_all_retry_stay_below_two_and_a_half_times_the_load(error_rate: float) -> None:
    """Every hop retries what fails below; without a budget the last would see up to 2^4 times the
    requests.
    """
    world = World(31)
    tiers, client = chain(world, error_rate)
    world.run(60.0)
    originals = len(client.ok)
    assert originals > 0.9 * RATE * 60
    for tier in tiers:
        assert sum(server.handled for server in tier) < 2.5 * originals


def test_the_budget_alone_bounds_a_storm() -> None:
    """Breakers and admission switched off, everything fails: below 2.5x with the budget, far above
    without.
    """
    for policy, low, high in ((ALONE, 1.5, 2.5), (UNBOUND, 40.0, 81.5)):
        world = World(33)
        tiers, client = chain(world, 1.0, policy)
        world.run(20.0)
        assert low < sum(server.handled for server in tiers[0]) / len(client.ok) <= high


def test_when_everything_below_fails_most_is_held_back_at_the_top() -> None:
    """All bad: the client's own sidecar says no to most requests instead of sending them down."""
    world = World(32)
    tiers, client = chain(world, 1.0)
    world.run(60.0)
    assert client.rejected > 0.7 * len(client.ok)
    assert sum(server.handled for server in tiers[0]) < 0.3 * len(client.ok)
