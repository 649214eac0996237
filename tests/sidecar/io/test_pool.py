"""The pool over real sockets: who gets a connection, when it is counted, what cannot be used."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sidecar.errors import Flag, MeshError
from sidecar.io.deadlines import Deadlines
from sidecar.io.pool import MAX_AGE_S, MAX_CONNECTING, Pool
from sidecar.io.upstream import UpstreamConnection
from tests.fakes.clock import FakeClock
from tests.fakes.upstream import Peer, ScriptedUpstream
from tests.sidecar.exchange.harness import until

from .test_deadlines import FakeLoop


class Waiter:
    """Notes what it gets."""

    def __init__(self) -> None:
        self.got: UpstreamConnection | None = None
        self.error: MeshError | None = None
        self.has_crashed = False

    def connected(self, connection: UpstreamConnection) -> None:
        self.got = connection

    def connect_failed(self, error: MeshError) -> None:
        self.error = error

    def crashed(self) -> None:
        self.has_crashed = True


async def stay(peer: Peer) -> None:
    await peer.gone()


class Pools:
    """Makes pools whose time is the test's."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.loop = FakeLoop(FakeClock())
        self.deadlines = Deadlines(self.loop.call_at, self.loop.clock)
        self.group = group

    def make(self, port: int, **options: float) -> Pool:
        return Pool(
            "127.0.0.1",
            port,
            lambda coroutine, name: self.group.create_task(coroutine, name=name),
            self.deadlines,
            self.loop.clock,
            **options,  # type: ignore[arg-type]  # numbers of both kinds
        )


@asynccontextmanager
async def pools() -> AsyncIterator[Pools]:
    async with asyncio.TaskGroup() as group:
        yield Pools(group)


async def lend(pool: Pool) -> UpstreamConnection:
    waiter = Waiter()
    connection = pool.acquire(waiter)
    if connection is None:
        await until(lambda: waiter.got is not None)
        connection = waiter.got
    assert connection is not None
    return connection


async def test_last_in_first_out_and_counts() -> None:
    """The warmest connection is used first, so that the others may grow old."""
    async with ScriptedUpstream(stay) as up, pools() as made:
        pool = made.make(up.port)
        first, second = await lend(pool), await lend(pool)
        assert repr(pool).endswith("active=2 idle=0 connecting=0 waiting=0 tunnels=0>")
        pool.release(first)
        pool.release(second)
        assert (pool.active, pool.idle) == (0, 2)
        assert await lend(pool) is second
        assert (pool.active, pool.idle) == (1, 1)
        pool.release(second)
        pool.close()
        await until(lambda: (pool.active, pool.idle) == (0, 0))


async def test_waiters_are_served_first_in_first_out() -> None:
    """By a connection that is given back, within the cap."""
    async with ScriptedUpstream(stay) as up, pools() as made:
        pool = made.make(up.port, max_connections=1)
        connection = await lend(pool)
        waiters = [Waiter() for _ in range(3)]
        for waiter in waiters:
            assert pool.acquire(waiter) is None
        pool.cancel(waiters[1])
        pool.release(connection)
        assert [waiter.got is connection for waiter in waiters] == [True, False, False]
        pool.release(connection)
        assert [waiter.got is connection for waiter in waiters] == [True, False, True]
        pool.release(connection)
        assert (pool.active, pool.idle, pool.pending) == (0, 1, 0)
        pool.close()


async def test_a_lost_connection_makes_room_for_who_waits() -> None:
    """The next one connects anew."""
    async with ScriptedUpstream(stay) as up, pools() as made:
        pool = made.make(up.port, max_connections=1)
        connection = await lend(pool)
        waiter = Waiter()
        pool.acquire(waiter)
        connection.abort()
        await until(lambda: waiter.got is not None)
        assert waiter.got is not connection
        assert pool.active == 1
        pool.close()
        assert waiter.got is not None
        waiter.got.abort()
        await until(lambda: pool.active == 0)


async def test_idle_ones_expire_and_old_ones_are_not_kept() -> None:
    """Below the servers' own timeouts."""
    async with ScriptedUpstream(stay) as up, pools() as made:
        pool = made.make(up.port, idle_timeout=4.0)
        first, second = await lend(pool), await lend(pool)
        pool.release(first)
        made.loop.advance(2)
        pool.release(second)
        made.loop.advance(2.1)
        await until(lambda: (pool.active, pool.idle) == (0, 1))
        made.loop.advance(2)
        await until(lambda: (pool.active, pool.idle) == (0, 0))
        old = await lend(pool)
        made.loop.advance(MAX_AGE_S + 1)
        pool.release(old)
        await until(lambda: (pool.active, pool.idle) == (0, 0))


