"""Rules that one document leaves to another, put together as Istio does."""

from __future__ import annotations

import pytest

from sidecar.routing.compile import compile_documents
from sidecar.routing.compiled import Compiled, Identity
from sidecar.routing.documents import parse_text
from sidecar.routing.errors import DocumentError
from sidecar.routing.lint import lint
from sidecar.routing.route import Route

HEAD = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n"
TO = "route: [{destination: {host: %s}}]"


def root(*http: str) -> str:
    return f"{HEAD}metadata: {{name: root}}\nspec: {{hosts: [shop], http: [{', '.join(http)}]}}\n"


def leaf(*http: str, name: str = "leaf") -> str:
    return f"{HEAD}metadata: {{name: {name}}}\nspec: {{http: [{', '.join(http)}]}}\n"


def compiled(*texts: str) -> Compiled:
    return compile_documents(parse_text("".join(texts)), Identity("caller"))


def found(made: Compiled, path: str = "/", host: str = "shop", **headers: str) -> Route | None:
    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    return made.table.match(host, b"GET", path.encode(), fields)


def warnings(*texts: str) -> list[str]:
    return [str(problem) for problem in lint(parse_text("".join(texts)))]


def refused(*texts: str) -> str:
    with pytest.raises(DocumentError) as error:
        compiled(*texts)
    return str(error.value)


def test_the_rules_stand_in_the_place_of_the_one_that_delegates() -> None:
    """Both conditions hold, and the order is kept."""
    made = compiled(
        root(
            "{match: [{uri: {prefix: /a}}], delegate: {name: leaf}}",
            "{match: [{uri: {prefix: /a}}], " + TO % "late" + "}",
            "{" + TO % "rest" + "}",
        ),
        leaf(
            "{match: [{uri: {exact: /a/x}}], " + TO % "x" + "}",
            "{match: [{headers: {user: {exact: ann}}}], " + TO % "ann" + "}",
        ),
    )
    for path, headers, upstream in (
        ("/a/x", {}, "x"),
        ("/a/y", {"user": "ann"}, "ann"),
        ("/a/y", {}, "late"),
        ("/b", {"user": "ann"}, "rest"),
    ):
        route = found(made, path, **headers)
        assert route is not None
        assert route.upstream == upstream


def test_a_delegate_without_a_condition_has_that_of_the_rule() -> None:
    made = compiled(
        root("{match: [{uri: {prefix: /a}}], delegate: {name: leaf}}"),
        leaf("{" + TO % "a" + "}"),
    )
    assert found(made, "/a") is not None
    assert found(made, "/b") is None


def test_what_it_does_not_say_it_gets_from_the_rule() -> None:
    """Whole blocks, not fields of them; what it says itself stays."""
    made = compiled(
        root(
            "{name: all, delegate: {name: leaf}, timeout: 9s, rewrite: {uri: /r},"
            " headers: {request: {set: {x-a: root}}}, retries: {attempts: 4}}"
        ),
        leaf(
            "{name: own, match: [{uri: {exact: /own}}], timeout: 1s,"
            " headers: {response: {set: {x-b: leaf}}}, " + TO % "a" + "}",
            "{" + TO % "a" + "}",
        ),
    )
    own, other = found(made, "/own"), found(made, "/x")
    assert own is not None
    assert other is not None
    assert (own.name, other.name) == ("root/all-own", "root/all")
    assert (own.timeout_s, other.timeout_s) == (1.0, 9.0)
    assert own.rewrite is not None
    assert other.rewrite is not None
    assert own.rewrite.path == other.rewrite.path == b"/r"
    assert own.retry == other.retry
    assert own.request_headers.set == ()
    assert own.response_headers.set == ((b"x-b", b"leaf"),)
    assert other.request_headers.set == ((b"x-a", b"root"),)


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("uri: {prefix: /a}", "uri: {prefix: /b}"),
        ("uri: {prefix: /a}", "uri: {exact: /b}"),
        ("uri: {exact: /a}", "uri: {prefix: /a}"),
        ("uri: {exact: /a}", "uri: {exact: /b}"),
        ("uri: {regex: /a.*}", "uri: {exact: /a}"),
        ("uri: {prefix: /a}", "uri: {regex: /a.*}"),
        ("method: {exact: GET}", "method: {exact: PUT}"),
        ("headers: {a: {prefix: x}}", "headers: {a: {exact: y}}"),
        ("withoutHeaders: {a: {exact: x}}", "withoutHeaders: {a: {exact: y}}"),
        ("queryParams: {a: {exact: x}}", "queryParams: {a: {exact: y}}"),
        ("ignoreUriCase: true", "uri: {exact: /a}"),
        ("port: 80", "port: 81"),
        ("sourceNamespace: default", "uri: {exact: /a}"),
        ("sourceLabels: {app: a}", "sourceLabels: {app: b}"),
        ("gateways: [mesh]", "gateways: [edge]"),
    ],
)
def test_a_condition_at_odds_with_the_rules_takes_no_effect(wide: str, narrow: str) -> None:
    """As in Istio; a warning tells it, with both places."""
    texts = (
        root("{match: [{" + wide + "}], delegate: {name: leaf}}", "{" + TO % "rest" + "}"),
        leaf("{match: [{" + narrow + "}], " + TO % "never" + "}"),
    )
    assert compiled(*texts).table.upstreams() == {"rest"}
    assert warnings(*texts) == [
        "VirtualService/leaf: spec.http[0]: takes no effect: a match of it is none of VirtualService/root: "
        "spec.http[0], which delegates to it"
    ]


