"""Backends that fail in every way, clients that go away: what is retried, what is given back."""
# ruff: noqa: E501 - messages stand on one line, as on the wire

from __future__ import annotations

import asyncio
import itertools

import pytest

from sidecar.errors import Flag
from sidecar.exchange import Exchange
from sidecar.io.timeouts import Timeouts
from sidecar.policy.concurrency import BulkheadPolicy
from sidecar.policy.retry import RetryPolicy
from sidecar.policy.settings import UpstreamPolicy
from sidecar.upload import REPLAY_BYTES
from tests.fakes.upstream import OK, Peer, ScriptedUpstream, replies

from .harness import Rig, Truncated, until

GET = b"GET / HTTP/1.1\r\nHost: svc\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: 5\r\n\r\nhello"


async def close_before_head(peer: Peer) -> None:
    await peer.head()


async def close_in_the_head(peer: Peer) -> None:
    await peer.head()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Le")


async def close_in_the_body(peer: Peer) -> None:
    await peer.head()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")


async def close_after_100(peer: Peer) -> None:
    await peer.head()
    peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")


async def reset_at_once(peer: Peer) -> None:
    await peer.head()
    peer.reset()


async def garbage(peer: Peer) -> None:
    await peer.head()
    peer.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    await peer.gone()


async def never(peer: Peer) -> None:
    await peer.gone()


