"""How an endpoint comes back: by a slope, and not with all callers at once."""

import pytest

from tests.simulation.world import World, lognormal

SHOP = lognormal(0.006, 0.5)


@pytest.mark.parametrize("rate", [60, 300, 900])
@pytest.mark.parametrize("replicas", [2, 3])
def test_recovery_has_no_cliff(replicas: int, rate: float) -> None:
    """No second of the return is above 1.3x of the endpoint's fair share (and noise), and the first is a
    tenth of it.
    """
    world = World(21)
    servers = world.servers(replicas, SHOP)
    world.caller(servers, rate)
    world.at(10.0, servers[0].kill)
    world.at(14.0, servers[0].start)
    world.run(60.0)
    share = rate / replicas
    per_second = [servers[0].arrivals[second] for second in range(14, 60)]
    noise = 3 * share**0.5
    assert max(per_second) <= 1.3 * share + noise
    first = next(index for index, count in enumerate(per_second) if count > 3)
    assert per_second[first] <= 0.2 * share + noise
    assert sum(per_second[-10:]) / 10 == pytest.approx(share, rel=0.25)


def test_ten_callers_do_not_test_again_at_once() -> None:
    """After a kill at one moment, the probes of ten sidecars fall into different tenths of a second."""
    world = World(22)
    servers = world.servers(3, SHOP)
    callers = [world.caller(servers, 50, name=f"caller-{index}") for index in range(10)]
    world.at(10.0, servers[0].kill)
    world.run(60.0)
    for generation in range(3):
        moments = [
            [at for at, state in caller.moves(servers[0]) if state == "half-open"][generation]
            for caller in callers
        ]
        spread = max(moments) - min(moments)
        assert spread > 0.3 * 2**generation
        slots = [int(10 * at) for at in moments]
        assert max(slots.count(slot) for slot in slots) <= 4
    assert all(caller.ok.count(False) == 0 for caller in callers)
