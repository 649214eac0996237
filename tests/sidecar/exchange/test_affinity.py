"""The same caller at the same endpoint: cookies that are made, rings and tables, on real sockets."""

from __future__ import annotations

import re

from tests.fakes.upstream import OK, ScriptedUpstream, replies

from .harness import Rig
from .test_routes import rule


def hash_by(what: str) -> str:
    return rule(f"trafficPolicy: {{loadBalancer: {{consistentHash: {{{what}}}}}}}")


async def test_a_cookie_is_made_and_leads_back() -> None:
    """One for each connection, until the client sends it; then it goes where it went, and gets no other."""
    cookie = "httpCookie: {name: sid, ttl: 90s, path: /, attributes: [{name: SameSite, value: Lax}]}"
    async with (
        ScriptedUpstream(replies(OK)) as one,
        ScriptedUpstream(replies(OK)) as two,
        Rig({"svc": [one.address, two.address]}, policies=hash_by(cookie)) as rig,
    ):
        for _ in range(12):
            client = await rig.connect()
            before = len(one.heads)
            made = set()
            for _ in range(2):
                await client.send(b"GET / HTTP/1.1\r\nHost: svc\r\n\r\n")
                made.add((await client.answer())["set-cookie"])
            (line,) = made
            found = re.fullmatch(r'sid="([0-9a-f]{16})"; Max-Age=90; Path=/; SameSite=Lax; HttpOnly', line)
            assert found is not None, line
            for _ in range(3):
                answer = await rig.ask(
                    b"GET / HTTP/1.1\r\nHost: svc\r\nCookie: sid=%b\r\n\r\n" % found[1].encode()
                )
                assert answer["set-cookie"] == ""
            assert len(one.heads) - before in (0, 5)
        assert one.heads
        assert two.heads


async def test_without_a_ttl_no_cookie_is_made() -> None:
    async with (
        ScriptedUpstream(replies(OK)) as up,
        Rig({"svc": [up.address]}, policies=hash_by("httpCookie: {name: sid}")) as rig,
    ):
        assert (await rig.ask(b"GET / HTTP/1.1\r\nHost: svc\r\n\r\n"))["set-cookie"] == ""


async def test_by_maglev_too_the_same_key_goes_to_the_same_endpoint() -> None:
    async with (
        ScriptedUpstream(replies(OK)) as one,
        ScriptedUpstream(replies(OK)) as two,
        Rig(
            {"svc": [one.address, two.address]},
            policies=hash_by("httpQueryParameterName: u, maglev: {tableSize: 1009}"),
        ) as rig,
    ):
        for user in range(20):
            before = len(one.heads)
            for _ in range(3):
                await rig.ask(b"GET /?u=%d HTTP/1.1\r\nHost: svc\r\n\r\n" % user)
            assert len(one.heads) - before in (0, 3), user
        assert one.heads
        assert two.heads
