"""No request outlives its deadline, whatever its attempts meet."""

import pytest

from tests.simulation.world import REQUEST_TIMEOUT_S, World, lognormal


@pytest.mark.parametrize("frozen", [1, 2, 3])
@pytest.mark.parametrize("unsafe", [0.0, 1.0])
def test_all_attempts_and_waits_fit_into_the_deadline(frozen: int, unsafe: float) -> None:
    """One, two or all of three replicas answer nobody: every request has ended after 5 s, answered or not."""
    world = World(51)
    servers = world.servers(3, lognormal(0.01, 1.0))
    caller = world.caller(servers, 100)
    caller.unsafe_share = unsafe
    for server in servers[:frozen]:
        world.at(5.0, server.freeze)
        world.at(15.0, server.thaw)
    world.run(20.0)
    world.set_rate(caller, 0.0)
    assert max(caller.latencies) <= REQUEST_TIMEOUT_S + 1e-6
    begun = sum(start <= 15.0 for start in caller.starts)
    assert begun > 0.9 * 1500
    for endpoint in caller.upstream.endpoints.all:
        assert endpoint.pending <= 20


def test_when_everything_hangs_most_requests_do_not_wait() -> None:
    """All frozen: the service's breaker opens, and turns away at once instead of after five seconds."""
    world = World(52)
    servers = world.servers(3, lognormal(0.01))
    caller = world.caller(servers, 100)
    for server in servers:
        world.at(5.0, server.freeze)
    world.run(40.0)
    late = [latency for latency, _ in caller.between(20.0, 40.0)]
    assert sum(latency == 0.0 for latency in late) > 0.7 * len(late)
    assert caller.upstream.service.opens == 1
