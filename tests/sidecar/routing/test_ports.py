"""`portLevelSettings`: what they say, and which requests get them."""

from __future__ import annotations

import pytest

from sidecar.routing.compile import compile_documents
from sidecar.routing.compiled import Compiled, Identity
from sidecar.routing.documents import parse_text
from sidecar.routing.errors import DocumentError
from sidecar.routing.lint import lint

HEAD = "---\napiVersion: networking.istio.io/v1\n"


def rule(policy: str, subsets: str = "", host: str = "orders") -> str:
    spec = f"{{host: {host}, trafficPolicy: {{{policy}}}, subsets: [{subsets}]}}"
    return f"{HEAD}kind: DestinationRule\nmetadata: {{name: {host}}}\nspec: {spec}\n"


def service(http: str, host: str = "orders") -> str:
    return (
        f"{HEAD}kind: VirtualService\nmetadata: {{name: {host}}}\nspec: {{hosts: [{host}], http: [{http}]}}\n"
    )


def at(port: int, limit: int) -> str:
    return f"{{port: {{number: {port}}}, connectionPool: {{tcp: {{maxConnections: {limit}}}}}}}"


def compiled(text: str, default_service: str | None = None) -> Compiled:
    return compile_documents(parse_text(text), Identity("caller"), default_service=default_service)


def key(made: Compiled, host: str) -> str:
    route = made.table.match(host, b"GET", b"/", ())
    assert route is not None
    return route.upstream


def active(made: Compiled, upstream: str) -> int:
    return made.destination(upstream).policy.bulkhead.max_active


TWO = rule(
    "connectionPool: {tcp: {maxConnections: 7, connectTimeout: 3s}}, loadBalancer: {simple: RANDOM},"
    f" portLevelSettings: [{at(80, 1)}, {at(9080, 2)}]",
    "{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}, trafficPolicy: "
    f"{{connectionPool: {{tcp: {{maxConnections: 5}}}}, portLevelSettings: [{at(9080, 3)}]}}}}",
)


def test_what_a_port_says_stands_alone() -> None:
    """Nothing is inherited by it; a subset's policy comes after the service's port, its own port last."""
    made = compiled(TWO)
    whole, port = made.destination("orders").policy, made.destination("orders||9080").policy
    assert (whole.bulkhead.max_active, whole.connection.connect_timeout_s) == (7, 3.0)
    assert (port.bulkhead.max_active, port.connection.connect_timeout_s) == (2, 0.5)
    assert (whole.balance.kind, port.balance.kind) == ("random", "peak_ewma")
    assert {name: active(made, name) for name in made.destinations} == {
        "orders": 7,
        "orders||80": 1,
        "orders||9080": 2,
        "orders|v1": 7,
        "orders|v1|80": 1,
        "orders|v1|9080": 2,
        "orders|v2": 5,
        "orders|v2|80": 5,
        "orders|v2|9080": 3,
    }
    assert made.destination("orders|v2|9080").labels == {"version": "v2"}


@pytest.mark.parametrize(
    ("host", "upstream"),
    [("orders", "orders||80"), ("orders:80", "orders||80"), ("orders:9080", "orders||9080"),
     ("orders:81", "orders")],
)  # fmt: skip
@pytest.mark.parametrize("rules", ["", service("{route: [{destination: {host: orders}}]}")])
def test_the_port_that_a_request_names(rules: str, host: str, upstream: str) -> None:
    """80 if none, with and without rules for the host; what a request may get, the table knows."""
    made = compiled(TWO + rules)
    assert key(made, host) == upstream
    assert made.table.reaches(upstream) or upstream in made.table.upstreams()


def test_the_port_that_a_route_names() -> None:
    """It decides alone, for splits and copies too; the arms that name none go by the request."""
    made = compiled(
        TWO
        + service(
            "{route: [{destination: {host: orders, subset: v1, port: {number: 9080}}, weight: 1},"
            " {destination: {host: orders, subset: v2}, weight: 1}],"
            " mirror: {host: orders, port: {number: 80}}}"
        )
    )
    assert {key(made, "orders:9080") for _ in range(20)} == {"orders|v1|9080", "orders|v2|9080"}
    assert {key(made, "orders") for _ in range(20)} == {"orders|v1|9080", "orders|v2|80"}
    assert {key(made, "orders:81") for _ in range(20)} == {"orders|v1|9080", "orders|v2"}
    assert {"orders||80", "orders|v1|9080", "orders|v2"} <= made.table.upstreams()


def test_the_only_port_of_another_service() -> None:
    """The request names a port of its own host; the service behind has the one that its rule names."""
    only = rule(f"portLevelSettings: [{at(9080, 2)}]")
    made = compiled(only + service("{route: [{destination: {host: orders}}]}", host="front"))
    assert {key(made, host) for host in ("front", "front:8080", "orders", "orders:9080")} == {"orders||9080"}
    assert key(made, "orders:81") == "orders"
    edge = compiled(only, default_service="orders")
    assert key(edge, "localhost:15001") == "orders||9080"


def test_a_port_is_there_once() -> None:
    with pytest.raises(DocumentError, match="portLevelSettings: port 80 is there twice"):
        compiled(rule(f"portLevelSettings: [{at(80, 1)}, {at(80, 2)}]"))


def test_warnings_know_ports() -> None:
    """A route's port that nothing depends on, and limits that are never reached."""
    texts = rule(f"portLevelSettings: [{at(80, 9000)}]") + service(
        "{route: [{destination: {host: orders, port: {number: 80}}, weight: 1},"
        " {destination: {host: orders, port: {number: 81}}, weight: 1}]}"
    )
    found = [str(problem) for problem in lint(parse_text(texts))]
    assert len(found) == 2
    assert "portLevelSettings[0].connectionPool.tcp.maxConnections: is never reached" in found[0]
    assert "route[1].destination.port: chooses nothing" in found[1]