FAILURES = {
    "close before the head": (close_before_head, 503, "UC"),
    "close in the head": (close_in_the_head, 503, "UC"),
    "close in the body": (close_in_the_body, 503, "UC"),
    "close after 100": (close_after_100, 503, "UC"),
    "reset": (reset_at_once, 503, "UC"),
    "garbage": (garbage, 502, "UPE"),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_a_get_is_rescued_by_another_endpoint(name: str) -> None:
    """However a backend fails before the answer is committed."""
    script, _, _ = FAILURES[name]
    async with (
        ScriptedUpstream(script) as bad,
        ScriptedUpstream(replies(OK)) as good,
        Rig({"svc": [bad.address, good.address]}) as rig,
    ):
        for _ in range(6):
            answer = await rig.ask(GET)
            assert (answer.status, answer.body) == (200, b"ok")
        assert bad.heads, "the bad one was never tried, so nothing was shown"
        await rig.settled()


@pytest.mark.parametrize("name", FAILURES)
async def test_a_post_is_never_repeated_after_it_was_sent(name: str) -> None:
    """It may have been carried out."""
    script, status, flag = FAILURES[name]
    async with ScriptedUpstream(script) as bad, Rig({"svc": [bad.address]}) as rig:
        answer = await rig.ask(POST)
        assert (answer.status, answer["x-mesh-reason"].split(":")[0]) == (status, flag)
        assert len(bad.heads) == 1
        await rig.settled()


async def test_a_post_that_never_left_is_rescued() -> None:
    """No connection, so nothing was processed."""
    async with ScriptedUpstream(replies(OK)) as good:
        async with ScriptedUpstream(never) as gone:
            address = gone.address
        async with Rig({"svc": [address, good.address]}) as rig:
            for _ in range(6):
                assert (await rig.ask(POST)).status == 200
            await rig.settled()


async def test_the_keep_alive_race_is_repeated_on_a_fresh_connection_and_charged_to_nobody() -> None:
    """The backend closes just as we send; once more, and the breaker hears nothing of it."""

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.send(OK)
        await peer.drain()
        if peer.number == 1:
            await peer.head()  # the race: it takes the second request and closes
        else:
            await peer.head()
            peer.send(OK)
            await peer.drain()

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        for _ in range(2):
            await client.send(GET)
            assert (await client.answer()).status == 200
        assert [len(peer.heads) for peer in up.peers] == [2, 1]
        (endpoint,) = rig.upstream().endpoints.all
        assert endpoint.failures == 0
        assert endpoint.breaker.window.bad == 0
        assert rig.upstream().budget.withdrawn == 0
        await rig.settled()


async def test_the_second_try_of_the_race_takes_no_idle_connection() -> None:
    """All that idle are as old as the first, and may be closed as well."""

    async def script(peer: Peer) -> None:
        await peer.head()
        if peer.number <= 2:
            await both.wait()
            peer.send(OK)
            await peer.drain()
            await peer.head()  # the race, on each of the two
        else:
            peer.send(OK)
            await peer.gone()

    both = asyncio.Event()
    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        first, second = await rig.connect(), await rig.connect()
        await first.send(GET)
        await second.send(GET)
        await until(lambda: len(up.heads) == 2)
        both.set()
        assert [(await client.answer()).status for client in (first, second)] == [200, 200]
        await until(lambda: rig.pools()[0].idle == 2)
        await first.send(GET)
        assert (await first.answer()).status == 200
        assert sorted(len(peer.heads) for peer in up.peers) == [1, 1, 2]
        assert rig.upstream().budget.withdrawn == 0


async def test_the_race_is_forgiven_once() -> None:
    """A fresh connection that is closed without an answer is the endpoint's own failure."""

    async def script(peer: Peer) -> None:
        await peer.head()
        if peer.number == 1:
            peer.send(OK)
            await peer.drain()
            await peer.head()

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        await client.send(GET)
        assert (await client.answer()).status == 200
        await client.send(GET)
        assert (await client.answer()).status == 503
        (endpoint,) = rig.upstream().endpoints.all
        tries = len(up.heads) - 2  # without the first request and the race
        assert tries == endpoint.failures == RetryPolicy().max_attempts
        await rig.settled()


async def test_two_endpoints_that_close_at_once_are_no_race() -> None:
    """The second loss of a kept connection in one request counts, wherever it was."""

    async def script(peer: Peer) -> None:
        await peer.head()
        if peer.number == 1:
            await both.wait()
        peer.send(OK)
        await peer.drain()
        if peer.number == 1:
            await peer.head()

    both = asyncio.Event()
    async with (
        ScriptedUpstream(script) as one,
        ScriptedUpstream(script) as two,
        Rig({"svc": [one.address, two.address]}) as rig,
    ):
        first, second = await rig.connect(), await rig.connect()
        await first.send(GET)
        await second.send(GET)
        await until(lambda: len(one.heads) == len(two.heads) == 1)  # a connection to each
        both.set()
        for client in (first, second):
            await client.answer()
        await first.send(GET)
        assert (await first.answer()).status == 200
        assert sorted(endpoint.failures for endpoint in rig.upstream().endpoints.all) == [0, 1]
        assert rig.upstream().budget.withdrawn == 1
        await rig.settled()


@pytest.mark.parametrize("with_the_head", [True, False])
async def test_a_large_upload_that_has_begun_is_not_sent_again(with_the_head: bool) -> None:
    """What is no longer kept cannot be repeated, though PUT is idempotent."""

    async def half(peer: Peer) -> None:
        await peer.head()
        await peer.exactly(REPLAY_BYTES + 1)
        peer.reset()

    async with (
        ScriptedUpstream(half) as one,
        ScriptedUpstream(half) as two,
        Rig({"svc": [one.address, two.address]}) as rig,
    ):
        client = await rig.connect()
        size = REPLAY_BYTES + 2
        head = b"PUT / HTTP/1.1\r\nHost: svc\r\nContent-Length: %d\r\n\r\n" % size
        if with_the_head:
            await client.send(head + bytes(REPLAY_BYTES + 1))
        else:
            await client.send(head)
            await until(lambda: len(one.heads) + len(two.heads) == 1)
            await client.send(bytes(REPLAY_BYTES + 1))
        answer = await client.answer(b"PUT")
        assert (answer.status, answer["x-mesh-reason"].split(":")[0]) == (503, "UC")
        assert answer["connection"] == "close"  # the rest of the upload is not read as a request
        assert len(one.heads) + len(two.heads) == 1
        await rig.settled()


async def test_the_keep_alive_race_of_a_post_is_an_error() -> None:
    """It may have been carried out."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(OK)
        await peer.drain()
        await peer.request()

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        await client.send(POST)
        assert (await client.answer(b"POST")).status == 200
        await client.send(POST)
        assert (await client.answer(b"POST")).status == 503
        assert len(up.heads) == 2


async def test_half_an_answer_on_a_kept_connection_is_no_race() -> None:
    """Bytes of an answer came, so the endpoint is at fault."""

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.send(OK)
        await peer.drain()
        await peer.head()
        peer.send(b"HTTP/1.1 2")
        await peer.drain()

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        await client.send(GET)
        await client.answer()
        await client.send(GET)
        await client.answer()
        (endpoint,) = rig.upstream().endpoints.all
        assert endpoint.failures >= 1


async def test_idle_connections_that_speak_or_close_leave_the_pool_at_once() -> None:
    """An unsolicited 408 is nobody's answer."""

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.send(OK)
        await peer.drain()
        if peer.number == 1:
            await asyncio.sleep(0.02)
            peer.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 6\r\n\r\npoison")
            await peer.gone()
        elif peer.number == 2:
            return
        await peer.gone()

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        for _ in range(3):
            assert (await rig.ask(GET)).body == b"ok"
            (pool,) = rig.pools()
            if len(up.peers) < 3:
                await until(lambda pool=pool: pool.idle == 0)  # type: ignore[misc]  # bound at once
        assert len(up.peers) == 3
        await rig.settled()


async def test_a_connection_with_more_bytes_than_asked_for_is_not_used_again() -> None:
    """Two clients through one pool: what A provoked must not reach B."""
    poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"

    async def script(peer: Peer) -> None:
        while True:
            head = await peer.head()
            peer.send(OK + (poison if b"/evil" in head else b""))
            await peer.drain()

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        for _ in range(5):
            assert (await rig.ask(b"GET /evil HTTP/1.1\r\nHost: svc\r\n\r\n")).body == b"ok"
            assert (await rig.ask(GET)).body == b"ok"
        await rig.settled()


EVIL = [
    b"GET /a HTTP/1.1\r\nHost: svc\r\nContent-Length: 43\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: svc\r\nContent-Length: 4\r\nContent-Length: 40\r\n\r\nabcd",
    b"POST /a HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: chunked\r\n\r\n1;\nx\r\na\r\n0\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: svc\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 40\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: svc\r\nConnection: Content-Length\r\nContent-Length: 0\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: svc\r\nExpect: 100-continue\r\nContent-Length: 40\r\n\r\n",
    b"GET /a RTSP/1.0\r\nHost: svc\r\n\r\n",
    b"HEAD /a HTTP/1.1\r\nHost: svc\r\n\r\n",
]


@pytest.mark.parametrize("evil", EVIL, ids=range(len(EVIL)))
async def test_no_client_can_put_a_request_before_another_ones(evil: bytes) -> None:
    """Desync: A sends something odd with a request hidden in it, B must get the answer to its own."""
    hidden = b"GET /hidden HTTP/1.1\r\nHost: svc\r\n\r\n"

    async def script(peer: Peer) -> None:
        while True:
            head, _ = await peer.request()
            target = head.split(b" ")[1]
            body = b"" if head.startswith(b"HEAD") else target
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), body))
            await peer.drain()

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        attacker, victim = await rig.connect(), await rig.connect()
        await victim.send(b"GET /mine HTTP/1.1\r\nHost: svc\r\n\r\n")
        assert (await victim.answer()).body == b"/mine"
        await attacker.send(evil + hidden)
        await asyncio.sleep(0.02)
        for number in range(3):
            await victim.send(b"GET /mine/%d HTTP/1.1\r\nHost: svc\r\n\r\n" % number)
            assert (await victim.answer()).body == b"/mine/%d" % number


