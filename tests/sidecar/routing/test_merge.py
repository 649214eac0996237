"""Several documents for one host act as Istio has them act, in whatever order they came."""

import random
from itertools import permutations

import pytest

from sidecar.routing.compile import compile_documents, version_of
from sidecar.routing.compiled import Compiled, Identity
from sidecar.routing.documents import Document, parse_text
from sidecar.routing.lint import lint

HEAD = "apiVersion: networking.istio.io/v1\n"
AT = "2026-01-01T00:00:{:02}Z"


def rule(name: str, at: int, spec: str, namespace: str = "default") -> Document:
    """A DestinationRule, created at a second."""
    meta = f"{{name: {name}, namespace: {namespace}, creationTimestamp: '{AT.format(at)}'}}"
    (found,) = parse_text(f"{HEAD}kind: DestinationRule\nmetadata: {meta}\nspec: {spec}\n")
    return found


def service(name: str, at: int, spec: str, namespace: str = "default") -> Document:
    """A VirtualService, likewise."""
    meta = f"{{name: {name}, namespace: {namespace}, creationTimestamp: '{AT.format(at)}'}}"
    (found,) = parse_text(f"{HEAD}kind: VirtualService\nmetadata: {meta}\nspec: {spec}\n")
    return found


def to(host: str, match: str = "") -> str:
    """One http rule."""
    return f"{{{match}route: [{{destination: {{host: {host}}}}}]}}"


def compiled(documents: list[Document], **ingress: str) -> Compiled:
    identity = Identity() if ingress else Identity("web", "web-1")
    return compile_documents(documents, identity, rng=random.Random(1), **ingress)


def goes(made: Compiled, host: str, path: bytes = b"/") -> str | None:
    route = made.table.match(host, b"GET", path, ())
    return None if route is None else route.upstream


def test_rules_of_one_host_are_one_in_any_order() -> None:
    """Subsets of all, of two by one name the older; the traffic policy of the oldest that has one."""
    documents = [
        rule("b", 1, "{host: a, subsets: [{name: v1, labels: {version: v1}}]}"),
        rule(
            "a",
            2,
            "{host: a.default, trafficPolicy: {loadBalancer: {simple: RANDOM}}, "
            "subsets: [{name: v1, labels: {version: other}}, {name: v2, labels: {version: v2}}]}",
        ),
        rule("c", 3, "{host: a, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}"),
    ]
    versions = set()
    for order in permutations(documents):
        made = compiled(list(order))
        assert made.destination("a").policy.balance.kind == "random"
        assert made.destination("a|v2").policy.balance.kind == "random"
        assert made.destination("a|v1").labels == {"version": "v1"}
        versions.add(made.version)
    assert len(versions) == 1
    assert [str(each) for each in lint(documents) if "older" in str(each)] == [
        "DestinationRule/a: spec.subsets[0]: changes nothing: DestinationRule/b, which is older, defines the "
        "subset 'v1'",
        "DestinationRule/c: spec.trafficPolicy: changes nothing: DestinationRule/a, which is older, has one "
        "for 'a'",
    ]


def test_of_one_second_the_name_decides() -> None:
    """A cluster knows no more of what one file brought."""
    documents = [service(name, 5, f"{{hosts: [web], http: [{to(name)}]}}") for name in ("z", "m", "b")]
    assert goes(compiled(documents), "web") == "b"


def test_when_it_was_is_no_part_of_the_version() -> None:
    """Only what was first is: the same documents in another mesh have the same version."""
    one = [rule("a", 1, "{host: a}"), rule("b", 2, "{host: a}")]
    later = [rule("a", 11, "{host: a}"), rule("b", 12, "{host: a}")]
    turned = [rule("a", 12, "{host: a}"), rule("b", 11, "{host: a}")]
    assert version_of(one) == version_of(later) != version_of(turned)


def test_at_a_sidecar_the_oldest_service_acts_alone() -> None:
    """Host by host, as Istio does not merge there; what is for gateways only stands in nobody's way."""
    documents = [
        service("edge", 1, f"{{hosts: [web], gateways: [public], http: [{to('edge')}]}}"),
        service("old", 2, f"{{hosts: [web], http: [{to('old', 'match: [{uri: {exact: /old}}], ')}]}}"),
        service("new", 3, f"{{hosts: [web, other], http: [{to('new')}]}}"),
    ]
    for order in permutations(documents):
        made = compiled(list(order))
        assert (goes(made, "web", b"/old"), goes(made, "web"), goes(made, "other")) == ("old", None, "new")
    (warning,) = (str(each) for each in lint(documents) if "older" in str(each))
    assert warning.startswith(
        "VirtualService/new: spec.hosts[0]: 'web' has rules in VirtualService/old already"
    )


