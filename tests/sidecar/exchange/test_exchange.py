"""Requests through a sidecar, end to end on real sockets: what is passed on, and how it ends."""
# ruff: noqa: E501 - messages stand on one line, as on the wire

from __future__ import annotations

import asyncio

import pytest

from sidecar.io.timeouts import Timeouts
from sidecar.policy.concurrency import BulkheadPolicy
from sidecar.policy.settings import UpstreamPolicy
from sidecar.wire.limits import Limits
from tests.fakes.upstream import OK, Peer, ScriptedUpstream, replies
from tests.sidecar.exchange.harness import Rig, Truncated, until

GET = b"GET /a HTTP/1.1\r\nHost: svc\r\n\r\n"


def fields(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:-2]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


async def test_a_get_passes_and_connections_are_kept() -> None:
    """Ten requests on one client connection use one backend connection."""
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        for _ in range(10):
            await client.send(GET)
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, b"ok")
        assert len(up.peers) == 1
        sent = fields(up.heads[0])
        assert sent["host"] == "svc"
        assert sent["via"] == "1.1 test-1"
        assert sent["x-envoy-attempt-count"] == "1"
        assert len(sent["traceparent"]) == 55
        assert len(sent["x-request-id"]) == 36
        await rig.settled()


async def test_absolute_form_goes_out_in_origin_form() -> None:
    """The authority of the target decides, not Host (RFC 9112 section 3.2.2)."""
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}) as rig:
        answer = await rig.ask(b"GET http://svc/a?b HTTP/1.1\r\nHost: other\r\n\r\n")
        assert answer.status == 200
        assert up.heads[0].startswith(b"GET /a?b HTTP/1.1\r\nhost: svc\r\n")


@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_pass_both_ways(chunked: bool) -> None:
    """Half a megabyte, framed anew on each side."""
    payload = bytes(range(256)) * 2048

    async def echo(peer: Peer) -> None:
        head, body = await peer.request()
        assert (b"transfer-encoding" in head.lower()) is chunked
        peer.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        )
        await peer.drain()

    async with ScriptedUpstream(echo) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        if chunked:
            await client.send(b"POST / HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: chunked\r\n\r\n")
            for at in range(0, len(payload), 65536):
                await client.send(b"10000;x=y\r\n" + payload[at : at + 65536] + b"\r\n")
            await client.send(b"0\r\nX-Trailer: gone\r\n\r\n")
        else:
            await client.send(
                b"POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: %d\r\n\r\n" % len(payload) + payload
            )
        answer = await client.answer(b"POST")
        assert answer.body == payload
        await rig.settled()


async def test_head_204_and_304_have_no_body() -> None:
    """A length that they tell is the length of something else; who tells one may send it, so that connection
    serves nobody else."""
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n",
        OK,
    ]
    async with ScriptedUpstream(replies(*answers)) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        seen = []
        for method in (b"HEAD", b"GET", b"GET", b"GET"):
            await client.send(method + GET[3:])
            answer = await client.answer(method)
            seen.append((answer.status, answer["content-length"], answer.body))
        assert seen == [(200, "100", b""), (204, "", b""), (304, "100", b""), (200, "2", b"ok")]
        assert len(up.peers) == 3


async def test_a_head_answer_with_a_body_does_not_reach_the_next_client() -> None:
    """The bytes that nobody asked for end the connection's use."""

    async def script(peer: Peer) -> None:
        head = await peer.head()
        if head.startswith(b"HEAD"):
            peer.send(
                b"HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
            )
            await peer.gone()
        else:
            peer.send(OK)
            await peer.drain()

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        assert (await rig.ask(b"HEAD" + GET[3:])).status == 200
        assert (await rig.ask(GET)).body == b"ok"
        assert len(up.peers) == 2


