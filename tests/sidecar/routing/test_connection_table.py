"""`tcp` and `tls` rules: where a connection goes."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from sidecar.routing.compile import compile_documents
from sidecar.routing.compiled import Compiled, Identity
from sidecar.routing.documents import parse_text
from sidecar.routing.errors import DocumentError
from sidecar.routing.lint import lint

HEAD = "---\napiVersion: networking.istio.io/v1\n"
ONE = "route: [{destination: {host: %s}}]"
RULE = (
    f"{HEAD}kind: DestinationRule\nmetadata: {{name: db}}\n"
    "spec: {host: db, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}],"
    " trafficPolicy: {portLevelSettings: [{port: {number: 5432}}]}}\n"
)


def service(spec: str, hosts: str = "db, '*.example.com'") -> str:
    return f"{HEAD}kind: VirtualService\nmetadata: {{name: db}}\nspec: {{hosts: [{hosts}], {spec}}}\n"


def compiled(text: str, **labels: str) -> Compiled:
    identity = Identity("caller", version=labels.get("version", ""))
    return compile_documents(parse_text(text), identity, rng=random.Random(3))


def refused(text: str) -> str:
    with pytest.raises(DocumentError) as error:
        compiled(text)
    return str(error.value)


def test_by_port_and_by_weight() -> None:
    """The first rule that matches; none is the service itself."""
    table = compiled(
        RULE
        + service(
            "tcp: [{match: [{port: 5432}], route: [{destination: {host: db, subset: v1}, weight: 75},"
            " {destination: {host: db, subset: v2}, weight: 25}]},"
            " {match: [{port: 6432}, {port: 6433}], " + ONE % "pool" + "}]"
        )
    ).connections
    drawn = Counter(table.route("db", 5432, None) for _ in range(4000))
    assert drawn.keys() == {"db|v1|5432", "db|v2|5432"}
    assert drawn["db|v1|5432"] / 4000 == pytest.approx(0.75, abs=0.03)
    assert [table.route("db", port, None) for port in (6432, 6433, 1)] == ["pool", "pool", "db"]
    assert table.route("other", 5432, None) == "other"
    assert not table.asks_for_names("db")
    assert {"pool", "db|v1", "db|v1|5432"} <= table.upstreams()


TLS = service(
    "tls: [{match: [{sniHosts: [a.example.com]}], " + ONE % "a" + "},"
    " {match: [{sniHosts: ['*.example.com', db], port: 8443}], " + ONE % "rest" + "}]"
)


@pytest.mark.parametrize(
    ("port", "name", "key"),
    [
        (443, "a.example.com", "a"),
        (8443, "a.example.com", "a"),
        (8443, "b.c.example.com", "rest"),
        (8443, "example.com", None),
        (8443, "db", "rest"),
        (443, "b.example.com", None),
        (443, "", None),
        (443, None, None),
    ],
)
def test_by_name(port: int, name: str | None, key: str | None) -> None:
    """What no rule is for goes nowhere: the port speaks TLS."""
    table = compiled(TLS).connections
    assert table.asks_for_names("db")
    assert table.asks_for_names("x.example.com")
    assert table.route("db", port, name) == key


def test_with_both_kinds_the_rest_is_tcp() -> None:
    table = compiled(
        service(
            "tls: [{match: [{sniHosts: [a.example.com]}], " + ONE % "a" + "}],"
            " tcp: [{match: [{port: 1}], " + ONE % "tcp" + "}]"
        )
    ).connections
    names = ("a.example.com", "b.example.com", None)
    assert [table.route("db", 1, name) for name in names] == ["a", "tcp", "tcp"]
    assert [table.route("db", 2, name) for name in names] == ["a", "db", "db"]


def test_rules_that_can_never_mean_this_caller_are_left_out() -> None:
    text = service(
        "tcp: [{match: [{sourceLabels: {version: v2}}], " + ONE % "two" + "},"
        " {match: [{sourceNamespace: prod}], " + ONE % "never" + "},"
        " {match: [{gateways: [edge]}], " + ONE % "never" + "},"
        " {match: [{gateways: [mesh]}], " + ONE % "mesh" + "}]"
    )
    assert compiled(text, version="v2").connections.route("db", 1, None) == "two"
    assert compiled(text).connections.route("db", 1, None) == "mesh"
    elsewhere = text.replace("hosts:", "gateways: [edge], hosts:")
    assert compiled(elsewhere).connections.route("db", 1, None) == "db"


def test_the_requests_of_the_host_are_not_touched() -> None:
    found = compiled(TLS).table.match("db", b"GET", b"/", ())
    assert found is not None
    assert (found.name, found.upstream) == ("default/db", "db")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("http: []", "spec: http: has no rule (nor has tls or tcp)"),
        ("tcp: [{route: []}]", "spec.tcp[0].route: "),
        ("tls: [{" + ONE % "a" + "}]", "spec.tls[0].match: is missing"),
        ("tls: [{match: [{}], " + ONE % "a" + "}]", "spec.tls[0].match[0].sniHosts: is missing"),
        (
            "tls: [{match: [{sniHosts: [a.example.org]}], " + ONE % "a" + "}]",
            "tls[0]: sniHosts: 'a.example.org' is none of the hosts, nor below one",
        ),
        ("tls: [{match: [{sniHosts: ['a.*']}], " + ONE % "a" + "}]", "only * and *.domain are patterns"),
        (
            "tcp: [{route: [{destination: {host: a}}, {destination: {host: b}}]}]",
            "spec.tcp[0]: route: with several destinations at least one needs a weight above 0",
        ),
        (
            "tcp: [{match: [{destinationSubnets: [10.0.0.0/8]}], " + ONE % "a" + "}]",
            "spec.tcp[0].match[0].destinationSubnets: is known to Istio and not honoured here",
        ),
    ],
)
def test_what_is_refused(spec: str, words: str) -> None:
    """With its place."""
    assert words in refused(service(spec))


def test_no_connection_is_delegated() -> None:
    text = service("tcp: [{" + ONE % "a" + "}]").replace("hosts: [db, '*.example.com'], ", "")
    assert "hosts: is missing: only http rules can be delegated to" in refused(text)


def test_warnings() -> None:
    text = RULE + service(
        "tcp: [{route: [{destination: {host: db, subset: v1}, weight: 1}, {destination: {host: x}}]}]"
    )
    found = [str(problem) for problem in lint(parse_text(text), {"db": 1})]
    assert found == [
        "DestinationRule/db: spec.subsets[1]: no route names the subset 'v2': it does nothing",
        "VirtualService/db: spec.tcp[0].route[1].destination.host: no service is named 'x'",
        "VirtualService/db: spec.tcp[0].route[1].weight: is 0: nothing goes there",
    ]