async def test_the_queue_is_bounded_in_length_and_time() -> None:
    """UO: our own limit, which says nothing about the endpoint."""
    async with ScriptedUpstream(stay) as up, pools() as made:
        pool = made.make(up.port, max_connections=1, max_waiting=2, max_wait=1.0)
        connection = await lend(pool)
        waiters = [Waiter(), Waiter()]
        pool.acquire(waiters[0])
        made.loop.advance(0.5)
        pool.acquire(waiters[1])
        with pytest.raises(MeshError) as caught:
            pool.acquire(Waiter())
        assert caught.value.flag is Flag.UO
        made.loop.advance(0.6)
        assert waiters[0].error is not None
        assert waiters[0].error.flag is Flag.UO
        assert waiters[1].error is None
        pool.release(connection)
        assert waiters[1].got is connection
        connection.abort()
        await until(lambda: pool.active == 0)


async def test_who_came_later_is_told_in_its_own_time() -> None:
    """The one before it in the queue took its timer along."""
    async with ScriptedUpstream(stay) as up, pools() as made:
        pool = made.make(up.port, max_connections=1, max_wait=1.0)
        connection = await lend(pool)
        waiters = [Waiter(), Waiter()]
        pool.acquire(waiters[0])
        made.loop.advance(0.5)
        pool.acquire(waiters[1])
        made.loop.advance(0.6)
        assert [waiter.error is not None for waiter in waiters] == [True, False]
        made.loop.advance(0.5)
        assert waiters[1].error is not None
        assert pool.pending == 0
        connection.abort()
        await until(lambda: pool.active == 0)


async def test_no_more_connections_are_made_than_who_waits_and_than_the_cap() -> None:
    """Those on their way count as those that are there."""
    async with ScriptedUpstream(stay) as up, pools() as made:
        pool = made.make(up.port, max_connections=3)
        waiters = [Waiter() for _ in range(5)]
        pool.acquire(waiters[0])
        assert pool.connecting == 1
        for waiter in waiters[1:]:
            pool.acquire(waiter)
        assert (pool.connecting, pool.pending) == (3, 5)
        await until(lambda: pool.active == 3)
        assert (pool.connecting, pool.pending) == (0, 2)
        for waiter in waiters[3:]:
            pool.cancel(waiter)
        assert pool.pending == 0
        for waiter in waiters[:3]:
            assert waiter.got is not None
            pool.release(waiter.got)
        pool.close()
        await until(lambda: (pool.active, pool.idle) == (0, 0))


async def test_a_connection_serves_as_many_requests_as_it_may() -> None:
    """The last of them closes it."""
    async with ScriptedUpstream(stay) as up, pools() as made:
        pool = made.make(up.port, max_requests=2)
        connection = await lend(pool)
        connection.used = 1
        pool.release(connection)
        assert (pool.active, pool.idle) == (0, 1)
        assert await lend(pool) is connection
        connection.used = 2
        pool.release(connection)
        assert pool.idle == 0
        await until(lambda: pool.active == 0)


async def test_an_idle_connection_that_is_about_to_close_is_not_lent() -> None:
    """Between a close and its `lost` lies a turn of the loop, and a request may come in it."""
    async with ScriptedUpstream(stay) as up, pools() as made:
        pool = made.make(up.port)
        closing = await lend(pool)
        pool.release(closing)
        closing.close_raw()
        assert pool.idle == 1
        other = await lend(pool)
        assert other is not closing
        await until(lambda: pool.active == 1)
        pool.release(other)
        pool.close()
        await until(lambda: (pool.active, pool.idle) == (0, 0))


async def test_a_closed_pool_keeps_nothing() -> None:
    """Neither what comes back nor what was on its way; who waits is served to the end."""
    async with ScriptedUpstream(stay) as up, pools() as made:
        pool = made.make(up.port)
        lent, waiter = await lend(pool), Waiter()
        pool.acquire(waiter)
        pool.cancel(waiter)
        assert pool.connecting == 1
        pool.close()
        pool.release(lent)
        await until(lambda: (pool.active, pool.idle, pool.connecting) == (0, 0, 0))
        assert waiter.got is None


@pytest.mark.parametrize("done", [False, True])
async def test_half_a_request_is_cut_and_not_closed(done: bool) -> None:
    """A clean end could make it look whole to the backend; a whole one may end cleanly."""
    cut: list[bool] = []

    class Noted(UpstreamConnection):
        """Says how it ended."""

        __slots__ = ()

        def abort(self) -> None:
            cut.append(True)
            super().abort()

        def close_raw(self) -> None:
            cut.append(False)
            super().close_raw()

    async with ScriptedUpstream(stay) as up, pools() as made:
        pool = made.make(up.port, max_requests=1)
        connection = await lend(pool)
        connection.__class__ = Noted
        connection.used, connection.request_done = 1, done
        pool.release(connection)
        await until(lambda: pool.active == 0)
    assert cut == [not done]


async def test_a_tunnel_leaves_its_place_to_who_waits() -> None:
    """It is counted apart until it is over, and its end is no other connection's."""
    async with ScriptedUpstream(stay) as up, pools() as made:
        pool = made.make(up.port, max_connections=1)
        tunnel, waiter = await lend(pool), Waiter()
        pool.acquire(waiter)
        pool.keep_out(tunnel)
        await until(lambda: waiter.got is not None)
        assert (pool.active, pool.tunnels) == (1, 1)
        tunnel.abort()
        await until(lambda: tunnel.transport is None)
        assert pool.active == 1
        pool.tunnel_over()
        assert pool.tunnels == 0
        assert waiter.got is not None
        pool.release(waiter.got)
        pool.close()
        await until(lambda: (pool.active, pool.idle) == (0, 0))


