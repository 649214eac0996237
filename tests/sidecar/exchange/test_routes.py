"""What a VirtualService and a DestinationRule ask for, on real sockets."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sidecar.balance.endpoints import EndpointSpec
from sidecar.policy.machine import State
from sidecar.wire.serialize import LAST_CHUNK, chunk
from tests.fakes.upstream import OK, Peer, Script, ScriptedUpstream, replies

from .harness import Rig, until

API = "apiVersion: networking.istio.io/v1"
GET = b"GET /a/b?q=1 HTTP/1.1\r\nHost: svc\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: 5\r\n\r\nhello"
FAIL = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"


def service(http: str, host: str = "svc", notes: str = "") -> str:
    """A VirtualService with one http rule in flow style."""
    head = f"{API}\nkind: VirtualService\nmetadata: {{name: {host}, annotations: {{{notes}}}}}\n"
    return f"{head}spec: {{hosts: [{host}], http: [{http}]}}\n"


def rule(spec: str = "", notes: str = "") -> str:
    """A DestinationRule of `svc` with two subsets by version."""
    subsets = "subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]"
    comma = ", " if spec else ""
    return (
        f"---\n{API}\nkind: DestinationRule\nmetadata: {{name: svc, annotations: {{{notes}}}}}\n"
        f"spec: {{host: svc, {subsets}{comma}{spec}}}\n"
    )


def split(first: int, notes: str = "") -> str:
    arms = [
        f"{{destination: {{host: svc, subset: {name}}}, weight: {weight}}}"
        for name, weight in (("v1", first), ("v2", 100 - first))
    ]
    return service(f"{{route: [{', '.join(arms)}]}}", notes=notes) + rule()


def endpoints(v1: ScriptedUpstream, v2: ScriptedUpstream) -> list[EndpointSpec]:
    return [
        EndpointSpec("svc-1", *v1.address, version="v1"),
        EndpointSpec("svc-2", *v2.address, version="v2"),
    ]


def slow(seconds: float) -> Script:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await asyncio.sleep(seconds)
            peer.send(OK)

    return script


async def silent(peer: Peer) -> None:
    await peer.gone()


# -- answers of the route's own -------------------------------------------------------------------


async def test_a_redirect_and_a_fixed_answer_need_no_service() -> None:
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}) as rig:
        rig.apply(service("{redirect: {uri: /new, authority: other.example, redirectCode: 302}}"))
        answer = await rig.ask(GET)
        assert (answer.status, answer["location"]) == (302, "http://other.example/new?q=1")
        rig.apply(service("{directResponse: {status: 418, body: {string: short and stout}}}"))
        answer = await rig.ask(GET)
        assert (answer.status, answer.body) == (418, b"short and stout")
        answer = await rig.ask(POST)
        assert answer.status == 418
        rig.apply(service("{directResponse: {status: 200, body: {bytes: AP8=}}}"))
        assert (await rig.ask(GET)).body == b"\x00\xff"
        assert not up.heads
        await rig.settled()


async def test_no_matching_rule_is_no_route() -> None:
    """404 with NR, as the document says; another host is not touched."""
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address], "two": [up.address]}) as rig:
        rig.apply(service("{match: [{uri: {prefix: /only}}], route: [{destination: {host: svc}}]}"))
        answer = await rig.ask(GET)
        assert (answer.status, answer["x-mesh-reason"].split(":")[0]) == (404, "NR")
        assert (await rig.ask(b"GET /only/x HTTP/1.1\r\nHost: svc\r\n\r\n")).status == 200
        assert (await rig.ask(b"GET / HTTP/1.1\r\nHost: two\r\n\r\n")).status == 200


async def test_what_is_not_there_yet_is_a_503_on_its_route() -> None:
    """A subset or a service that nobody defines: NC, for its share of a split; other routes go on."""
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}) as rig:
        there, arms = rule().removeprefix("---\n"), "route: [{destination: {host: svc, subset: v1}}]"
        gone = "{match: [{uri: {prefix: /gone}}], route: [{destination: {host: nobody}}]}"
        early = service(f"{gone}, {{{arms}}}")

        async def asked(path: str) -> tuple[int, str]:
            answer = await rig.ask(f"GET {path} HTTP/1.1\r\nHost: svc\r\n\r\n".encode())
            return answer.status, answer["x-mesh-reason"] if answer.status != 200 else ""

        rig.apply(early)
        assert await asked("/") == (503, "NC: no DestinationRule for 'svc' defines the subset 'v1'")
        assert (await asked("/gone"))[0] == 503
        rig.apply(f"{early}---\n{there.replace('{version: v1}', '{}')}")
        assert await asked("/") == (200, "")
        rig.apply(early)  # its rule is deleted before it
        assert (await asked("/"))[0] == 503
        half = service(
            "{route: [{destination: {host: svc}, weight: 50}, "
            "{destination: {host: svc, subset: v9}, weight: 50}]}"
        )
        rig.apply(half)
        assert {(await asked("/"))[0] for _ in range(40)} == {200, 503}
        rig.apply(there)
        assert await asked("/") == (200, "")
        await rig.settled()


async def test_cors_preflight_and_answer() -> None:
    """The preflight is answered here; the service's own CORS headers give way to the document's."""
    own = b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 2\r\n\r\nok"
    cors = "corsPolicy: {allowOrigins: [{exact: 'http://a.example'}], allowMethods: [GET], maxAge: 1h}"
    async with ScriptedUpstream(replies(own)) as up, Rig({"svc": [up.address]}) as rig:
        rig.apply(service(f"{{{cors}, route: [{{destination: {{host: svc}}}}]}}"))
        origin = b"Host: svc\r\nOrigin: http://a.example\r\n"
        ask = b"OPTIONS / HTTP/1.1\r\n" + origin + b"Access-Control-Request-Method: GET\r\n\r\n"
        answer = await rig.ask(ask)
        assert (answer.status, answer["access-control-max-age"]) == (200, "3600")
        assert not up.heads
        answer = await rig.ask(b"GET / HTTP/1.1\r\n" + origin + b"\r\n")
        assert (answer["access-control-allow-origin"], answer.body) == ("http://a.example", b"ok")


# -- what changes on the way ----------------------------------------------------------------------


async def test_rewrite_and_headers_both_ways() -> None:
    answer = b"HTTP/1.1 200 OK\r\nX-Secret: 1\r\nX-Kind: old\r\nContent-Length: 2\r\n\r\nok"
    headers = (
        "headers: {request: {set: {x-kind: new}, add: {x-extra: '1'}, remove: [x-gone]},"
        " response: {set: {x-kind: new}, remove: [x-secret]}}"
    )
    async with ScriptedUpstream(replies(answer)) as up, Rig({"svc": [up.address]}) as rig:
        route = "rewrite: {uri: /z/, authority: inner}, route: [{destination: {host: svc}}]"
        rig.apply(service(f"{{match: [{{uri: {{prefix: /a/}}}}], {headers}, {route}}}"))
        got = await rig.ask(b"GET /a/b?q=1 HTTP/1.1\r\nHost: svc\r\nX-Kind: old\r\nX-Gone: 1\r\n\r\n")
        head = up.heads[0].lower()
        assert head.startswith(b"get /z/b?q=1 http/1.1\r\nhost: inner\r\n")
        assert b"x-kind: new" in head
        assert b"x-extra: 1" in head
        assert b"old" not in head
        assert b"x-gone" not in head
        assert (got["x-kind"], got["x-secret"], got.body) == ("new", "", b"ok")


async def test_a_routes_timeout_and_retries() -> None:
    """UT at the route's limit, not at the program's; `attempts: 0` means one try."""
    route = "route: [{destination: {host: svc}}]"
    async with ScriptedUpstream(silent) as up, Rig({"svc": [up.address]}, upstream_timeout=60) as rig:
        rig.apply(service(f"{{timeout: 50ms, {route}}}"))
        answer = await rig.ask(GET)
        assert (answer.status, answer["x-mesh-reason"].split(":")[0]) == (504, "UT")
        await rig.settled()
    for attempts, tries in ((0, 1), (1, 2), (3, 4)):
        async with ScriptedUpstream(replies(FAIL)) as up, Rig({"svc": [up.address]}) as rig:
            rig.apply(service(f"{{retries: {{attempts: {attempts}, retryOn: 5xx}}, {route}}}"))
            assert (await rig.ask(GET)).status == 500
            assert len(up.heads) == tries


async def test_the_limit_of_one_try_binds_each_of_them() -> None:
    """The last too, and the only one: a document's word."""

    route = "route: [{destination: {host: svc}}]"
    async with ScriptedUpstream(slow(0.3)) as up, Rig({"svc": [up.address]}) as rig:
        rig.apply(service(f"{{retries: {{attempts: 1, perTryTimeout: 50ms}}, {route}}}"))
        answer = await rig.ask(GET)
        assert (answer.status, answer["x-mesh-reason"][:4]) == (504, "UT: ")
        assert len(up.heads) == 2
        assert (await rig.ask(POST)).status == 504
        await rig.settled()


