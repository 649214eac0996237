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
    ["orders", "Orders", "orders:8080", "orders.default.svc.cluster.local", "orders.mesh:80", "orders."],
)
def test_a_host_names_a_service(host: str) -> None:
    """Case, port and a domain behind the name do not matter."""
    route = RouteTable(known=KNOWN).match(host, b"GET", b"/", ())
    assert route is not None
    assert (route.upstream, route.timeout_s, route.retry) == ("orders", None, None)


@pytest.mark.parametrize("host", ["usres", "", "127.0.0.1:80", "[::1]:80"])
def test_an_unknown_host_has_no_route_or_the_default(host: str) -> None:
    """None is NR; the ingress sends it to its default service, with the rules of that."""
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
    edge = RouteTable(known=names.__contains__, default_service="orders")
    assert upstream(edge, "later") == "orders"
    names.add("later")
    edge.forget()
    assert upstream(edge, "later") == "later"


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


def test_rules_of_a_host_come_before_those_of_the_service_that_it_names() -> None:
    """`orders.shop.test` is the service `orders` by its first label only if nobody says otherwise."""
    table = RouteTable({"orders": [to("a")], "orders.shop.test": [to("b")]}, known=KNOWN)
    assert upstream(table, "orders.shop.test") == "b"
    assert upstream(table, "orders.other.test") == "a"


def test_the_default_service_takes_only_hosts_without_rules() -> None:
    """The ingress serves several sites: each by its own document, the rest by the entrypoint."""
    table = RouteTable({"*.shop.test": [to("shop")]}, default_service="users", known=KNOWN)
    assert upstream(table, "a.shop.test") == "shop"
    assert upstream(table, "a.other.test") == "users"


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
