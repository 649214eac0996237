"""Envoy's command operators in header values: what is taken, and what is refused by name."""

from __future__ import annotations

import pytest

from sidecar.routing.compile import compile_documents
from sidecar.routing.documents import parse_text
from sidecar.routing.errors import DocumentError
from sidecar.routing.header_format import Operator, read_format
from sidecar.routing.route import Route

SERVICE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: svc}}
spec: {{hosts: [svc], http: [{{{http}}}]}}
"""


def route(http: str) -> Route:
    compiled = compile_documents(parse_text(SERVICE.format(http=http)), None)
    found = compiled.table.match("svc", b"GET", b"/", [])
    assert found is not None
    return found


def test_text_and_operators_in_turn() -> None:
    """`%%` is a percent sign; a name, its stand-in and a length belong to the operator."""
    found = read_format("a%%b %REQ(X-User?x-b):3%/%REQUEST_HEADER(:path)%")
    assert found.parts == (
        *(b"a", b"%", b"b ", Operator("REQ", ("x-user", "x-b"), 3)),
        *(b"/", Operator("REQ", (":path",))),
    )
    assert found.text is None
    assert read_format("100%%").text == b"100%"
    assert read_format("plain").text == b"plain"


@pytest.mark.parametrize(
    "text",
    [
        "%START_TIME(%Y/%m/%dT%H:%M:%S%z)%",
        "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(24)%",
        "%PATH(NQ:ORIG):20%",
        "%QUERY_PARAMS(DECODED)%",
        "%REQUESTED_SERVER_NAME(SNI_FIRST:HOST)%",
        "%RESPONSE_CODE_DETAILS%",
        "%DOWNSTREAM_PEER_URI_SAN%",
        "%UPSTREAM_PEER_CERT_V_END(%b)%",
        '%DYNAMIC_METADATA(["a", "b"])%',
        '%COALESCE({"operators": ["HOSTNAME", {"command": "REQ", "param": ":authority", "max_length": 9}]})%',
    ],
)
def test_what_envoy_documents_is_known(text: str) -> None:
    assert len(read_format(text).parts) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("100%", "'%' is no operator like %REQ(x-user)%; a percent sign itself is %%"),
        ("abc%123", "'%123' is no operator"),
        ("%USER%", "%USER% is unknown to Envoy"),
        ("%REQ()%", "%REQ% needs the name of a header"),
        ("%REQ(a?b?c)%", "%REQ% needs the name of a header, or two"),
        ("%PROTOCOL(x)%", "%PROTOCOL% takes nothing in parentheses"),
        ("%PROTOCOL:3%", "%PROTOCOL% takes no length"),
        ("%PATH(ALL)%", "%PATH% takes (WQ|NQ:ORIG|PATH|ORIG_OR_PATH), not 'ALL'"),
        ("%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(129)%", "takes a number of bits"),
        ("%ENVIRONMENT(SIDECAR_REGISTRY_TOKEN)%", "the sidecar's environment holds its own secrets"),
        ("%DOWNSTREAM_WIRE_BYTES_SENT%", "is not measured here"),
        ("%COALESCE({})%", "%COALESCE% takes JSON like"),
        ('%COALESCE({"operators": ["USER"]})%', "%USER% is unknown to Envoy"),
        ("%PROTOCOL%" * 33, "has more than 32 operators"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        read_format(text)
    assert words in str(error.value)


def test_a_document_names_the_place() -> None:
    with pytest.raises(DocumentError) as error:
        route("headers: {response: {set: {x-a: '%USER%'}}}, route: [{destination: {host: svc}}]")
    assert str(error.value).partition(": ")[2] == (
        "VirtualService/svc: spec.http[0].headers.response.set.x-a: %USER% is unknown to Envoy, got '%USER%'"
    )


def test_an_empty_value_sets_nothing() -> None:
    """As in Envoy: it does not take away what is there either."""
    found = route("headers: {request: {set: {x-a: ''}}}, route: [{destination: {host: svc}}]")
    assert not found.request_headers


def test_the_whole_rule_has_the_last_word() -> None:
    """Envoy applies the arm's headers first, then the route's: that one replaces and removes them."""
    arm = "headers: {request: {set: {x-a: arm, x-b: '%PROTOCOL%', x-c: arm}, add: {x-d: arm}}}"
    whole = "headers: {request: {set: {X-A: rule, x-b: '%HOSTNAME%'}, remove: [x-c]}}"
    found = route(f"{whole}, route: [{{destination: {{host: svc}}, {arm}}}]").request_headers
    assert found.set == ((b"X-A", b"rule"),)
    assert found.add == ((b"x-d", b"arm"),)
    assert [entry.format.parts for entry in found.formatted] == [(Operator("HOSTNAME"),)]