# -- splits ---------------------------------------------------------------------------------------


async def test_a_split_follows_its_weights() -> None:
    """Both arms, about as the weights say; 0 is none at all."""
    async with (
        ScriptedUpstream(replies(OK)) as v1,
        ScriptedUpstream(replies(OK)) as v2,
        Rig({"svc": endpoints(v1, v2)}, policies=split(80)) as rig,
    ):
        client = await rig.connect()
        for _ in range(200):
            await client.send(GET)
            assert (await client.answer()).status == 200
        assert 20 <= len(v2.heads) <= 60  # 40 expected; 3 sigma are 17
        before = len(v2.heads)
        rig.apply(split(100))
        for _ in range(30):
            await client.send(GET)
            assert (await client.answer()).status == 200
        assert len(v2.heads) == before
        await rig.settled()


async def test_a_broken_canary_is_seen_by_its_share_of_the_clients() -> None:
    """As in a cluster: a retry stays within the destination that the split drew."""
    async with (
        ScriptedUpstream(replies(OK)) as v1,
        ScriptedUpstream(replies(FAIL)) as v2,
        Rig({"svc": endpoints(v1, v2)}, policies=split(50)) as rig,
    ):
        statuses = Counter([(await rig.ask(GET)).status for _ in range(200)])
        assert statuses[200] == len(v1.heads) == pytest.approx(100, abs=30)
        assert statuses[500] + statuses[503] == 200 - statuses[200]
        assert any(b"x-envoy-attempt-count: 2" in head.lower() for head in v2.heads)
        assert not any(b"x-envoy-attempt-count: 2" in head.lower() for head in v1.heads)
        await rig.settled()