async def test_a_client_that_goes_away_cancels_the_attempt() -> None:
    """The backend sees its connection closed, and everything is given back."""
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.gone()
        gone.set()

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        for number, end in enumerate(("close", "abort"), 1):
            gone.clear()
            client = await rig.connect()
            await client.send(GET)
            await until(lambda number=number: len(up.heads) == number)  # type: ignore[misc]
            getattr(client, end)()
            await asyncio.wait_for(gone.wait(), 15)
            await rig.settled()


ONE = b"POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: 10\r\n\r\n"


@pytest.mark.parametrize("side", ["outbound", "inbound"])
async def test_cancelled_at_every_point_everything_is_given_back(side: str) -> None:
    """The client goes away after each byte that it sends and each that the backend does."""
    released = asyncio.Event()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"
    sends = 0

    async def script(peer: Peer) -> None:
        await peer.request()
        if sends < 0:  # slow answers: so many bytes, then nothing
            peer.send(answer[: -sends - 1])
        await peer.gone()
        released.set()

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}, app=up.address) as rig:
        request = ONE + b"0123456789"
        for sends in itertools.chain(range(1, len(request) + 1, 3), range(-len(answer), 0, 3)):
            client = await rig.connect(side)
            await client.send(request[:sends] if sends > 0 else request)
            await asyncio.sleep(0.002)
            client.abort() if sends % 2 else client.close()
        await rig.settled()
        assert rig.listeners[side].connections == 0


