"""Rules of two documents, and ports, on real sockets."""

from __future__ import annotations

from tests.fakes.upstream import OK, ScriptedUpstream, replies

from .harness import Rig
from .test_routes import API, FAIL, service


async def test_a_request_goes_where_the_delegate_says() -> None:
    """By both documents' conditions, with the headers of the rule that delegates."""
    leaf = (
        f"---\n{API}\nkind: VirtualService\nmetadata: {{name: leaf}}\n"
        "spec: {http: [{match: [{uri: {prefix: /a/good}}], route: [{destination: {host: good}}]}]}\n"
    )
    root = service(
        "{match: [{uri: {prefix: /a}}], delegate: {name: leaf}, headers: {request: {set: {x-by: root}}}},"
        " {route: [{destination: {host: bad}}]}"
    )
    async with (
        ScriptedUpstream(replies(OK)) as good,
        ScriptedUpstream(replies(FAIL)) as bad,
        Rig({"good": [good.address], "bad": [bad.address]}, policies=root + leaf) as rig,
    ):
        assert (await rig.ask(b"GET /a/good HTTP/1.1\r\nHost: svc\r\n\r\n")).status == 200
        assert b"x-by: root" in good.heads[0]
        assert (await rig.ask(b"GET /a/bad HTTP/1.1\r\nHost: svc\r\n\r\n")).status == 500


async def test_the_port_that_a_request_names_chooses() -> None:
    ports = service(
        "{match: [{port: 8080}], route: [{destination: {host: good}}]}, {route: [{destination: {host: bad}}]}"
    )
    async with (
        ScriptedUpstream(replies(OK)) as good,
        ScriptedUpstream(replies(FAIL)) as bad,
        Rig({"good": [good.address], "bad": [bad.address]}, policies=ports) as rig,
    ):
        assert (await rig.ask(b"GET / HTTP/1.1\r\nHost: svc:8080\r\n\r\n")).status == 200
        assert (await rig.ask(b"GET http://svc:8080/ HTTP/1.1\r\nHost: svc\r\n\r\n")).status == 200
        assert (await rig.ask(b"GET / HTTP/1.1\r\nHost: svc\r\n\r\n")).status == 500