async def test_a_document_may_have_the_other_arm_rescue_it() -> None:
    """A GET by a retry there, and once the canary's breakers are open without one; a POST is told of it."""
    async with (
        ScriptedUpstream(replies(OK)) as v1,
        ScriptedUpstream(replies(FAIL)) as v2,
        Rig({"svc": endpoints(v1, v2)}, policies=split(50, "mesh/retry-other-arm: 'true'")) as rig,
    ):
        for _ in range(60):
            assert (await rig.ask(GET)).status == 200
        assert v2.heads
        statuses = Counter([(await rig.ask(POST)).status for _ in range(30)])
        assert statuses[500] <= 5, "an open breaker sends them to the other arm"
        assert len(v1.heads) + len(v2.heads) >= 90
        await rig.settled()


async def test_a_subset_without_instances_is_not_papered_over() -> None:
    """A typing error in a label must show: 503, unless the document says `any`."""
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}) as rig:
        only = service("{route: [{destination: {host: svc, subset: v2}}]}")
        rig.apply(only + rule())
        answer = await rig.ask(GET)
        assert (answer.status, answer["x-mesh-reason"].split(":")[0]) == (503, "UH")
        rig.apply(split(0))
        assert (await rig.ask(GET)).status == 503
        rig.apply(only + rule(notes="mesh/empty-subset: any"))
        assert (await rig.ask(GET)).status == 200


async def test_the_same_key_goes_to_the_same_endpoint() -> None:
    hash_by = "trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}"
    async with (
        ScriptedUpstream(replies(OK)) as one,
        ScriptedUpstream(replies(OK)) as two,
        Rig({"svc": [one.address, two.address]}, policies=rule(hash_by)) as rig,
    ):
        for user in range(20):
            before = len(one.heads)
            for _ in range(3):
                await rig.ask(b"GET / HTTP/1.1\r\nHost: svc\r\nX-User: %d\r\n\r\n" % user)
            assert len(one.heads) - before in (0, 3), user
        assert one.heads
        assert two.heads


async def test_connections_are_as_the_document_says() -> None:
    """`maxRequestsPerConnection`, also for a pool that is there already."""
    two = rule("trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 2}}}")
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}) as rig:
        for _ in range(5):
            assert (await rig.ask(GET)).status == 200
        assert len(up.peers) == 1
        rig.apply(two)
        for _ in range(6):
            assert (await rig.ask(GET)).status == 200
        assert [len(peer.heads) for peer in up.peers[1:]] == [2, 2, 1]
        await rig.settled()


