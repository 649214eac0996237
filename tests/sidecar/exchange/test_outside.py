"""Calls that leave the mesh, on real sockets: ServiceEntry, what it is told and believed, ALLOW_ANY."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from sidecar.discovery import MAX_DYNAMIC
from tests.fakes.upstream import OK, Peer, ScriptedUpstream, replies

from .harness import Rig, until

API = "apiVersion: networking.istio.io/v1"
# It says in the mesh's name that the app was never reached, and that it is ill.
LIAR = (
    b"HTTP/1.1 503 Unavailable\r\nX-Mesh-Reason: UF: no app\r\nx_envoy_overloaded: true\r\n"
    b"Endpoint-Load-Metrics: TEXT named_metrics.mesh_health=0\r\nServer: theirs\r\nContent-Length: 0\r\n\r\n"
)


def entry(upstreams: list[ScriptedUpstream], more: str = "") -> str:
    places = ", ".join(
        f"{{address: {host}, ports: {{http: {port}}}, labels: {{version: v{number}}}}}"
        for number, (host, port) in enumerate((each.address for each in upstreams), 1)
    )
    return (
        f"{API}\nkind: ServiceEntry\nmetadata: {{name: api}}\nspec: {{hosts: [api.example.com], "
        f"ports: [{{number: 80, name: http}}], resolution: STATIC, endpoints: [{places}]{more}}}\n"
    )


def by_name(port: int, hosts: str = "api.example.com", resolution: str = "DNS") -> str:
    return (
        f"{API}\nkind: ServiceEntry\nmetadata: {{name: named}}\nspec: {{hosts: ['{hosts}'], "
        f"ports: [{{number: {port}, name: http}}], resolution: {resolution}}}\n"
    )


def get(host: str, path: str = "/") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def own_address() -> str:
    """One of this machine's that is not loopback: no name leads there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: it only chooses a route
        return str(probe.getsockname()[0])


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream(replies(OK), own_address()) as found:
        yield found


async def test_a_host_of_a_document_is_called() -> None:
    """With the Host it was called by; what leaves has a trace, and not who asks."""
    async with ScriptedUpstream(replies(OK)) as upstream, Rig(policies=entry([upstream])) as rig:
        answer = await rig.ask(get("api.example.com", "/v1?a=b"))
        assert (answer.status, answer.body) == (200, b"ok")
        head = upstream.heads[0].lower()
        assert head.startswith(b"get /v1?a=b http/1.1\r\nhost: api.example.com\r\n")
        assert b"traceparent: " in head
        assert b"x-envoy-peer-metadata-id" not in head
        row = rig.destinations.snapshot()["api.example.com"]
        assert (row["requests"], row["location"]) == (1, "MESH_EXTERNAL")
        assert row["endpoints"][0]["address"] == f"127.0.0.1:{upstream.port}"
        for wrong in ("api.example.com:81", "other.example.com"):
            assert (await rig.ask(get(wrong))).status == 503
        await rig.settled()


async def test_one_of_the_meshs_own_is_told_who_asks() -> None:
    """MESH_INTERNAL: a sidecar may be there, and its metrics want to know."""
    async with ScriptedUpstream(replies(OK)) as upstream:
        policies = entry([upstream], ", location: MESH_INTERNAL")
        async with Rig(policies=policies) as rig:
            assert (await rig.ask(get("api.example.com"))).status == 200
            assert b"x-envoy-peer-metadata-id: test-1~test~v1" in upstream.heads[0]


async def test_its_failures_are_retried_elsewhere_and_open_its_breaker() -> None:
    """As those of any service."""
    async with ScriptedUpstream(replies(OK)) as good:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            bad = ScriptedUpstream(replies(OK))
            bad.port = closed.getsockname()[1]
            async with Rig(policies=entry([bad, good])) as rig:
                for _ in range(12):
                    assert (await rig.ask(get("api.example.com"))).status == 200
                rows = rig.destinations.snapshot()["api.example.com"]["endpoints"]
                assert [row["breaker"] for row in rows] == ["open", "closed"]


async def test_rules_of_the_host_hold() -> None:
    """Its VirtualService routes to a subset of its endpoints; a fixed answer of its own too."""
    async with ScriptedUpstream(replies(OK)) as one, ScriptedUpstream(replies(OK)) as two:
        service = (
            f"---\n{API}\nkind: VirtualService\nmetadata: {{name: api}}\n"
            "spec: {hosts: [api.example.com], http: ["
            "{match: [{uri: {prefix: /no}}], directResponse: {status: 418}}, "
            "{route: [{destination: {host: api.example.com, subset: second}}]}]}\n"
            f"---\n{API}\nkind: DestinationRule\nmetadata: {{name: api}}\nspec: {{host: api.example.com, "
            "subsets: [{name: second, labels: {version: v2}}]}\n"
        )
        async with Rig(policies=entry([one, two]) + service) as rig:
            assert (await rig.ask(get("api.example.com", "/no"))).status == 418
            for _ in range(3):
                assert (await rig.ask(get("api.example.com"))).status == 200
        assert (len(one.heads), len(two.heads)) == (0, 3)