async def test_interim_answers_are_relayed() -> None:
    """103 goes through, 100 as well; an HTTP/1.0 client gets neither."""
    raw = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK
    async with ScriptedUpstream(replies(raw)) as up, Rig({"svc": [up.address]}) as rig:
        answer = await rig.ask(GET)
        assert (answer.interim, answer.status) == ([103], 200)
        old = await rig.ask(b"GET / HTTP/1.0\r\nHost: svc\r\n\r\n")
        assert (old.interim, old.status, old.body) == ([], 200, b"ok")


async def test_expectation_is_the_backends_to_grant() -> None:
    """100 comes through, then the body goes."""

    async def script(peer: Peer) -> None:
        head = await peer.head()
        assert b"Expect: 100-continue\r\n" in head
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await peer.exactly(5) == b"hello"
        peer.send(OK)
        await peer.gone()

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        await client.send(b"PUT / HTTP/1.1\r\nHost: svc\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert (await client.exactly(25)) == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"hello")
        assert (await client.answer(b"PUT")).status == 200


async def test_expectation_refused_early() -> None:
    """The final answer instead of 100: relayed, and the connection closed, for no body will follow."""

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
        await peer.gone()

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        await client.send(b"PUT / HTTP/1.1\r\nHost: svc\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        answer = await client.answer(b"PUT")
        assert (answer.status, answer["connection"]) == (417, "close")
        assert await client.closed() == b""
        await rig.settled()


async def test_early_answer_while_the_upload_runs() -> None:
    """A 413 in the middle of an upload reaches a client that does not stop sending by itself."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.exactly(65536)
        peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await peer.gone()

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        client.writer.write(
            b"POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: 4000000\r\n\r\n" + bytes(3_000_000)
        )
        answer = await client.answer(b"POST")
        assert (answer.status, answer.body, answer["connection"]) == (413, b"big", "close")
        await rig.settled()


async def test_a_body_until_close_becomes_chunked_or_stays_so_for_1_0() -> None:
    """Its end is the backend's clean close."""

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.0 200 OK\r\n\r\nabc")
        await peer.drain()
        await asyncio.sleep(0.01)
        peer.send(b"def")
        await peer.drain()

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        answer = await rig.ask(GET)
        assert (answer.body, answer["transfer-encoding"]) == (b"abcdef", "chunked")
        client = await rig.connect()
        await client.send(b"GET / HTTP/1.0\r\nHost: svc\r\n\r\n")
        raw = await client.closed()
        assert raw.endswith(b"\r\n\r\nabcdef")
        assert b"chunked" not in raw
        assert b"connection: close\r\n" in raw


async def test_http_1_0_keep_alive() -> None:
    """Only when asked for, and answered in kind."""
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        for _ in range(2):
            await client.send(b"GET / HTTP/1.0\r\nHost: svc\r\nConnection: keep-alive\r\n\r\n")
            assert (await client.answer())["connection"] == "keep-alive"
        await client.send(b"GET / HTTP/1.0\r\nHost: svc\r\n\r\n")
        assert (await client.closed()).endswith(b"ok")


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_chunked_answer_to_a_1_0_client(chunked: bool) -> None:
    """It knows no chunks: the plain bytes, until close."""
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" if chunked else OK
    async with ScriptedUpstream(replies(raw)) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        await client.send(b"GET / HTTP/1.0\r\nHost: svc\r\n\r\n")
        head, _, body = (await client.closed()).partition(b"\r\n\r\n")
        assert body == b"ok"
        assert b"transfer-encoding" not in head.lower()


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Also with an error behind the good ones: it comes last, and ends the connection."""

    async def script(peer: Peer) -> None:
        while True:
            head, _ = await peer.request()
            await asyncio.sleep(0.01)
            number = head.split(b" ")[1]
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(number), number))

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        good = b"".join(b"GET /%d HTTP/1.1\r\nHost: svc\r\n\r\n" % number for number in range(5))
        unknown = b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n"
        await client.send(good + unknown + good + b"BAD\r\n\r\n")
        bodies = [(await client.answer()).body for _ in range(5)]
        assert bodies == [b"/0", b"/1", b"/2", b"/3", b"/4"]
        assert (await client.answer()).status == 503
        bodies = [(await client.answer()).body for _ in range(5)]
        assert bodies == [b"/0", b"/1", b"/2", b"/3", b"/4"]
        last = await client.answer()
        assert (last.status, last["connection"]) == (400, "close")
        assert await client.closed() == b""
        await rig.settled()


async def test_thousands_of_pipelined_requests_that_are_answered_at_once() -> None:
    """Neither recursion nor lost order."""
    async with Rig() as rig:
        client = await rig.connect()
        one = b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n"
        client.writer.write(one * 4000)
        for _ in range(4000):
            assert (await client.answer()).status == 503
        await rig.settled()


async def test_a_client_that_pipelines_but_never_reads_is_not_served_without_bound() -> None:
    """Its requests wait while it does not take the answers."""
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + bytes(200_000)
    async with ScriptedUpstream(replies(big)) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        client.writer.write(GET * 500)
        await asyncio.sleep(0.3)
        served = len(up.heads)
        assert served < 60, "each is 200 kB, and only kernel buffers may fill"
        answer = await client.answer()
        assert len(answer.body) == 200_000


async def test_upgrade_becomes_a_tunnel_with_half_close() -> None:
    """WebSocket: bytes both ways, those that came early too; each end may stop on its own."""

    async def script(peer: Peer) -> None:
        head = await peer.head()
        assert b"connection: Upgrade\r\nupgrade: websocket\r\n" in head
        peer.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst"
        )
        assert await peer.exactly(10) == b"early bird"
        peer.send(b"answer")
        assert await peer.reader.read(-1) == b"last words"
        peer.send(b"goodbye")
        await peer.drain()

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        await client.send(
            b"GET / HTTP/1.1\r\nHost: svc\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly"
        )
        answer = await client.answer()
        assert (answer.status, answer["upgrade"]) == (101, "websocket")
        assert await client.exactly(5) == b"first"
        await client.send(b" bird")
        assert await client.exactly(6) == b"answer"
        (pool,) = rig.pools()
        assert (pool.tunnels, pool.active) == (1, 0)
        await client.send(b"last words")
        client.writer.write_eof()
        assert await client.closed() == b"goodbye"
        await rig.settled()


async def test_a_tunnel_that_is_cut_is_cut_on_both_sides() -> None:
    """A reset must not look like a clean end."""
    cut = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await cut.wait()
        peer.reset()

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        await client.send(b"GET / HTTP/1.1\r\nHost: svc\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert (await client.answer()).status == 101
        cut.set()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(client.reader.read(-1), 15)
        await rig.settled()


async def test_an_idle_tunnel_ends() -> None:
    """Its own timeout; traffic keeps it open."""

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await peer.gone()

    async with (
        ScriptedUpstream(script) as up,
        Rig({"svc": [up.address]}, timeouts=Timeouts(tunnel_idle=0.5)) as rig,
    ):
        client = await rig.connect()
        await client.send(b"GET / HTTP/1.1\r\nHost: svc\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert (await client.answer()).status == 101
        for _ in range(6):  # longer than the timeout in all, and each far from it on a busy machine
            await asyncio.sleep(0.1)
            await client.send(b"ping")
        assert rig.pools()[0].tunnels == 1
        await client.closed()
        await rig.settled()


async def test_an_upgrade_that_is_not_accepted_goes_on_as_http() -> None:
    """What came behind it is the next request; h2c is not even asked for."""
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        for protocol in (b"websocket", b"h2c"):
            upgrade = b"GET / HTTP/1.1\r\nHost: svc\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % protocol
            await client.send(upgrade + GET)
            assert (await client.answer()).body == b"ok"
            assert (await client.answer()).body == b"ok"
            await client.send(GET)
            assert (await client.answer()).body == b"ok"
        assert [b"upgrade:" in head.lower() for head in up.heads] == [True, False, False, False, False, False]


async def test_an_upgrade_to_what_was_not_asked_for_is_refused() -> None:
    """The backend cannot choose a protocol for the client."""
    raw = b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: evil\r\n\r\n"
    async with ScriptedUpstream(replies(raw)) as up, Rig({"svc": [up.address]}) as rig:
        asked = b"POST / HTTP/1.1\r\nHost: svc\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        assert (await rig.ask(asked)).status == 502
        assert (await rig.ask(b"POST / HTTP/1.1\r\nHost: svc\r\n\r\n")).status == 502
        await rig.settled()


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: svc\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: svc\r\nA: " + b"a" * 2000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 600 + b" HTTP/1.1\r\nHost: svc\r\n\r\n", 414),
        (b"POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: 101\r\n\r\n", 413),
        (b"CONNECT svc:80 HTTP/1.1\r\nHost: svc:80\r\n\r\n", 405),
    ],
)
async def test_refusals_have_one_answer_a_reason_and_a_counter(raw: bytes, status: int) -> None:
    """Nothing of it reaches a backend, and the connection is closed."""
    small = Limits(head_bytes=1024, target_bytes=512, body_bytes=100)
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}, limits=small) as rig:
        client = await rig.connect()
        await client.send(raw)
        answer = await client.answer()
        assert (answer.status, answer["connection"], answer["server"]) == (status, "close", "mesh")
        assert answer["x-mesh-reason"].startswith("DPE: ")
        assert await client.closed() == b""
        assert rig.outbound.refusals == {answer["x-mesh-reason"].removeprefix("DPE: "): 1}
        assert up.heads == []
        await rig.settled()


async def test_a_body_that_breaks_in_the_middle_ends_the_request() -> None:
    """What was sent on of it must not look whole."""
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.head()
        seen.append(await peer.exactly(10))
        await peer.gone()
        seen.append(b"gone")

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        await client.send(b"POST / HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await until(lambda: seen != [])
        await client.send(b"zz\r\n")
        answer = await client.answer(b"POST")
        assert (answer.status, answer["x-mesh-reason"]) == (400, "DPE: malformed chunk or trailer")
        await until(lambda: seen[-1] == b"gone")
        assert rig.outbound.refusals == {"malformed chunk or trailer": 1}
        await rig.settled()


async def test_chunks_over_the_body_limit_are_a_413() -> None:
    """The limit holds for a body of unknown length as well."""
    async with (
        ScriptedUpstream(replies(OK)) as up,
        Rig({"svc": [up.address]}, limits=Limits(body_bytes=100)) as rig,
    ):
        client = await rig.connect()
        await client.send(b"POST / HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: chunked\r\n\r\n")
        await client.send(b"40\r\n" + b"a" * 64 + b"\r\n")
        await client.send(b"40\r\n" + b"a" * 64 + b"\r\n0\r\n\r\n")
        assert (await client.answer(b"POST")).status == 413
        await rig.settled()


async def test_high_bytes_in_values_pass_unchanged() -> None:
    """Old programs send Latin-1 or UTF-8 there."""
    raw = b"HTTP/1.1 200 OK\r\nX-Name: \xe4\xff\r\nContent-Length: 0\r\n\r\n"
    async with ScriptedUpstream(replies(raw)) as up, Rig({"svc": [up.address]}) as rig:
        answer = await rig.ask(b"GET / HTTP/1.1\r\nHost: svc\r\nX-Name: \xc3\xa4\r\n\r\n")
        assert dict(answer.headers)[b"x-name"] == b"\xe4\xff"
        assert b"X-Name: \xc3\xa4\r\n" in up.heads[0]


async def test_a_request_that_comes_back_to_us_is_a_loop() -> None:
    """Our own name in Via."""
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}) as rig:
        answer = await rig.ask(b"GET / HTTP/1.1\r\nHost: svc\r\nVia: 1.1 other, 1.1 test-1\r\n\r\n")
        assert (answer.status, up.heads) == (508, [])
        assert (await rig.ask(b"GET / HTTP/1.1\r\nHost: svc\r\nVia: 1.1 other\r\n\r\n")).status == 200
        await rig.settled()


async def test_too_many_connections_are_refused_clearly() -> None:
    """By address and in all; one that closes makes room."""
    async with (
        ScriptedUpstream(replies(OK)) as up,
        Rig({"svc": [up.address]}, listener={"max_per_address": 2}) as rig,
    ):
        first, second = await rig.connect(), await rig.connect()
        for client in (first, second):
            await client.send(GET)
            assert (await client.answer()).status == 200
        third = await rig.connect()
        answer = await third.answer()
        assert (answer.status, answer["x-mesh-reason"]) == (503, "UO: too many connections")
        await third.closed()
        first.close()
        await until(lambda: rig.listeners["outbound"].connections == 1)
        assert (await rig.ask(GET)).status == 200


async def test_inbound_relays_to_the_app_and_a_close_of_the_app_stays_there() -> None:
    """`Connection: close` of the app ends its connection, not the caller's."""
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(raw)
        await peer.drain()

    async with ScriptedUpstream(script) as up, Rig(app=up.address) as rig:
        client = await rig.connect("inbound")
        for _ in range(3):
            await client.send(GET)
            answer = await client.answer()
            assert (answer.status, answer["connection"]) == (200, "")
        assert len(up.peers) == 3
        await rig.settled()


async def test_a_truncated_answer_is_never_completed() -> None:
    """The client sees a cut connection, not a shorter answer."""
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(50_000)

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.send(big)
        await peer.drain()

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        await client.send(GET)
        with pytest.raises(Truncated):
            await client.answer()
        chunked = await rig.connect()
        await chunked.send(GET)
        with pytest.raises(Truncated):
            await chunked.answer()
        await rig.settled()


async def test_an_answer_until_close_that_is_cut_is_reset() -> None:
    """Without a length only a reset tells a client that this was not all."""
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await peer.drain()
        await go.wait()

    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        await client.send(b"GET / HTTP/1.0\r\nHost: svc\r\n\r\n")
        assert (await client.reader.readuntil(b"hello")).endswith(b"\r\n\r\nhello")
        go.set()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(client.reader.read(-1), 15)
        await rig.settled()


async def test_a_1_0_request_without_host() -> None:
    """Outbound it has no destination, unless there is a default one; inbound there is only the app."""
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}, app=up.address) as rig:
        client = await rig.connect()
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.answer())["x-mesh-reason"] == "DPE: no Host, so no destination"
        client = await rig.connect("inbound")
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.answer()).status == 200
        assert fields(up.heads[0])["host"] == "test-1"
    async with (
        ScriptedUpstream(replies(OK)) as up,
        Rig({"svc": [up.address]}, default_service="svc") as rig,
    ):
        client = await rig.connect()
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.answer()).status == 200
        assert fields(up.heads[0])["host"] == "svc"