async def test_a_pending_limit_of_a_document_is_kept() -> None:
    """One at a time and nobody waits: the second is refused at once, and told how to go on."""
    limits = "connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}"
    async with ScriptedUpstream(silent) as up, Rig({"svc": [up.address]}) as rig:
        rig.apply(rule(f"trafficPolicy: {{{limits}}}", notes="mesh/max-wait: 50ms"))
        first = await rig.connect()
        await first.send(GET)
        await until(lambda: bool(up.peers))
        answer = await rig.ask(GET)
        assert (answer.status, answer["x-envoy-overloaded"]) == (503, "true")
        assert answer["x-mesh-reason"].startswith("UO: ")
        first.abort()
        await rig.settled()


async def test_new_policies_leave_a_request_under_way_alone() -> None:
    """It ends as it began, also when its destination is gone from the new table."""
    go = asyncio.Event()

    async def waits(peer: Peer) -> None:
        await peer.request()
        await go.wait()
        peer.send(OK)
        await peer.gone()

    async with (
        ScriptedUpstream(waits) as v2,
        ScriptedUpstream(replies(OK)) as v1,
        Rig({"svc": endpoints(v1, v2)}, policies=split(0)) as rig,
    ):
        client = await rig.connect()
        await client.send(GET)
        await until(lambda: bool(v2.heads))
        rig.apply(service("{route: [{destination: {host: svc, subset: v1}}]}") + rule())
        assert (await rig.ask(GET)).status == 200
        assert v1.heads
        go.set()
        assert (await client.answer()).body == b"ok"
        await rig.settled()


# -- copies and second tries ----------------------------------------------------------------------


@pytest.mark.parametrize("shadow", [replies(OK), replies(FAIL), silent], ids=["ok", "fails", "silent"])
async def test_a_mirror_gets_a_copy_and_changes_nothing(shadow: Script) -> None:
    """Body and all, marked by its Host; whatever becomes of it, the request does not hear of it."""
    mirrored = service("{route: [{destination: {host: svc}}], mirror: {host: copy}, timeout: 200ms}")
    async with (
        ScriptedUpstream(replies(OK)) as up,
        ScriptedUpstream(shadow) as copy,
        Rig({"svc": [up.address], "copy": [copy.address]}, policies=mirrored) as rig,
    ):
        for request in (GET, POST):
            answer = await rig.ask(request)
            assert (answer.status, answer.body) == (200, b"ok")
        await until(lambda: len(rig.outbound.mirrored) >= 1 and sum(rig.outbound.mirrored.values()) == 2)
        if shadow is not silent:
            assert [b"host: svc-shadow" in head.lower() for head in copy.heads] == [True, True]
            assert b"content-length: 5" in copy.heads[1].lower()
        await rig.settled()


async def test_only_the_asked_share_is_mirrored() -> None:
    half = service(
        "{route: [{destination: {host: svc}}], mirror: {host: copy}, mirrorPercentage: {value: 0}}"
    )
    async with (
        ScriptedUpstream(replies(OK)) as up,
        ScriptedUpstream(replies(OK)) as copy,
        Rig({"svc": [up.address], "copy": [copy.address]}, policies=half) as rig,
    ):
        for _ in range(20):
            assert (await rig.ask(GET)).status == 200
        assert not copy.heads


def post(size: int, chunked: bool = False) -> bytes:
    body = bytes(size)
    if not chunked:
        return b"POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: %d\r\n\r\n" % size + body
    head = b"POST / HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = [chunk(body[at : at + 8000]) for at in range(0, size, 8000)]
    return b"".join([head, *pieces, LAST_CHUNK])


def mirrored(notes: str = "") -> str:
    route = "route: [{destination: {host: svc}}], mirror: {host: copy}"
    return service(f"{{{route}}}", notes=notes)


