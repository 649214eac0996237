"""The pool: which connection carries a request, and how a connect may fail."""

import asyncio
import errno
import socket

import pytest

from loadgen.pool import IDLE_SECONDS, Exchange, Pool, connect_reason
from loadgen.tally import Tally
from loadgen.target import parse_target
from tests.fakes.clock import FakeClock
from tests.loadgen.targets import target_server

End = tuple[Exchange, int | None, str | None]


async def finish(ends: list[End], n: int) -> None:
    """Wait until n requests have ended."""
    async with asyncio.timeout(5):
        while len(ends) < n:  # noqa: ASYNC110 - a test may look; the pool offers no event
            await asyncio.sleep(0.001)


async def test_a_connection_is_used_again_and_closed_when_it_idled_too_long() -> None:
    """One connection for requests one after another; after four idle seconds none."""
    clock, ends = FakeClock(), list[End]()
    async with target_server() as server, asyncio.TaskGroup() as tasks:
        target = parse_target(server.url)
        pool = Pool(target, lambda *end: ends.append(end), tasks, timeout=10.0, clock=clock)
        for n in (1, 2, 3):
            pool.request(Exchange(clock(), clock(), Tally(), "", False), target.request("t"))
            assert pool.in_flight == 1
            await finish(ends, n)
        assert (server.connections, pool.idle, pool.in_flight) == (1, 1, 0)
        assert [(status, reason) for _, status, reason in ends] == [(200, None)] * 3
        clock.advance(IDLE_SECONDS - 0.1)
        pool.sweep()
        assert pool.idle == 1
        clock.advance(0.2)
        pool.sweep()
        assert pool.idle == 0
        pool.request(Exchange(clock(), clock(), Tally(), "", False), target.request("t"))
        await finish(ends, 4)
        assert server.connections == 2
        pool.close()


async def test_the_sweep_ends_what_waited_too_long_and_nothing_else() -> None:
    """Connecting counts as waiting; each request ends once."""
    clock, ends = FakeClock(), list[End]()
    async with target_server() as server, asyncio.TaskGroup() as tasks:
        server.mode = "hang"
        target = parse_target(server.url)
        pool = Pool(target, lambda *end: ends.append(end), tasks, timeout=1.0, clock=clock)
        old = [Exchange(clock(), clock(), Tally(), "", False) for _ in range(2)]
        pool.request(old[0], target.request("t"))
        pool.request(old[1], target.request("t"))  # its connect has not begun when it ends
        clock.advance(0.6)
        young = Exchange(clock(), clock(), Tally(), "", False)
        pool.request(young, target.request("t"))
        clock.advance(0.6)
        pool.sweep()
        pool.sweep()
        assert [(exchange, reason) for exchange, _, reason in ends] == [(e, "timeout") for e in old]
        assert pool.in_flight == 1
        assert pool.close() == 1
        assert pool.in_flight == 0
    assert len(ends) == 2


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "refused"),
        (ConnectionRefusedError(), "refused"),
        (ConnectionResetError(), "reset"),
        (OSError(errno.EMFILE, "x"), "no_descriptors"),
        (OSError(errno.EHOSTUNREACH, "x"), "unreachable"),
        (OSError(errno.EADDRNOTAVAIL, "x"), "no_ports"),
        (TimeoutError(errno.ETIMEDOUT, "x"), "timeout"),
        (socket.gaierror(socket.EAI_NONAME, "x"), "name_not_found"),
        (OSError("Multiple exceptions: ..."), "connect_failed"),
        (OSError(errno.EIO, "x"), "connect_failed"),
    ],
)
def test_connect_errors_have_a_bounded_set_of_words(error: OSError, reason: str) -> None:
    """Reasons become metric labels: no text of the system goes into them."""
    assert connect_reason(error) == reason