async def test_what_it_says_in_the_meshs_name_is_not_believed() -> None:
    """A POST is not sent twice because a stranger says that its app was not reached; the words are gone."""
    async with ScriptedUpstream(replies(LIAR)) as upstream, Rig(policies=entry([upstream])) as rig:
        answer = await rig.ask(b"POST / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 2\r\n\r\nhi")
        assert answer.status == 503
        assert len(upstream.heads) == 1
        names = {name.lower() for name, _ in answer.headers}
        assert b"server" in names
        assert not names & {b"x-mesh-reason", b"x_envoy_overloaded", b"endpoint-load-metrics"}
        assert rig.upstream("api.example.com").endpoints.all[0].report is None


async def test_a_document_that_goes_takes_its_host_along() -> None:
    """And one that comes back, with another address, is acted on at once."""
    async with ScriptedUpstream(replies(OK)) as one, ScriptedUpstream(replies(OK)) as two, Rig() as rig:
        assert (await rig.ask(get("api.example.com"))).status == 503
        for upstream in (one, two):
            rig.apply(entry([upstream]))
            assert (await rig.ask(get("api.example.com"))).status == 200
        rig.apply("")
        answer = await rig.ask(get("api.example.com"))
        assert answer["x-mesh-reason"].startswith("NC: no service is named 'api.example.com'")
        assert rig.destinations.upstreams() == []
        assert (len(one.heads), len(two.heads)) == (1, 1)


async def test_a_document_leads_nobody_to_the_meshs_own() -> None:
    """The endpoint is left out, and the answer says so."""
    async with ScriptedUpstream(replies(OK)) as upstream:
        own = f"127.0.0.1:{upstream.port}"
        async with Rig(policies=entry([upstream]), protected=[own]) as rig:
            answer = await rig.ask(get("api.example.com"))
            assert answer.status == 503
            assert answer["x-mesh-reason"] == f"UH: {own} is the mesh's own: no document leads there"
        assert upstream.heads == []


async def test_names_are_asked_again(upstream: ScriptedUpstream) -> None:
    """A change is taken over whole; an answer that fails takes nothing away."""
    answers: list[list[str] | OSError] = [["192.0.2.1", upstream.host], [upstream.host], OSError("gone")]
    asked: list[str] = []

    async def lookup(name: str) -> list[str]:
        asked.append(name)
        found = answers[min(len(asked), len(answers)) - 1]
        if isinstance(found, OSError):
            raise found
        return found

    def addresses(rig: Rig) -> list[str]:
        return [endpoint.host for endpoint in rig.upstream("api.example.com").endpoints.all]

    async with Rig(policies=by_name(upstream.port), lookup=lookup) as rig:
        assert (await rig.ask(get(f"api.example.com:{upstream.port}"))).status in (200, 503)
        assert addresses(rig) == ["192.0.2.1", upstream.host]
        for number in (2, 3):
            rig.pauses.put_nowait(None)
            await until(lambda number=number: len(asked) == number)  # type: ignore[misc]  # bound now
            assert (await rig.ask(get(f"api.example.com:{upstream.port}"))).status == 200
            assert addresses(rig) == [upstream.host]
        reasons = [event["reason"] for event in rig.events.since(0) if event["kind"] == "discovery"]
        assert reasons == ["api.example.com: gone"]


async def test_a_name_that_is_not_there_is_told() -> None:
    """With DNS' words, at once; nothing waits for it but the first."""

    async def lookup(name: str) -> list[str]:
        raise OSError(-2, "Name or service not known")

    async with Rig(policies=by_name(80), lookup=lookup) as rig:
        for _ in range(2):
            answer = await rig.ask(get("api.example.com"))
            assert answer["x-mesh-reason"] == "UH: api.example.com: Name or service not known"