@pytest.mark.parametrize(
    ("notes", "size", "copied"),
    [
        ("", 1_000_000, True),
        ("", 1_100_000, False),
        ("mesh/mirror-max-body: 2MiB", 1_100_000, True),
        ("mesh/mirror-max-body: 1 KB", 1001, False),
        ("mesh/mirror-max-body: '0'", 1, False),
    ],
)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_copy_has_the_whole_body_or_is_not_sent(
    notes: str, size: int, copied: bool, chunked: bool
) -> None:
    """Up to Envoy's megabyte, or what the document says; more is counted and told, once."""
    bodies: list[int] = []

    async def counts(peer: Peer) -> None:
        while True:
            bodies.append(len((await peer.request())[1]))
            peer.send(OK)

    async with (
        ScriptedUpstream(replies(OK)) as up,
        ScriptedUpstream(counts) as copy,
        Rig({"svc": [up.address], "copy": [copy.address]}, policies=mirrored(notes)) as rig,
    ):
        for _ in range(2):
            assert (await rig.ask(post(size, chunked))).status == 200
        result = "200" if copied else "too_large"
        await until(
            lambda: rig.outbound.mirrored == {("copy", result): 2}, 2.0, lambda: rig.outbound.mirrored
        )
        assert bodies == ([size, size] if copied else [])
        told = [event["reason"] for event in rig.outbound.events.since(0) if event["kind"] == "mirror"]
        assert len(told) == (not copied)
        assert all("mesh/mirror-max-body" in reason for reason in told)
        await rig.settled()


async def test_all_copies_together_have_so_much_room() -> None:
    """One that has none is not sent; what the others take is given back, whatever becomes of them."""
    async with (
        ScriptedUpstream(replies(OK)) as up,
        ScriptedUpstream(silent) as copy,
        Rig({"svc": [up.address], "copy": [copy.address]}, policies=mirrored(), upstream_timeout=0.3) as rig,
    ):
        room = rig.outbound.copies_room
        room.left = 250_000
        for _ in range(3):
            assert (await rig.ask(post(100_000))).status == 200
        assert rig.outbound.mirrored == {("copy", "no_room"): 1}
        client = await rig.connect()
        await client.send(post(50_000)[:-1])
        await until(lambda: room.left < 50_000)
        client.abort()
        await rig.settled()
        assert room.left == 250_000


async def test_a_copy_is_sent_whichever_arm_takes_the_request() -> None:
    """Also if it is another one than was drawn, because that one is down."""
    arms = ", ".join(
        f"{{destination: {{host: svc, subset: {name}}}, weight: {weight}}}"
        for name, weight in (("v1", 99), ("v2", 1))
    )
    notes = "mesh/retry-other-arm: 'true'"
    policies = service(f"{{route: [{arms}], mirror: {{host: copy}}}}", notes=notes) + rule()
    async with (
        ScriptedUpstream(replies(OK)) as up,
        ScriptedUpstream(replies(OK)) as copy,
        Rig({"svc": endpoints(up, up), "copy": [copy.address]}, policies=policies) as rig,
    ):
        assert (await rig.ask(GET)).status == 200
        rig.upstream("svc|v1").force("", State.OPEN)
        for _ in range(4):
            assert (await rig.ask(POST)).status == 200
        await until(lambda: rig.outbound.mirrored == {("copy", "200"): 5}, 2.0, lambda: rig.outbound.mirrored)
        await rig.settled()


SLOW = b"GET / HTTP/1.1\r\nHost: svc\r\nX-Slow: 1\r\n\r\n"
# Without the hedge, a request to a silent endpoint would wait a minute.
HEDGE = service("{route: [{destination: {host: svc}}], retries: {attempts: 1, perTryTimeout: 60s}}") + rule(
    notes="mesh/hedge: '{quantile: 50, minDelay: 20ms}', mesh/breaker: '{enabled: false}'"
)


@asynccontextmanager
async def hedging(first: Script, second: Script) -> AsyncIterator[Rig]:
    """A service that answers at once, but for an `X-Slow` request: its first attempt gets `first`, wherever
    it goes, its second one `second`.
    """

    async def sometimes(peer: Peer) -> None:
        while True:
            head = (await peer.request())[0].lower()
            if b"x-slow" not in head:
                peer.send(OK)
            elif b"x-envoy-attempt-count: 1\r\n" in head:
                await first(peer)
            else:
                await second(peer)

    async with (
        ScriptedUpstream(sometimes) as one,
        ScriptedUpstream(sometimes) as two,
        Rig({"svc": [one.address, two.address]}, policies=HEDGE, upstream_timeout=60) as rig,
    ):
        for _ in range(80):  # until it is known what is usual
            await rig.ask(GET)
        await asyncio.sleep(0.6)  # the yardstick is read twice a second
        await rig.ask(GET)
        yield rig
        await rig.settled()


