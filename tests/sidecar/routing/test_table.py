"""Without documents a host is the service of that name."""

import pytest

from sidecar.routing.table import ROUTES_CACHED, RouteTable

SERVICES = frozenset({"orders", "users"})


@pytest.mark.parametrize(
    "host",
    ["orders", "Orders", "orders:8080", "orders.default.svc.cluster.local", "orders.mesh:80", "orders."],
)
def test_a_host_names_a_service(host: str) -> None:
    """Case, port and a domain behind the name do not matter."""
    route = RouteTable(SERVICES).match(host, b"GET", b"/", ())
    assert route is not None
    assert (route.upstream, route.timeout_s, route.retry) == ("orders", None, None)


@pytest.mark.parametrize("host", ["usres", "", "127.0.0.1:80", "[::1]:80"])
def test_an_unknown_host_has_no_route_or_the_default(host: str) -> None:
    """None is NR; the ingress sends it to its default service."""
    assert RouteTable(SERVICES).match(host, b"GET", b"/", ()) is None
    route = RouteTable(SERVICES, default_service="users").match(host, b"GET", b"/", ())
    assert route is not None
    assert route.upstream == "users"


def test_callers_cannot_grow_the_table() -> None:
    """The cache of hosts is bounded."""
    table = RouteTable()
    for index in range(3 * ROUTES_CACHED):
        table.match(f"h{index}", b"GET", b"/", ())
    assert len(table._defaults) <= ROUTES_CACHED