async def test_cancelled_while_connecting_waiting_and_queued() -> None:
    """The places where an exchange stands still without a backend connection."""
    policy = UpstreamPolicy(bulkhead=BulkheadPolicy(max_active=2, max_pending=4, max_wait_s=5.0))
    async with ScriptedUpstream(never) as up, Rig({"svc": [up.address]}, policy=policy) as rig:
        clients = [await rig.connect() for _ in range(6)]
        for client in clients:
            await client.send(GET)
        await until(lambda: rig.taken().get("svc pending") == 4)
        for client in clients[3:4] + clients[:3] + clients[4:]:
            client.abort()
            await asyncio.sleep(0.005)
        await rig.settled()


async def test_the_queue_of_a_full_destination_is_bounded_in_length_and_time() -> None:
    """First in first out; who waits too long, and who finds it full, is told so at once."""
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            head = await peer.head()
            await go.wait()
            target = head.split(b" ")[1]
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target))

    policy = UpstreamPolicy(bulkhead=BulkheadPolicy(max_active=1, max_pending=2, max_wait_s=0.3))
    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}, policy=policy) as rig:
        clients = [await rig.connect() for _ in range(4)]
        for number, client in enumerate(clients):
            await client.send(b"GET /%d HTTP/1.1\r\nHost: svc\r\n\r\n" % number)
            await asyncio.sleep(0.01)
        full = await clients[3].answer()
        assert (full.status, full["x-envoy-overloaded"], full["retry-after"]) == (503, "true", "1")
        assert full["x-mesh-reason"].startswith("UO: ")
        go.set()
        assert [(await client.answer()).body for client in clients[:3]] == [b"/0", b"/1", b"/2"]
        go.clear()
        await clients[0].send(GET)
        await asyncio.sleep(0.02)
        await clients[1].send(GET)
        late = await clients[1].answer()
        assert (late.status, late["x-mesh-reason"]) == (503, "UO: no place at svc within 0.3 s")
        go.set()
        assert (await clients[0].answer()).status == 200
        await rig.settled()


async def test_a_slow_reader_holds_little() -> None:
    """The backend is held back instead: 8 MB wait there, not here."""
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 80000000\r\n\r\n")
        for _ in range(1000):
            peer.send(bytes(80_000))
            await peer.drain()
            sent += 80_000

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        await client.send(GET)
        await until(lambda: sent > 0)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 16_000_000, "kernel buffers take some megabytes, no more"
        client.abort()
        await rig.settled()


async def test_a_connection_given_back_while_its_client_was_slow_still_works() -> None:
    """Its reading was paused for that client, which is not the next one's business."""
    body = bytes(300_000)
    big = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with ScriptedUpstream(replies(big)) as up, Rig({"svc": [up.address]}) as rig:
        slow = await rig.connect()
        await slow.send(GET)
        await until(lambda: len(rig.pools()) == 1 and rig.pools()[0].idle == 1)
        for _ in range(3):
            assert (await rig.ask(GET)).body == body
        assert len(up.peers) == 1
        assert (await slow.answer()).body == body


async def test_a_slow_backend_holds_the_upload() -> None:
    """And a body that is small enough to be kept still reaches the next one when that fails."""
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await go.wait()
        if peer.number == 1:
            peer.reset()
            return
        await peer.exactly(65_000)
        peer.send(OK)
        await peer.gone()

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        head = b"PUT / HTTP/1.1\r\nHost: svc\r\nContent-Length: 65000\r\n\r\n"
        await client.send(head + bytes(60_000))
        await until(lambda: len(up.heads) == 1)
        go.set()
        await asyncio.sleep(0.05)
        await client.send(bytes(5_000))
        assert (await client.answer(b"PUT")).status == 200
        await rig.settled()