def saying(*parts: float | bytes) -> Script:
    """Send these, and wait so many seconds between them."""

    async def script(peer: Peer) -> None:
        for part in parts:
            if isinstance(part, bytes):
                peer.send(part)
            else:
                await asyncio.sleep(part)

    return script


async def test_a_hedge_answers_when_the_first_is_slow() -> None:
    """The second endpoint's answer is taken, the first attempt is let go."""
    async with hedging(silent, saying(OK)) as rig:
        upstream = rig.upstream()
        taken = upstream.budget.withdrawn
        for _ in range(8):
            answer = await rig.ask(SLOW)
            assert (answer.status, answer.body) == (200, b"ok")
        assert upstream.budget.withdrawn == taken + 8


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((0.08, FAIL), (0.1, OK)),
        ((0.08, FAIL), (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", 0.15, b"ok")),
        ((0.1, OK), (FAIL,)),
        ((0.05, b"HTTP/1.1 500 Oh\r\nContent-Length: 9\r\n\r\nhalf", 60.0), (0.08, OK)),
        ((0.05, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", 0.1, b"k"), (0.08, FAIL)),
        ((0.05, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", 0.1, b"k"), (0.08, OK)),
    ],
    ids=["first fails", "first fails late", "hedge fails", "half a failure", "half, failure", "half, other"],
)
async def test_of_an_attempt_and_its_hedge_the_good_answer_is_taken(
    first: tuple[float | bytes, ...], second: tuple[float | bytes, ...]
) -> None:
    """One of them, whole, and nothing of the other; while one is under way nothing third is begun."""
    async with hedging(saying(*first), saying(*second)) as rig:
        client = await rig.connect()
        taken = rig.upstream().budget.withdrawn
        await client.send(SLOW)
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, b"ok")
        await asyncio.sleep(0.06)  # a backoff that was forgotten would have run out
        assert rig.upstream().budget.withdrawn == taken + 1
        await client.send(GET)
        assert (await client.answer()).body == b"ok"


# -- fallbacks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("note", "status", "body", "mark"),
    [
        ("'{static: {status: 203, body: sorry}}'", 203, b"sorry", "static"),
        ("'{host: spare}'", 200, b"ok", "spare"),
        ("'{lastGood: 1m}'", 200, b"good", "last-good"),
    ],
)
async def test_what_stands_in_for_a_service_that_is_down(
    note: str, status: int, body: bytes, mark: str
) -> None:
    """Marked as such; only when the mesh itself would have had to say no."""
    good = b"HTTP/1.1 200 OK\r\nX-Own: 1\r\nContent-Length: 4\r\n\r\ngood"

    async def once(peer: Peer) -> None:
        while True:
            await peer.request()
            peer.send(good if len(up.heads) == 1 else FAIL)

    async with ScriptedUpstream(once) as up, ScriptedUpstream(replies(OK)) as spare:
        policies = rule(notes=f"mesh/fallback: {note}")
        async with Rig({"svc": [up.address], "spare": [spare.address]}, policies=policies) as rig:
            assert (await rig.ask(GET)).body == b"good"
            answers = [await rig.ask(GET) for _ in range(40)]
            marked = [answer for answer in answers if answer["x-mesh-fallback"]]
            assert marked
            assert {(a.status, a.body, a["x-mesh-fallback"]) for a in marked} == {(status, body, mark)}
            assert {a.status for a in answers if not a["x-mesh-fallback"]} <= {500}, "its own answers stay"
            await rig.settled()


async def test_when_the_time_is_over_no_other_host_is_asked() -> None:
    """Its answer could not be waited for."""
    route = "{route: [{destination: {host: svc}}], timeout: 100ms, retries: {attempts: 0}}"
    policies = service(route) + rule(notes="mesh/fallback: '{host: spare}'")
    async with (
        ScriptedUpstream(silent) as up,
        ScriptedUpstream(replies(OK)) as spare,
        Rig({"svc": [up.address], "spare": [spare.address]}, policies=policies) as rig,
    ):
        await rig.ask(GET.replace(b"Host: svc", b"Host: spare"))  # a connection is there
        client = await rig.connect()
        await client.send(GET)
        await until(lambda: bool(up.peers))
        rig.upstream().service.watching = True
        assert (await client.answer()).status == 504
        await asyncio.sleep(0.01)
        assert len(spare.heads) == 1
        await rig.settled()
