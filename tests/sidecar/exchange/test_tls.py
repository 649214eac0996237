"""TLS that a DestinationRule asks for, begun towards real servers."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.upstream import OK, ScriptedUpstream, replies

from .harness import Rig

API = "apiVersion: networking.istio.io/v1"
TLS = Path(__file__).parent.parent / "tls"
GET = b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
CA = f"caCertificates: {TLS / 'ca.pem'}"


def serving(*, client: bool = False) -> tuple[ssl.SSLContext, list[str | None]]:
    """A server's side, and the names that it was asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem", TLS / "server.key")
    asked: list[str | None] = []
    context.sni_callback = lambda sock, name, ctx: asked.append(name)
    if client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(TLS / "ca.pem")
    return context, asked


@pytest.fixture
async def server() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream(replies(OK), tls=serving()[0]) as found:
        yield found


def documents(port: int, tls: str, names: str = "") -> str:
    return (
        f"{API}\nkind: ServiceEntry\nmetadata: {{name: api}}\nspec: {{hosts: [api.example.com], "
        f"ports: [{{number: 80, name: http, targetPort: {port}}}], resolution: STATIC, "
        f"endpoints: [{{address: 127.0.0.1}}]{names}}}\n"
        f"---\n{API}\nkind: DestinationRule\nmetadata: {{name: api}}\n"
        f"spec: {{host: api.example.com, trafficPolicy: {{tls: {{{tls}}}}}}}\n"
    )


async def test_simple(server: ScriptedUpstream) -> None:
    """By the host's name, which the certificate must be for; connections are kept and used again."""
    context, asked = serving()
    async with (
        ScriptedUpstream(replies(OK), tls=context) as upstream,
        Rig(policies=documents(upstream.port, f"mode: SIMPLE, {CA}")) as rig,
    ):
        for _ in range(3):
            answer = await rig.ask(GET)
            assert (answer.status, answer.body) == (200, b"ok")
        assert len(upstream.peers) == 1
        await rig.settled()
    assert asked == ["api.example.com"]


async def test_a_large_body_comes_through_both_ways() -> None:
    """With back-pressure."""
    body = b"x" * 3_000_000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    async with (
        ScriptedUpstream(replies(answer), tls=serving()[0]) as upstream,
        Rig(policies=documents(upstream.port, f"mode: SIMPLE, {CA}")) as rig,
    ):
        head = b"POST / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: %d\r\n\r\n" % len(body)
        got = await rig.ask(head + body)
        assert (got.status, len(got.body)) == (200, len(body))


async def test_mutual() -> None:
    """With our certificate; without one the server wants nothing of us."""
    context, _ = serving(client=True)
    ours = f"clientCertificate: {TLS / 'client.pem'}, privateKey: {TLS / 'client.key'}"
    async with ScriptedUpstream(replies(OK), tls=context) as upstream:
        async with Rig(policies=documents(upstream.port, f"mode: MUTUAL, {CA}, {ours}")) as rig:
            assert (await rig.ask(GET)).status == 200
        async with Rig(policies=documents(upstream.port, f"mode: SIMPLE, {CA}")) as rig:
            assert (await rig.ask(GET)).status == 503
        assert len(upstream.heads) == 1


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        ("mode: SIMPLE", "certificate verify failed"),
        (f"mode: SIMPLE, caCertificates: {TLS / 'other.pem'}", "certificate verify failed"),
        (f"mode: SIMPLE, {CA}, sni: wrong.example.com", "Hostname mismatch"),
        (
            f"mode: SIMPLE, {CA}, subjectAltNames: ['spiffe://example/other']",
            "not for spiffe://example/other",
        ),
        ("mode: SIMPLE, caCertificates: /none.pem", "/none.pem: No such file or directory"),
    ],
)
async def test_who_it_is_not_gets_nothing(server: ScriptedUpstream, tls: str, words: str) -> None:
    """Not a byte of a request; the answer says why."""
    async with Rig(policies=documents(server.port, tls)) as rig:
        answer = await rig.ask(GET)
        assert answer.status == 503
        assert answer["x-mesh-reason"].startswith("UF: ")
        assert words in answer["x-mesh-reason"]
        await rig.settled()
    assert server.heads == []


@pytest.mark.parametrize(
    ("tls", "names"),
    [
        (f"mode: SIMPLE, {CA}, sni: a.example.org", ""),
        (f"mode: SIMPLE, {CA}, subjectAltNames: ['spiffe://example/api']", ""),
        (f"mode: SIMPLE, {CA}, sni: x.y, subjectAltNames: [b.example.org]", ""),
        (f"mode: SIMPLE, {CA}", ", subjectAltNames: ['spiffe://example/api']"),
        ("mode: SIMPLE, insecureSkipVerify: true", ""),
    ],
)
async def test_who_it_may_be(server: ScriptedUpstream, tls: str, names: str) -> None:
    """Another name of the certificate's, or anybody, where the documents say so."""
    async with Rig(policies=documents(server.port, tls, names)) as rig:
        assert (await rig.ask(GET)).status == 200


async def test_from_plain_to_tls_and_back(server: ScriptedUpstream) -> None:
    """No connection of the one kind is used for the other."""
    async with Rig(policies=documents(server.port, "mode: DISABLE")) as rig:
        assert (await rig.ask(GET)).status in (502, 503)
        rig.apply(documents(server.port, f"mode: SIMPLE, {CA}"))
        assert (await rig.ask(GET)).status == 200
        rig.apply(documents(server.port, "mode: DISABLE"))
        assert (await rig.ask(GET)).status in (502, 503)
    assert len(server.heads) == 1
