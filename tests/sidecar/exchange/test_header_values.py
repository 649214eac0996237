"""Header values with Envoy's operators, as services and clients get them, on real sockets."""

from __future__ import annotations

import pytest

from sidecar.header_values import format_time
from sidecar.routing.errors import DocumentError
from tests.fakes.upstream import OK, ScriptedUpstream, replies

from .harness import Rig
from .test_routes import FAIL, service

TO = "route: [{destination: {host: svc}}]"


def headers(request: str = "", response: str = "") -> str:
    return f"headers: {{request: {{{request}}}, response: {{{response}}}}}"


def fields_of(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name: value for name, _, value in (line.partition(": ") for line in lines if line)}


async def test_a_request_carries_what_it_came_with() -> None:
    """The client's address and port, the request's own fields, time and protocol; and the sidecar's name."""
    made = {
        "x-from": "%DOWNSTREAM_REMOTE_ADDRESS%",
        "x-ip": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "x-net": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(8)%",
        "x-at": "%DOWNSTREAM_LOCAL_PORT%",
        "x-user": "<%REQ(X-Name?x-other):5%>",
        "x-what": "%REQ(:METHOD)% %REQ(:authority)%%PATH(NQ)%?%QUERY_PARAMS% %QUERY_PARAM(b)% %PROTOCOL%",
        "x-id": "%REQ(x-request-id)%=%STREAM_ID%",
        "x-time": "%START_TIME(%s.%3f %Y)%",
        "x-by": "%HOSTNAME% %ROUTE_NAME% 100%% %UPSTREAM_CLUSTER%",
        "x-code": "%RESPONSE_CODE%%RESPONSE_FLAGS%",
        "x-first": '%COALESCE({"operators": [{"command": "REQ", "param": "x-none"}, "PROTOCOL"]})%',
    }
    setting = ", ".join(f"{name}: '{value}'" for name, value in made.items())
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}) as rig:
        rig.apply(service(f"{{name: main, {headers(f'set: {{{setting}}}')}, {TO}}}"))
        rig.outbound.wall_clock = lambda: 1_527_590_590.5281
        client = await rig.connect()
        await client.send(
            b"GET /p?a=1&b=%32 HTTP/1.1\r\nHost: svc\r\nX-Other: abcdefg\r\nX-Request-Id: r1\r\n\r\n"
        )
        assert (await client.answer()).status == 200
        port = client.writer.get_extra_info("sockname")[1]
        got = fields_of(up.heads[0])
        assert got["x-from"] == f"127.0.0.1:{port}"
        assert (got["x-ip"], got["x-net"]) == ("127.0.0.1", "127.0.0.0/8")
        assert got["x-at"] == str(rig.ports["outbound"])
        assert got["x-user"] == "<abcde>"
        assert got["x-what"] == "GET svc/p?a=1&b=%32 2 HTTP/1.1"
        assert got["x-id"] == "r1=r1"
        assert got["x-time"].startswith("1527590590.5")
        assert got["x-time"].endswith(" 2018")
        assert got["x-by"] == "test-1 main 100% svc"
        assert (got["x-code"], got["x-first"]) == ("0-", "HTTP/1.1")


async def test_an_answer_carries_where_it_is_from() -> None:
    made = {
        "x-code": "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%",
        "x-host": "%UPSTREAM_HOST% %UPSTREAM_REMOTE_ADDRESS%",
        "x-tries": "%UPSTREAM_REQUEST_ATTEMPT_COUNT% %UPSTREAM_HOSTS_ATTEMPTED%",
        "x-kind": "%RESP(Content-Length)% %REQ(x-a)%",
    }
    setting = ", ".join(f"{name}: '{value}'" for name, value in made.items())
    async with (
        ScriptedUpstream(replies(FAIL)) as bad,
        ScriptedUpstream(replies(OK)) as good,
        Rig({"svc": [bad.address, good.address]}) as rig,
    ):
        retries = "retries: {attempts: 3, retryOn: 5xx}"
        rig.apply(service(f"{{{headers('', f'add: {{{setting}}}')}, {retries}, {TO}}}"))
        ask = b"GET / HTTP/1.1\r\nHost: svc\r\nX-A: 7\r\n\r\n"
        answers = [await rig.ask(ask) for _ in range(8)]
        assert {answer["x-code"] for answer in answers} == {"200 - via_upstream"}
        host = f"{good.address[0]}:{good.address[1]}"
        assert {answer["x-host"] for answer in answers} == {f"{host} {host}"}
        tried = f"{bad.address[0]}:{bad.address[1]}"
        assert {answer["x-tries"] for answer in answers} == {f"1 {host}", f"2 {tried},{host}"}
        assert {answer["x-kind"] for answer in answers} == {"2 7"}