async def test_the_ingress_believes_nobody() -> None:
    """What only the mesh may say is dropped, and who the client is is said anew."""
    async with (
        ScriptedUpstream(replies(OK)) as up,
        Rig({"svc": [up.address]}, default_service="svc") as rig,
    ):
        await rig.ask(
            b"GET / HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 6.6.6.6\r\nX-Mesh-Criticality: critical\r\n"
            b"x-envoy-expected-rq-timeout-ms: 1\r\n\r\n"
        )
        sent = fields(up.heads[0])
        assert sent["x-forwarded-for"] == "127.0.0.1"
        assert sent["x-forwarded-host"] == "shop.example"
        assert "x-mesh-criticality" not in sent
        assert "x-envoy-expected-rq-timeout-ms" not in sent, "nobody whom we believe named a deadline"


FORGED = (
    b"GET / HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 6.6.6.6, 7.7.7.7\r\nX-Forwarded-Proto: https\r\n"
    b"X_Forwarded_For: 8.8.8.8\r\nX-Forwarded-Client-Cert: By=me\r\nProxy: http://evil\r\n\r\n"
)


@pytest.mark.parametrize(
    ("hops", "chain", "proto", "rule"),
    [
        (0, "127.0.0.1", "http", "plain"),
        (1, "7.7.7.7, 127.0.0.1", "https", "secure"),
        (2, "6.6.6.6, 7.7.7.7, 127.0.0.1", "https", "secure"),
        (3, "127.0.0.1", "http", "plain"),
    ],
)
async def test_the_ingress_believes_as_many_proxies_as_it_was_told(
    hops: int, chain: str, proto: str, rule: str
) -> None:
    """What they vouch for is passed on, and rules may match it; the rest is neither."""
    policies = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: svc}