async def test_the_time_that_is_left_shrinks_from_hop_to_hop_and_try_to_try() -> None:
    """The callee must know when nobody waits any more."""

    async def script(peer: Peer) -> None:
        await peer.head()
        if peer.number == 1:
            await asyncio.sleep(0.05)
        else:
            peer.send(OK)
            await peer.gone()

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        answer = await rig.ask(b"GET / HTTP/1.1\r\nHost: svc\r\nx-envoy-expected-rq-timeout-ms: 900\r\n\r\n")
        assert answer.status == 200
        left = [
            int(line.split(b": ")[1])
            for head in up.heads
            for line in head.split(b"\r\n")
            if line.startswith(b"x-envoy-expected-rq-timeout-ms")
        ]
        assert len(left) == 2
        assert 500 < left[1] <= left[0] - 45 <= 900 - 45


async def test_a_callers_time_ends_the_request() -> None:
    """504 in time, and nothing is sent when there is none left."""
    async with ScriptedUpstream(never) as up, Rig({"svc": [up.address]}) as rig:
        answer = await rig.ask(b"GET / HTTP/1.1\r\nHost: svc\r\nx-envoy-expected-rq-timeout-ms: 50\r\n\r\n")
        assert (answer.status, answer["x-mesh-reason"].split(":")[0]) == (504, "UT")
        answer = await rig.ask(b"GET / HTTP/1.1\r\nHost: svc\r\nx-envoy-expected-rq-timeout-ms: 0\r\n\r\n")
        assert (answer.status, answer["x-mesh-reason"].split(":")[0]) == (504, "DT")
        await rig.settled()
        assert rig.outbound.in_flight == 0


async def test_our_own_time_limit_begins_when_the_request_is_complete() -> None:
    """A long upload is no slow answer."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            if peer.number == 1:
                peer.send(OK)

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}, upstream_timeout=0.2) as rig:
        client = await rig.connect()
        await client.send(b"POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            await asyncio.sleep(0.04)
            await client.send(b"x")
        assert (await client.answer(b"POST")).status == 200
        await until(lambda: rig.pools()[0].idle == 1)
        up.peers[0].close()
        await until(lambda: rig.pools()[0].idle == 0)
        assert (await rig.ask(POST)).status == 504
        await rig.settled()


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\nHost:", b"G"])
async def test_a_slow_head_is_a_408(sent: bytes) -> None:
    """Slowloris: a byte now and then does not keep a connection."""
    async with Rig(listener={"header_timeout": 0.2}) as rig:
        client = await rig.connect()
        await client.send(sent)
        await asyncio.sleep(0.12)
        await client.send(b"E" if sent == b"G" else b" s")
        answer = await client.answer()
        assert (answer.status, answer["connection"]) == (408, "close")
        assert rig.outbound.refusals == {"the request head did not arrive in time": 1}
        silent = await rig.connect()
        assert await silent.closed() == b"", "who never says anything is just closed"


async def test_an_idle_connection_is_closed() -> None:
    """After its last answer; a new head has its own time."""
    async with (
        ScriptedUpstream(replies(OK)) as up,
        Rig({"svc": [up.address]}, listener={"idle_timeout": 0.1}) as rig,
    ):
        client = await rig.connect()
        await client.send(GET)
        await client.answer()
        assert await client.closed(1.0) == b""


async def test_a_stalled_upload_is_the_clients_fault() -> None:
    """408, and the endpoint is not charged."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.gone()

    async with (
        ScriptedUpstream(script) as up,
        Rig({"svc": [up.address]}, timeouts=Timeouts(upload_idle=0.1)) as rig,
    ):
        answer = await rig.ask(b"POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: 10\r\n\r\nhello")
        assert (answer.status, answer["x-mesh-reason"].split(":")[0]) == (408, "SI")
        assert rig.upstream().endpoints.all[0].failures == 0
        await rig.settled()


async def test_a_stalled_answer_and_a_client_that_stopped_reading_are_told_apart() -> None:
    """The one is the endpoint's fault, the other the client's."""

    async def script(peer: Peer) -> None:
        head = await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 80000000\r\n\r\n" + bytes(100))
        while b"/fast" in head:
            peer.send(bytes(80_000))
            await peer.drain()
        await peer.gone()

    timeouts = Timeouts(stream_idle=0.15)
    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}, timeouts=timeouts) as rig:
        (endpoint,) = rig.upstream().endpoints.all
        client = await rig.connect()
        await client.send(b"GET /fast HTTP/1.1\r\nHost: svc\r\n\r\n")
        await rig.settled(5.0) if rig.taken() else None
        await until(lambda: endpoint.requests == 1, 5.0)
        assert endpoint.failures == 0
        client = await rig.connect()
        await client.send(b"GET /stalled HTTP/1.1\r\nHost: svc\r\n\r\n")
        with pytest.raises(Truncated):
            await client.answer()
        assert endpoint.failures == 1
        await rig.settled()


