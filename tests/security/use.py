"""What a sidecar does with a set that it takes, without a socket: every part of it is asked once."""

import asyncio
import random
from collections.abc import Coroutine, Sequence
from typing import Any

from sidecar.boundary import Boundary
from sidecar.policy.adaptive import AdaptiveLimit
from sidecar.policy.fallback import last_good_for
from sidecar.policy.fault import FaultInjector
from sidecar.policy.rate_limit import RateLimiter
from sidecar.resolver import Resolver
from sidecar.routing.compile import compile_documents
from sidecar.routing.compiled import Compiled, Identity
from sidecar.routing.documents import Document
from sidecar.routing.outside import port_of
from sidecar.stack import Upstream
from sidecar.whereabouts import Whereabouts

IDENTITIES = (
    Identity(),
    Identity("gateway", "gateway-1", "v1"),
    Identity("orders", "orders-1", "v1"),
)
HEADERS = [
    (b"Host", b"orders"), (b"x-user", b"ann.b@example.com"), (b"x-seen", b""), (b"cookie", b"a=1; session=2"),
    (b"origin", b"https://x.b.example"), (b"access-control-request-method", b"GET"),
    (b"x-bytes", b"\xff\xe9\x80"), (b"x-envoy-peer-metadata-id", b"gateway-1~gateway~v1"),
]  # fmt: skip
OUTSIDE = (
    "api.example.com",
    "x.api.example.com:8080",
    "240.0.0.7",
    "10.9.1.2",
    "a.example.org:80",
    "a|b@c:d",
)
REQUESTS = (
    (b"GET", b"/api/x?page=1&user=%ff"),
    (b"OPTIONS", b"/v2/" + b"a" * 200),
    (b"POST", b"/old/a/b?x"),
    (b"GET", b"/moved"),
)


def _nobody(question: Coroutine[Any, Any, None], name: str) -> None:
    raise AssertionError("nobody asks DNS")


def use(documents: Sequence[Document]) -> None:
    """Compile for each kind of sidecar and serve some requests; DocumentError is for the caller."""
    for identity in IDENTITIES:
        _serve(compile_documents(documents, identity, rng=random.Random(1)))


def _serve(made: Compiled) -> None:
    rng = random.Random(1)
    for destination in made.destinations.values():
        upstream = Upstream(destination.key, destination.policy, lambda _: None, "a-1", lambda: 0.0, rng)
        upstream.start()
        upstream.snapshot()
        last_good_for(destination.policy.fallback, lambda: 0.0)
    injector = FaultInjector(lambda: 0.0, rng)
    injector.replace(made.inbound.faults)
    limiters = [RateLimiter(rule.policy, lambda: 0.0) for rule in made.inbound.rate_limits]
    if made.inbound.concurrency is not None:
        AdaptiveLimit(made.inbound.concurrency, lambda: 0.0)
    where = Whereabouts(Resolver(_nobody), Boundary(lambda: ["127.0.0.1:15000"]), asyncio.sleep)
    for host in (*OUTSIDE, *made.outside.names()):
        for method, target in REQUESTS[:2]:
            _route(made, host, method, target, rng)
        key = made.outside.find(host.partition(":")[0], "", port_of(host))
        entry = None if key is None else made.destination(key).entry
        if entry is not None:
            where.at_once(entry)
    for host in ("orders", "a.shop.example:80", "users"):
        for method, target in REQUESTS:
            _route(made, host, method, target, rng)
    for method, target in REQUESTS:
        injector.draw(method, target, HEADERS, b"id", b"orders")
        for rule, limiter in zip(made.inbound.rate_limits, limiters, strict=True):
            any(match.matches(method, target, HEADERS, b"orders") for match in rule.matches)
            limiter.admit("gateway")
    injector.snapshot()
    made.table.describe()
    made.table.upstreams()
    made.connections.describe()
    for name in (None, "", "orders", "a.shop.example"):
        key = made.connections.route("orders", 5432, name)
        if key is not None:
            made.destination(key)


def _route(made: Compiled, host: str, method: bytes, target: bytes, rng: random.Random) -> None:
    route = made.table.match(host, method, target, HEADERS, "10.0.0.1")
    if route is None:
        return
    lines: list[bytes] = []
    if route.rewrite is not None and route.rewrite.fits(target):
        lines += [route.rewrite.target(target), route.rewrite.authority or b""]
    if route.redirect is not None:
        lines.append(route.redirect.location("http", host, target))
    fields: list[Any] = []
    if route.cors is not None:
        fields += route.cors.preflight(method, HEADERS) or ()
        fields += route.cors.answer(HEADERS)
    fields += route.request_headers.apply(HEADERS) + route.response_headers.apply(HEADERS)
    lines += [b"%b: %b" % pair for pair in fields]
    for operations in (route.request_headers, route.response_headers):
        lines += [line.removesuffix(b"\r\n") for line in operations.lines]
    for upstream in (route.upstream, *route.mirrored(rng), route.again({route.upstream}, rng).upstream):
        made.destination(upstream)
        lines.append(upstream.encode())
    for line in lines:
        assert not {0, 10, 13} & set(line), line
