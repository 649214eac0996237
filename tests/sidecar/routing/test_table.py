"""From host to route: default services, rules in order, wildcards, the ingress."""

import random

import pytest

from sidecar.policy.hash_key import HashKey
from sidecar.routing.match import Match, Text
from sidecar.routing.route import DirectResponse, Mirror, Route, Split
from sidecar.routing.table import HOST_LENGTH, HOSTS_CACHED, RouteTable, Rule

KNOWN = frozenset({"orders", "users"}).__contains__


def to(name: str, *matches: Match) -> Rule:
    """A rule that leads to `name`."""
    return Rule(name, matches, [Route(name=name, upstream=name)] * max(1, len(matches)))


def upstream(table: RouteTable, host: str, path: bytes = b"/") -> str | None:
    """Where a GET goes."""
    route = table.match(host, b"GET", path, ())
    return None if route is None else route.upstream


@pytest.mark.parametrize(
    "host",
    [
        *("orders", "Orders", "orders:8080", "orders.", "orders.default", "orders.default.svc"),
        *("orders.default.svc.cluster.local", "orders.mesh:80", "Orders.localhost:15001"),
    ],
)
def test_a_host_names_a_service(host: str) -> None:
    """Case, port and a domain of ours behind the name do not matter."""
    route = RouteTable(known=KNOWN).match(host, b"GET", b"/", ())
    assert route is not None
    assert (route.upstream, route.timeout_s, route.retry) == ("orders", None, None)


@pytest.mark.parametrize(
    "host",
    [
        *("orders.example.com", "orders.com", "orders.other.svc.cluster.local", "orders.mesh.example"),
        *(
            "orders.svc",
            "orders.local",
            "a.orders.mesh",
            ".mesh",
            "localhost",
            "orders.localhost.com",
        ),
    ],
)
def test_a_name_in_somebody_elses_domain_names_no_service(host: str) -> None:
    """`orders.example.com` is not `orders`."""
    assert upstream(RouteTable(known=KNOWN), host) is None


@pytest.mark.parametrize("host", ["usres", "", "127.0.0.1:80", "[::1]:80", "orders", "orders.mesh", "consul"])
def test_an_unknown_host_has_no_route_and_at_an_ingress_no_host_has_one(host: str) -> None:
    """None is NR; the ingress sends everything to its default service, with the rules of that."""
    if not host.startswith("orders"):
        assert upstream(RouteTable(known=KNOWN), host) is None
    assert upstream(RouteTable(default_service="users", known=KNOWN), host) == "users"
    ruled = RouteTable({"users": [to("users|v2")]}, default_service="users", known=KNOWN)
    assert upstream(ruled, host) == "users|v2"


def test_a_service_that_comes_later_is_found() -> None:
    """What is unknown is not remembered; what changed can be forgotten."""
    names = {"orders"}
    table = RouteTable(known=names.__contains__, default_service=None)
    assert upstream(table, "late") is None
    names.add("late")
    assert upstream(table, "late") == "late"
    names.remove("late")
    table.forget()
    assert upstream(table, "late") is None


def test_callers_cannot_grow_the_table() -> None:
    """What is remembered of hosts is bounded."""
    table = RouteTable()
    for index in range(3 * HOSTS_CACHED):
        table.match(f"h{index}", b"GET", b"/", ())
    assert len(table._hosts) <= HOSTS_CACHED


def test_long_hosts_are_routed_and_not_remembered() -> None:
    """Each of them may have 64 KiB, at an edge all are known, and only their number is bounded."""
    table = RouteTable(default_service="front", known=lambda host: False)
    for index in range(10):
        host = f"{'h' * HOST_LENGTH}{index}"
        assert upstream(table, host) == "front"
    assert upstream(table, "short") == "front"
    assert list(table._hosts) == ["short"]


def test_the_first_rule_that_matches_is_taken() -> None:
    """Istio's order, not the most specific; none that matches = no route."""
    rules = [
        to("a", Match(path=Text("prefix", b"/api"))),
        to("b", Match(path=Text("prefix", b"/api/v2")), Match(path=Text("exact", b"/x"))),
    ]
    table = RouteTable({"orders": rules}, known=KNOWN)
    assert upstream(table, "orders", b"/api/v2") == "a"
    assert upstream(table, "orders.mesh", b"/x?y") == "b"
    assert upstream(table, "orders", b"/other") is None
    assert upstream(table, "users", b"/other") == "users"