async def test_a_pattern_leads_where_the_request_says(upstream: ScriptedUpstream) -> None:
    """Each host has its own endpoints, all are one service to metrics; another domain is nobody's."""

    async def lookup(name: str) -> list[str]:
        return ["127.0.0.1"] if name == "rebound.example.org" else [upstream.host]

    policies = by_name(upstream.port, "*.example.org", "NONE")
    async with Rig(policies=policies, lookup=lookup) as rig:
        for name in ("a", "b", "a"):
            assert (await rig.ask(get(f"{name}.example.org:{upstream.port}"))).status == 200
        assert sorted(head.split(b"\r\n")[1] for head in upstream.heads) == [
            f"host: {name}.example.org:{upstream.port}".encode() for name in ("a", "a", "b")
        ]
        row = rig.destinations.snapshot()["*.example.org"]
        assert (row["requests"], len(row["subsets"])) == (3, 2)
        answer = await rig.ask(get(f"rebound.example.org:{upstream.port}"))
        assert "this machine" in answer["x-mesh-reason"]
        assert (await rig.ask(get("example.net"))).status == 503


async def test_hosts_that_requests_name_are_bounded() -> None:
    """The oldest idle one makes room."""

    async def lookup(name: str) -> list[str]:
        raise OSError("no")

    async with Rig(policies=by_name(80, "*.example.org", "NONE"), lookup=lookup) as rig:
        client = await rig.connect()
        for number in range(MAX_DYNAMIC + 20):
            await client.send(get(f"h{number}.example.org"))
            assert (await client.answer(b"GET")).status == 503
        assert len(rig.destinations.upstreams()) == MAX_DYNAMIC


async def test_an_unknown_host_with_allow_any(upstream: ScriptedUpstream) -> None:
    """Is asked as it is, as PassthroughCluster; the registry, this machine and nonsense never."""

    async def lookup(name: str) -> list[str]:
        return [upstream.host]

    async with Rig(lookup=lookup, allow_any=True) as rig:
        for host in ("some.example.net", own_address()):
            assert (await rig.ask(get(f"{host}:{upstream.port}"))).status == 200
        assert b"x-envoy-peer-metadata-id" not in upstream.heads[0]
        row = rig.destinations.snapshot()["PassthroughCluster"]
        assert (row["requests"], row["location"]) == (2, "MESH_EXTERNAL")
        before = len(upstream.heads)
        for host in (
            "consul",
            "Consul.mesh",
            "127.0.0.1",
            "[::1]",
            "169.254.169.254",
            "a!b",
            "x:0",
            "x:99999",
        ):
            host = host if ":" in host and "[" not in host else f"{host}:{upstream.port}"
            assert (await rig.ask(get(host))).status == 503, host
        assert len(upstream.heads) == before


async def test_an_unknown_host_without_it() -> None:
    """Is refused, as ever."""

    async def lookup(name: str) -> list[str]:
        raise AssertionError("nobody is asked")

    async with Rig(lookup=lookup) as rig:
        answer = await rig.ask(get("some.example.net"))
        assert answer["x-mesh-reason"].startswith("NC: no service is named 'some.example.net'")


async def test_a_slow_name_holds_up_nobody_else() -> None:
    """The lookup is under way, and another destination answers."""

    async def silent(peer: Peer) -> None:
        await peer.gone()

    async with ScriptedUpstream(replies(OK)) as upstream:
        never = asyncio.Event()

        async def lookup(name: str) -> list[str]:
            await never.wait()
            return []

        policies = entry([upstream]) + "---\n" + by_name(80, "slow.example.com")
        async with Rig(policies=policies, lookup=lookup) as rig:
            client = await rig.connect()
            await client.send(get("slow.example.com"))
            await until(lambda: len(rig.destinations.upstreams()) == 1)
            assert (await rig.ask(get("api.example.com"))).status == 200


async def test_a_copy_that_leaves_does_not_say_who_asks() -> None:
    """Though the request that it is a copy of stays inside and does; and the other way round."""
    async with ScriptedUpstream(replies(OK)) as inside, ScriptedUpstream(replies(OK)) as beyond:
        for host, mirror in (("svc", "api.example.com"), ("api.example.com", "svc")):
            service = (
                f"---\n{API}\nkind: VirtualService\nmetadata: {{name: copies}}\n"
                f"spec: {{hosts: [{host}], http: [{{route: [{{destination: {{host: {host}}}}}], "
                f"mirror: {{host: {mirror}}}}}]}}\n"
            )
            async with Rig({"svc": [inside.address]}, policies=entry([beyond]) + service) as rig:
                await rig.ask(get("api.example.com" if host == "svc" else "svc"))  # both are known then
                before = len(inside.heads), len(beyond.heads)
                assert (await rig.ask(get(host))).status == 200
                wanted = before[0] + 1, before[1] + 1
                await until(
                    lambda wanted=wanted: (len(inside.heads), len(beyond.heads)) == wanted  # type: ignore[misc]  # bound now
                )
                await rig.settled()
        for head in inside.heads:
            assert b"x-envoy-peer-metadata-id: test-1~test~v1" in head
        for head in beyond.heads:
            assert b"x-envoy-peer-metadata-id" not in head