def test_each_condition_with_each_that_it_fits() -> None:
    made = compiled(
        root("{match: [{uri: {prefix: /a}}, {uri: {prefix: /ab}}, {port: 81}], delegate: {name: leaf}}"),
        leaf("{match: [{uri: {exact: /abc}}, {uri: {prefix: /a/}}], " + TO % "a" + "}"),
    )
    assert found(made, "/abc") is not None
    assert found(made, "/a/1") is not None
    assert found(made, "/ab1") is None
    assert found(made, "/x") is None


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (
            (root("{delegate: {name: root}}"),),
            "VirtualService 'root' has hosts of its own; a delegate is a document without hosts",
        ),
        (
            (root("{delegate: {name: leaf}}"), leaf("{delegate: {name: leaf}}")),
            "VirtualService/leaf: spec.http[0].delegate: goes one level deep only",
        ),
        (
            (
                root(*("{delegate: {name: leaf}}" for _ in range(300))),
                leaf(*("{" + TO % "a" + "}" for _ in range(300))),
            ),
            "].delegate: the set has too many routes with what it delegates",
        ),
    ],
    ids=["with hosts", "two levels", "too many"],
)
def test_what_is_refused(texts: tuple[str, ...], words: str) -> None:
    """With the place where it was written."""
    assert words in refused(*texts)


def test_a_delegate_may_come_later() -> None:
    """Until it is there, the rule that names it does nothing, and the next one has its requests."""
    texts = root("{delegate: {name: late}}", "{" + TO % "b" + "}")
    assert compiled(texts).table.upstreams() == {"b"}
    assert warnings(texts) == [
        "VirtualService/root: spec.http[0].delegate.name: no VirtualService is named 'late': until one is, "
        "the rule does nothing"
    ]


def test_a_delegate_is_looked_for_in_its_namespace() -> None:
    """By default that of who delegates to it."""
    other = leaf("{" + TO % "there.default.svc.cluster.local" + "}").replace(
        "{name: leaf}", "{name: leaf, namespace: prod}"
    )
    here = leaf("{" + TO % "here" + "}")
    assert compiled(root("{delegate: {name: leaf}}"), here, other).table.upstreams() == {"here"}
    named = root("{delegate: {name: leaf, namespace: prod}}")
    assert compiled(named, here, other).table.upstreams() == {"there"}


def test_who_has_no_hosts_and_is_not_named_does_nothing() -> None:
    text = leaf("{" + TO % "a" + "}")
    assert not compiled(text).table.upstreams()
    assert warnings(text) == [
        "VirtualService/leaf: spec: no rule delegates to it, and it has no hosts: it does nothing"
    ]


def test_a_delegate_has_no_gateways() -> None:
    text = f"{HEAD}metadata: {{name: a}}\nspec: {{gateways: [mesh], http: [{{{TO % 'a'}}}]}}\n"
    with pytest.raises(DocumentError, match="a document without hosts is delegated to, and has no gateways"):
        parse_text(text)


def test_a_rule_that_an_earlier_one_takes_is_told_where_both_were_written() -> None:
    texts = (
        root("{delegate: {name: leaf}}", "{" + TO % "late" + "}"),
        leaf("{" + TO % "a" + "}"),
    )
    assert warnings(*texts) == [
        "VirtualService/root: spec.http[1]: can never match: VirtualService/leaf: spec.http[0] takes all of "
        "its requests"
    ]


def test_ports_and_namespaces_of_requests() -> None:
    """The port that the request names, 80 if none; the one namespace that there is."""
    made = compiled(
        root(
            "{match: [{port: 8080}], " + TO % "p8080" + "}",
            "{match: [{port: 80, sourceNamespace: default}], " + TO % "p80" + "}",
            "{match: [{sourceNamespace: prod}], " + TO % "never" + "}",
            "{" + TO % "rest" + "}",
        )
    )
    for host, upstream in (("shop:8080", "p8080"), ("shop", "p80"), ("shop:80", "p80"), ("shop:9", "rest")):
        route = found(made, host=host)
        assert route is not None
        assert route.upstream == upstream
    assert warnings(root("{match: [{sourceNamespace: prod}], " + TO % "a" + "}")) == [
        "VirtualService/root: spec.http[0].match[0].sourceNamespace: matches nobody: the one namespace that "
        "there is is 'default'"
    ]