def test_exact_hosts_before_long_wildcards_before_short_ones() -> None:
    """And `*` last."""
    table = RouteTable(
        {
            "*": [to("any")],
            "*.shop.test": [to("shop")],
            "*.eu.shop.test": [to("eu")],
            "a.eu.shop.test": [to("a")],
        }
    )
    assert upstream(table, "a.eu.shop.test") == "a"
    assert upstream(table, "b.eu.shop.test:80") == "eu"
    assert upstream(table, "c.shop.test") == "shop"
    assert upstream(table, "c.shop.test.") == "shop", "a final dot is part of no name"
    assert upstream(table, "c.shop.test.evil") == "any"
    assert upstream(table, "orders") == "any"


def test_a_pattern_is_of_full_names_too() -> None:
    """As in Istio: however a service of the mesh is called; not one that has rules of its own."""
    rules = {
        "*.default.svc.cluster.local": [to("all")],
        "*.prod.svc.cluster.local": [to("far")],
        "users": [to("u")],
    }
    table = RouteTable(rules, known=("orders", "users", "pay.prod").__contains__)
    for host in ("orders", "orders:80", "orders.default", "orders.default.svc.cluster.local"):
        assert upstream(table, host) == "all", host
    assert (upstream(table, "users"), upstream(table, "pay.prod")) == ("u", "far")
    assert upstream(table, "nobody") is None
    assert (table.reaches("orders"), table.reaches("users")) == (False, False)


def test_rules_of_a_host_come_before_those_of_the_service_that_it_names() -> None:
    """`orders.localhost` is the service `orders` only if nobody says otherwise."""
    table = RouteTable({"orders": [to("a")], "orders.localhost": [to("b")]}, known=KNOWN)
    assert upstream(table, "orders.localhost") == "b"
    assert upstream(table, "orders.mesh") == "a"


def test_at_an_ingress_a_host_chooses_among_what_is_bound_to_it() -> None:
    """Several sites, each by its own document; the rest is the entrypoint's, whatever else has rules."""
    mesh = {"users": [to("users|v2")], "orders": [to("orders|v2")], "*.shop.test": [to("inner")]}
    bound = {"*.shop.test": [to("shop")], "orders": [to("orders", Match(path=Text("prefix", b"/orders")))]}
    table = RouteTable(mesh, default_service="users", known=KNOWN, bound=bound)
    assert upstream(table, "a.shop.test") == "shop"
    assert upstream(table, "orders.mesh", b"/orders/1") == "orders"
    assert upstream(table, "orders", b"/") is None, "its document says so"
    for host in ("a.other.test", "users", "127.0.0.1:8080", "inner", "shop", "consul"):
        assert upstream(table, host) == "users|v2"
    unbound = RouteTable(mesh, default_service="users", known=KNOWN)
    for host in ("orders", "orders.mesh", "a.shop.test", ""):
        assert upstream(unbound, host) == "users|v2"


def test_at_an_ingress_the_rules_for_every_host_are_the_default_services_too() -> None:
    """A document for `*` means the default service like any other."""
    assert upstream(RouteTable({"*": [to("any")]}, default_service="users", known=KNOWN), "x.test") == "any"


def test_every_destination_that_a_rule_can_lead_to_is_named() -> None:
    """Arms of a split and copies too: what is not named is let go, with its breakers and connections."""
    arms = (Route("a", "orders|v1"), Route("b", "orders|v2"))
    split = Route("a", "orders|v1", split=Split(arms, (1, 1)), mirrors=(Mirror("copies", 5.0),))
    direct = Route("c", "", direct=DirectResponse(204))
    table = RouteTable({"orders": [Rule("r", (), [split])], "*.test": [Rule("d", (), [direct]), to("wild")]})
    assert table.upstreams() == {"orders|v1", "orders|v2", "copies", "wild"}
    assert table.reaches("users")
    assert not table.reaches("orders"), "its rules say where its requests go"
    assert not table.reaches("users|v1")


def test_a_default_route_knows_what_to_hash() -> None:
    """A DestinationRule with consistentHash needs no VirtualService."""
    key = HashKey("header", "x-user")
    route = RouteTable(hash_keys={"orders": key}, rng=random.Random(1)).match("orders", b"GET", b"/", ())
    assert route is not None
    assert route.hash_key is key
