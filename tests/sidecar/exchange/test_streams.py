"""Bodies that come piece by piece, and what stands behind them, over real sockets."""

from __future__ import annotations

from sidecar.policy.concurrency import BulkheadPolicy
from sidecar.policy.settings import UpstreamPolicy
from tests.fakes.upstream import OK, Peer, ScriptedUpstream, replies

from .harness import Rig, until

GET = b"GET / HTTP/1.1\r\nHost: svc\r\n\r\n"
TE = b"GET / HTTP/1.1\r\nHost: svc\r\nTE: trailers\r\nConnection: TE\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
DRIP = b"POST /drip HTTP/1.1\r\nHost: svc\r\nContent-Length: 1000\r\n\r\n"


async def test_drips_leave_the_bulkhead_to_others() -> None:
    """A quarter of it at the most; without the rule four of them are all that it takes."""
    policy = UpstreamPolicy(bulkhead=BulkheadPolicy(max_active=4, max_pending=0))
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}, policy=policy) as rig:
        drips = [await rig.connect() for _ in range(20)]
        for client in drips:
            await client.send(DRIP)
        await until(lambda: rig.outbound.holding.late == 1)
        for _ in range(5):
            for client in drips:
                await client.send(b"a")
            assert (await rig.ask(GET)).status == 200
        assert rig.upstream().snapshot()["active"] == 1
        for client in drips:
            client.abort()
        await rig.settled()


async def test_trailers_of_an_answer_pass_to_who_takes_them() -> None:
    """Announced too; what belongs into a head, or only the mesh may say, does not."""
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        b"2\r\nok\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\nX-Mesh-Reason: UF\r\n\r\n"
    )
    async with ScriptedUpstream(replies(answer)) as up, Rig({"svc": [up.address]}) as rig:
        for request, passes in ((TE, True), (GET, False), (GET.replace(b"1.1", b"1.0"), False)):
            client = await rig.connect()
            await client.send(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            raw = await client.closed()
            assert (b"trailer: X-Sum\r\n" in raw) is passes
            assert raw.endswith(b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n") is passes
            assert b"a=b" not in raw
            assert b"UF" not in raw
    assert [b"te: trailers\r\n" in head for head in up.heads] == [True, False, False]


async def test_trailers_of_a_request_pass_with_every_try() -> None:
    """Behind a chunked body, where HTTP has a place for them."""
    tail = b"2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n"

    async def script(peer: Peer) -> None:
        head = await peer.head()
        assert b"trailer: X-Sum\r\n" in head
        assert await peer.exactly(len(tail)) == tail
        if b"x-envoy-attempt-count: 1\r\n" in head:
            peer.send(b"HTTP/1.1 503 Not now\r\nContent-Length: 0\r\n\r\n")
        else:
            peer.send(OK)
        await peer.gone()

    async with (
        ScriptedUpstream(script) as one,
        ScriptedUpstream(script) as two,
        Rig({"svc": [one.address, two.address]}) as rig,
    ):
        head = b"PUT / HTTP/1.1\r\nHost: svc\r\nTrailer: X-Sum\r\n" + CHUNKED + b"\r\n"
        unwanted = b"X-Sum: 1\r\nHost: evil\r\nX-Forwarded-For: 6.6.6.6\r\nAuthorization: x\r\n"
        answer = await rig.ask(head + b"2\r\nhi\r\n0\r\n" + unwanted + b"\r\n")
        assert (answer.status, len(one.heads) + len(two.heads)) == (200, 2)
        await rig.settled()


async def test_a_method_of_somebodys_own_passes() -> None:
    """To the letter, with its body."""
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}) as rig:
        answer = await rig.ask(b"BrEW /pot HTTP/1.1\r\nHost: svc\r\nContent-Length: 2\r\n\r\nhi")
        assert answer.status == 200
        assert up.heads[0].startswith(b"BrEW /pot HTTP/1.1\r\n")
        upgrade = b"GET / HTTP/1.0\r\nHost: svc\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        assert (await rig.ask(upgrade)).status == 200
        assert b"pgrade" not in up.heads[1]