def test_at_the_ingress_services_are_merged() -> None:
    """In order, and what takes every request comes last, whoever wrote it."""
    gateways = "gateways: [public], "
    documents = [
        service("all", 1, f"{{hosts: [shop.test], {gateways}http: [{to('all')}]}}"),
        service(
            "cart",
            2,
            f"{{hosts: [shop.test], {gateways}http: ["
            + to("cart", "match: [{uri: {prefix: /cart}}, {uri: {prefix: /}}], ")
            + "]}",
        ),
        service(
            "api",
            3,
            f"{{hosts: [shop.test], {gateways}http: ["
            + to("api", "match: [{uri: {prefix: /}, method: {exact: GET}}], ")
            + "]}",
        ),
    ]
    for order in permutations(documents):
        made = compiled(list(order), default_service="web")
        assert goes(made, "shop.test", b"/cart/1") == "cart"
        assert goes(made, "shop.test", b"/x") == "api"
        route = made.table.match("shop.test", b"POST", b"/x", ())
        assert route is not None
        assert route.upstream == "all"
    assert not [each for each in lint(documents) if "older" in str(each)]


def test_names_of_another_namespace_are_its_own() -> None:
    """`orders` in prod is orders.prod, for hosts and destinations; a name with a dot is as it is."""
    documents = [
        service("a", 1, f"{{hosts: [orders], http: [{to('billing')}]}}", "prod"),
        service("a", 2, f"{{hosts: [orders], http: [{to('users.default.svc.cluster.local')}]}}"),
        rule("a", 3, "{host: billing, subsets: [{name: v1}]}", "prod"),
    ]
    made = compiled(documents)
    assert [document.key for document in documents[:2]] == ["VirtualService/prod/a", "VirtualService/a"]
    assert goes(made, "orders") == "users"
    for host in ("orders.prod", "orders.prod.svc", "orders.prod.svc.cluster.local:80"):
        assert goes(made, host) == "billing.prod"
    assert made.defines("billing.prod|v1")
    assert not made.defines("billing|v1")


@pytest.mark.parametrize(
    ("namespace", "host", "acts"),
    [
        ("default", "orders", True),
        ("istio-system", "orders.default.svc.cluster.local", True),
        ("prod", "orders.default.svc.cluster.local", False),
    ],
)
def test_rules_are_taken_from_where_istio_looks(namespace: str, host: str, acts: bool) -> None:
    """The caller's namespace, the service's, the root; a rule elsewhere is told that it does nothing."""
    documents = [
        rule("a", 1, f"{{host: {host}, trafficPolicy: {{loadBalancer: {{simple: RANDOM}}}}}}", namespace)
    ]
    assert (compiled(documents).destination("orders").policy.balance.kind == "random") is acts
    assert any("from another namespace" in str(each) for each in lint(documents)) is not acts


@pytest.mark.parametrize(
    ("to", "seen"),
    [("['*']", True), ("[.]", False), ("[default]", True), ("[other]", False), ("['~']", False)],
)
def test_what_is_exported_elsewhere_does_nothing(to: str, seen: bool) -> None:
    """The mesh's sidecars are in one namespace."""
    spec = f"{{hosts: [web], exportTo: {to}, http: [{{directResponse: {{status: 418}}}}]}}"
    documents = [service("a", 1, spec, "prod")]
    documents = [service("a", 1, spec.replace("[web]", "[web.default.svc.cluster.local]"), "prod")]
    made = compiled(documents)
    assert (made.table.match("web", b"GET", b"/", ()).direct is not None) is seen  # type: ignore[union-attr]  # no route fails too
    assert any("spec.exportTo: changes nothing" in str(each) for each in lint(documents)) is not seen


def test_a_rule_for_a_pattern_holds_where_no_other_does() -> None:
    """The longest pattern, for every service of that domain, its subsets too."""
    documents = [
        rule("all", 1, "{host: '*.local', trafficPolicy: {loadBalancer: {simple: RANDOM}}}"),
        rule(
            "here",
            2,
            "{host: '*.default.svc.cluster.local', trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}, "
            "subsets: [{name: v1, labels: {version: v1}}]}",
        ),
        rule("own", 3, "{host: own, trafficPolicy: {loadBalancer: {simple: LEAST_REQUEST}}}"),
    ]
    made = compiled(documents)
    kinds = [made.destination(key).policy.balance.kind for key in ("a", "own", "b.prod", "x.example.com")]
    assert kinds == ["round_robin", "least_request", "random", "peak_ewma"]
    subset = made.destination("a|v1")
    assert (subset.key, subset.service, subset.labels) == ("a|v1", "a", {"version": "v1"})
    assert not made.defines("own|v1")