async def test_a_full_pool_makes_requests_wait_but_not_for_long() -> None:
    """The inbound side has no bulkhead before it but this."""
    async with ScriptedUpstream(never) as up, Rig(app=up.address) as rig:
        first = await rig.connect("inbound")
        await first.send(GET)
        await until(lambda: len(rig.pools()) == 1)
        (pool,) = rig.pools()
        pool.max_connections, pool.max_wait, pool.max_waiting = 1, 0.1, 1
        pool.connect_timeout = 0.05
        second, third = await rig.connect("inbound"), await rig.connect("inbound")
        await second.send(GET)
        await until(lambda: pool.pending == 1)
        await third.send(GET)
        answer = await third.answer()
        assert (answer.status, answer["x-mesh-reason"]) == (503, "UO: 1 requests wait for a connection")
        answer = await second.answer()
        assert (answer.status, answer["x-mesh-reason"]) == (503, "UO: no connection became free within 0.1 s")
        first.abort()
        await rig.settled()


async def test_a_connect_that_fails_for_all_who_wait_is_told_to_all() -> None:
    """More wait than may connect at once, and nobody answers there."""
    async with ScriptedUpstream(never) as gone:
        address = gone.address
    async with Rig(app=address) as rig:
        clients = [await rig.connect("inbound") for _ in range(12)]
        await clients[0].send(GET)
        await clients[0].answer()
        rig.pools()[0].max_connections = 2
        for client in clients:
            await client.send(GET)
        answers = [await client.answer() for client in clients]
        assert {answer["x-mesh-reason"].split(":")[0] for answer in answers} == {"UF"}
        await rig.settled()


async def test_drain_loses_no_request() -> None:
    """Requests under way end, their connections are told to close, idle ones are closed."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.head()
            await asyncio.sleep(0.05)
            peer.send(OK)

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        clients = [await rig.connect() for _ in range(10)]
        for client in clients[:8]:
            await client.send(GET)
        await until(lambda: len(up.heads) == 8)
        rig.outbound.draining = True
        rig.listeners["outbound"].stop_accepting()
        await clients[8].send(GET)  # it was idle, and its request crossed our decision
        for client in clients[:9]:
            answer = await client.answer()
            assert (answer.status, answer["connection"]) == (200, "close")
            assert await client.closed() == b""
        assert await clients[9].closed() == b""
        assert await rig.listeners["outbound"].drained(2.0) == (0, 0)
        await rig.settled()


async def test_what_does_not_end_in_the_grace_is_cut_and_given_back() -> None:
    """And counted, and told."""
    async with ScriptedUpstream(never) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        await client.send(GET)
        await until(lambda: rig.taken().get("svc active") == 1)
        rig.listeners["outbound"].stop_accepting()
        assert await rig.listeners["outbound"].drained(0.05) == (0, 1)
        assert (await client.answer()).status == 503
        assert await client.closed() == b""
        await rig.settled()


@pytest.mark.parametrize(
    "method",
    [
        "start",
        "request_body",
        "request_end",
        "connected",
        "response_head",
        "response_body",
        "response_end",
        "_commit",
    ],
)
async def test_an_error_of_our_own_leaves_nothing_taken(
    method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Wherever it comes up: it is logged, the client is cut, and others are served on."""

    def broken(*args: object) -> None:
        raise ZeroDivisionError("on purpose")

    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}) as rig:
        for warm in (False, True):  # with and without a kept connection
            with monkeypatch.context() as patch:
                patch.setattr(Exchange, method, broken)
                client = await rig.connect()
                await client.send(POST)
                with pytest.raises(Truncated):
                    await client.answer(b"POST")
                await rig.settled()
            assert (await rig.ask(POST)).status == 200, warm
        assert "an error of our own" in caplog.text
        assert Flag.IE.status == 500