async def test_a_refused_connect_is_told_and_counted_out() -> None:
    """With words that say where."""
    async with ScriptedUpstream(stay) as up:
        port = up.port
    async with pools() as made:
        pool = made.make(port)
        waiter = Waiter()
        pool.acquire(waiter)
        await until(lambda: waiter.error is not None)
        assert waiter.error is not None
        assert waiter.error.flag is Flag.UF
        assert str(port) in waiter.error.detail
        assert (pool.active, pool.connecting, pool.pending) == (0, 0, 0)


async def test_connections_that_die_while_they_are_made_never_count_below_zero() -> None:
    """A listener that accepts and resets at once: told as a failed connect, or as a loss, never forgotten."""
    server = socket.create_server(("127.0.0.1", 0))
    server.setblocking(False)
    loop = asyncio.get_running_loop()

    async def slam() -> None:
        while True:
            sock, _ = await loop.sock_accept(server)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()

    async with asyncio.TaskGroup() as group:
        slamming = group.create_task(slam(), name="slam")
        made = Pools(group)
        pool = made.make(server.getsockname()[1])
        for _ in range(50):
            waiter = Waiter()
            pool.acquire(waiter)
            await until(lambda waiter=waiter: waiter.got is not None or waiter.error is not None)  # type: ignore[misc]
            if waiter.got is not None:
                await until(lambda waiter=waiter: waiter.got.transport is None)  # type: ignore[misc,union-attr]
            assert (pool.active, pool.idle, pool.connecting) == (0, 0, 0)
        slamming.cancel()
    server.close()


async def test_who_waits_is_told_of_a_slow_connect_first() -> None:
    """A rule may allow a connect more time than we let anybody wait."""
    async with ScriptedUpstream(stay) as up, pools() as made:
        pool = made.make(up.port, max_connections=0)  # none is ever made
        pool.limit(connect_timeout=3.0, idle_timeout=4.0, max_requests=0)
        waiter = Waiter()
        pool.acquire(waiter)
        made.loop.advance(5.9)
        assert waiter.error is None
        made.loop.advance(0.2)
        assert waiter.error is not None


async def test_a_burst_of_connects_fits_into_an_accept_queue() -> None:
    """Of a server that is busy: what does not fit is dropped, and costs a second."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)  # asyncio's
        async with pools() as made:
            pool = made.make(listener.getsockname()[1], connect_timeout=5.0)
            waiters = [Waiter() for _ in range(200)]
            for waiter in waiters:
                pool.acquire(waiter)
            assert (pool.connecting, pool.pending) == (MAX_CONNECTING, 200)
            await until(lambda: pool.active >= MAX_CONNECTING, 2.0)
            for waiter in waiters:
                pool.cancel(waiter)
                if waiter.got is not None:
                    waiter.got.abort()
            await until(lambda: pool.connecting == 0)
            pool.close()


async def test_our_own_want_of_files_is_not_the_endpoints_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """UO, which opens no breaker."""

    async def none_left(*args: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", none_left, raising=False)
    async with pools() as made:
        waiter = Waiter()
        made.make(1).acquire(waiter)
        await until(lambda: waiter.error is not None)
        assert waiter.error is not None
        assert waiter.error.flag is Flag.UO


@pytest.mark.parametrize("how", ["expired", "refused"])
async def test_an_error_of_ours_in_who_gets_none_ends_that_one_only(how: str) -> None:
    """Whoever waits behind it hears of it in time too."""

    class Broken(Waiter):
        def connect_failed(self, error: MeshError) -> None:
            raise ZeroDivisionError("on purpose")

    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with pools() as made:
            limit = 0 if how == "expired" else 2
            pool = made.make(nobody.getsockname()[1], max_connections=limit)
            broken, waiter = Broken(), Waiter()
            pool.acquire(broken)
            made.loop.advance(0.1)
            pool.acquire(waiter)
            if how == "expired":
                made.loop.advance(0.95)
                assert (broken.has_crashed, waiter.error) == (True, None)
                made.loop.advance(0.1)
            await until(lambda: waiter.error is not None, 2.0)
            assert broken.has_crashed


async def test_an_error_of_ours_in_a_waiter_ends_that_waiter_only() -> None:
    """Its connection is cut, the next one is served."""

    class Broken(Waiter):
        def connected(self, connection: UpstreamConnection) -> None:
            raise ZeroDivisionError("on purpose")

    async with ScriptedUpstream(stay) as up, pools() as made:
        pool = made.make(up.port)
        broken = Broken()
        pool.acquire(broken)
        await until(lambda: broken.has_crashed)
        await until(lambda: pool.active == 0)
        connection = await lend(pool)
        pool.release(connection)
        assert (pool.active, pool.idle) == (0, 1)
        pool.close()