async def test_what_comes_out_empty_is_not_sent() -> None:
    """Neither set nor added, and what is there stays; a value that would break the head apart is empty."""
    setting = "x-there: '%REQ(x-none)%', x-new: '%DOWNSTREAM_PEER_URI_SAN%', x-cut: '%QUERY_PARAM(q)%'"
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}) as rig:
        rig.apply(service(f"{{{headers(f'set: {{{setting}}}')}, {TO}}}"))
        await rig.ask(b"GET /?q=a%0d%0aEvil:%201 HTTP/1.1\r\nHost: svc\r\nX-There: old\r\n\r\n")
        got = fields_of(up.heads[0])
        assert got["X-There"] == "old"
        assert not {"x-there", "x-new", "x-cut", "Evil"} & got.keys()


async def test_answers_of_the_sidecars_own_have_them_too() -> None:
    """A fixed answer, a redirect, and the 503 of a service that has nobody."""
    response = headers("", "set: {x-code: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%'}")
    ask = b"GET / HTTP/1.1\r\nHost: svc\r\n\r\n"
    async with Rig({"svc": []}) as rig:
        rig.apply(service(f"{{{response}, directResponse: {{status: 203}}}}"))
        assert (await rig.ask(ask))["x-code"] == "203 - -"
        rig.apply(service(f"{{{response}, redirect: {{uri: /x}}}}"))
        answer = await rig.ask(ask)
        assert (answer["x-code"], answer["location"]) == ("301 - -", "http://svc/x")
        rig.apply(service(f"{{{response}, {TO}}}"))
        assert (await rig.ask(ask))["x-code"] == "503 UH NoHealthyUpstream"


async def test_a_host_header_is_the_authority() -> None:
    """As in Istio, of the rule and of an arm, which has the last word; there is one Host."""
    whole = "headers: {request: {set: {Host: a.example}}}"
    arm = "headers: {request: {set: {host: 'b.example:81'}}}"
    ask = b"GET / HTTP/1.1\r\nHost: svc\r\n\r\n"
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}) as rig:
        for http, host in (
            (f"{{{whole}, {TO}}}", b"a.example"),
            (f"{{{whole}, rewrite: {{uri: /x}}, {TO}}}", b"a.example"),
            (f"{{{whole}, route: [{{destination: {{host: svc}}, {arm}}}]}}", b"b.example:81"),
        ):
            rig.apply(service(http))
            assert (await rig.ask(ask)).status == 200
            assert [line for line in up.heads[-1].lower().split(b"\r\n") if line.startswith(b"host:")] == [
                b"host: " + host
            ]
        with pytest.raises(DocumentError, match=r"headers\.request\.set\.host: is no authority"):
            rig.apply(service("{headers: {request: {set: {host: '%REQ(x)%'}}}, " + TO + "}"))


async def test_an_ingress_believes_no_claims() -> None:
    """What a stranger says of itself is not copied into another header; what the ingress sees is."""
    setting = "x-a: '%REQ(x-forwarded-for)%', x-b: '%REQ(x-envoy-internal)%|'"
    async with (
        ScriptedUpstream(replies(OK)) as up,
        Rig({"svc": [up.address]}, default_service="svc") as rig,
    ):
        rig.apply(service(f"{{{headers(f'set: {{{setting}}}')}, {TO}}}"))
        claims = b"X-Forwarded-For: 9.9.9.9\r\nX-Envoy-Internal: true\r\n"
        await rig.ask(b"GET / HTTP/1.1\r\nHost: svc\r\n" + claims + b"\r\n")
        got = fields_of(up.heads[0])
        assert (got["x-a"], got["x-b"]) == ("127.0.0.1", "|")


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("%Y-%m-%dT%H:%M:%S.%3fZ", "2018-05-29T10:43:10.528Z"),
        ("%s.%6f|%f|%%", "1527590590.528000|528000000|%"),
    ],
)
def test_forms_of_time(form: str, text: str) -> None:
    assert format_time(1_527_590_590.528, form) == text