spec:
  hosts: [svc]
  http:
  - match: [{headers: {x-forwarded-proto: {exact: https}}}]
    headers: {request: {set: {x-rule: secure}}}
    route: [{destination: {host: svc}}]
  - headers: {request: {set: {x-rule: plain}}}
    route: [{destination: {host: svc}}]
"""
    async with (
        ScriptedUpstream(replies(OK)) as up,
        Rig({"svc": [up.address]}, default_service="svc", policies=policies) as rig,
    ):
        rig.outbound.trusted_hops = hops
        await rig.ask(FORGED)
        sent = fields(up.heads[0])
        assert (sent["x-forwarded-for"], sent["x-forwarded-proto"]) == (chain, proto)
        assert (sent["x-forwarded-host"], sent["x-rule"]) == ("shop.example", rule)
        assert not {"x_forwarded_for", "x-forwarded-client-cert", "proxy"} & sent.keys()


async def test_what_an_app_says_of_the_mesh_is_not_believed() -> None:
    """Neither by its own sidecar, which would take the app for gone, nor by callers: they never hear it."""
    liar = (
        b"HTTP/1.1 503 X\r\nContent-Length: 0\r\nX-Mesh-Reason: UF: refused\r\nX_Mesh_Reason: UF\r\n"
        b"X-Envoy-Overloaded: true\r\nServer: mesh\r\nEndpoint-Load-Metrics: TEXT named_metrics.health=0\r\n"
        b"X-Envoy-Attempt-Count: 9\r\nX-Mesh-Fallback: static\r\nX-Own: 1\r\n\r\n"
    )
    async with ScriptedUpstream(replies(liar)) as up, Rig(app=up.address) as rig:
        answer = await rig.ask(GET, "inbound")
        assert answer.status == 503
        assert rig.app_refused == 0
        assert answer["x-own"] == "1"
        assert "health=1.0" in answer["endpoint-load-metrics"]
        for name in ("x-mesh-reason", "x_mesh_reason", "x-envoy-overloaded", "server", "x-mesh-fallback"):
            assert answer[name] == ""


async def test_each_refusal_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Before and in the middle of a request."""
    caplog.set_level("INFO", "sidecar")
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}) as rig:
        await rig.ask(b"GET / HTTP/1.1\r\n\r\n")
        await rig.ask(b"POST / HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    lines = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert lines == [
        "outbound: refused 400 from 127.0.0.1: no Host",
        "outbound: refused 400 from 127.0.0.1: malformed chunk or trailer",
    ]


async def test_tunnels_are_bounded() -> None:
    """A tunnel may stay for hours; past the bound another one is told so, and requests go on."""
    policy = UpstreamPolicy(bulkhead=BulkheadPolicy(max_active=1))

    async def script(peer: Peer) -> None:
        while True:
            head = await peer.head()
            upgrade = b"upgrade: websocket" in head
            peer.send(
                b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" if upgrade else OK
            )

    upgrade = b"GET / HTTP/1.1\r\nHost: svc\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with ScriptedUpstream(script) as up, Rig({"svc": [up.address]}, policy=policy) as rig:
        first = await rig.connect()
        await first.send(upgrade)
        assert (await first.answer()).status == 101
        answer = await rig.ask(upgrade)
        assert (answer.status, answer["x-mesh-reason"]) == (503, "UO: 1 tunnels to svc-1 are open")
        assert (await rig.ask(GET)).status == 200
        first.abort()
        await rig.settled()
        second = await rig.connect()
        await second.send(upgrade)
        assert (await second.answer()).status == 101
        second.abort()
        await rig.settled()
