"""From documents to one table and its destinations: the documents of Istio's tutorials, and what is
refused.
"""

import math
import random
import re
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.io.listener import MAX_CONNECTIONS
from sidecar.policy.fault import Action
from sidecar.policy.hash_key import HashKey, NewCookie
from sidecar.policy.http_fault import HttpFault
from sidecar.policy.locality_policy import LocalityPolicy
from sidecar.policy.outlier_detection import OutlierPolicy
from sidecar.policy.settings import UpstreamPolicy
from sidecar.routing.compile import compile_documents, version_of
from sidecar.routing.compiled import Compiled, Identity, nothing
from sidecar.routing.documents import parse_document, parse_text
from sidecar.routing.errors import DocumentError
from sidecar.routing.fields import PROGRAMS_MAX
from sidecar.routing.lint import CLIENTS_MAX, lint
from sidecar.routing.route import Route

REVIEWS = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy:
    loadBalancer: {simple: RANDOM}
    connectionPool:
      tcp: {maxConnections: 1, connectTimeout: 30ms}
      http: {http1MaxPendingRequests: 1, maxRequestsPerConnection: 1}
    outlierDetection: {consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 3m, maxEjectionPercent: 100}
  subsets:
  - name: v1
    labels: {version: v1}
  - name: v2
    labels: {version: v2}
    trafficPolicy:
      loadBalancer: {simple: ROUND_ROBIN}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews.default.svc.cluster.local]
  http:
  - name: jason
    match:
    - headers: {end-user: {exact: jason}}
    - uri: {prefix: /beta}
      sourceLabels: {app: gateway}
    rewrite: {uri: /api}
    route:
    - destination: {host: reviews, subset: v2}
    fault:
      delay: {fixedDelay: 7s, percentage: {value: 100}}
      abort: {httpStatus: 418, percentage: {value: 5}}
  - route:
    - destination: {host: reviews, subset: v1}
      weight: 90
      headers: {response: {add: {x-arm: stable}}}
    - destination: {host: reviews, subset: v2}
      weight: 10
    timeout: 2s
    retries: {attempts: 3, perTryTimeout: 500ms, retryOn: "gateway-error,connect-failure,500"}
    headers: {request: {set: {x-by: mesh}}}
    mirror: {host: reviews, subset: v2}
    mirrorPercentage: {value: 10}
"""


def compiled(text: str, identity: Identity | None = None) -> Compiled:
    """For the gateway's sidecar, unless said otherwise."""
    return compile_documents(
        parse_text(text), identity or Identity("gateway", "gateway-1", "v1"), rng=random.Random(5)
    )


def ingress(text: str) -> Compiled:
    """The same for an ingress whose own service is `web`."""
    return compile_documents(parse_text(text), Identity(), default_service="web", rng=random.Random(5))


def route(made: Compiled, path: bytes = b"/", **headers: str) -> Route:
    """Where a GET to reviews goes."""
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    found = made.table.match("reviews", b"GET", path, pairs)
    assert found is not None
    return found


def refused(text: str) -> str:
    """The problems of a set that must be refused."""
    with pytest.raises(DocumentError) as caught:
        compiled(text)
    return str(caught.value)


def test_a_destination_rule_becomes_settings() -> None:
    """Every field has its place; subsets inherit by block, and replace a block whole."""
    made = compiled(REVIEWS)
    policy = made.destination("reviews").policy
    assert (policy.bulkhead.max_active, policy.bulkhead.max_pending) == (1, 1)
    assert policy.bulkhead.max_wait_s == math.inf  # Envoy's queue has no clock
    assert policy.connection.connect_timeout_s == 0.03
    assert policy.connection.max_requests == 1
    assert policy.outlier == OutlierPolicy(errors_5xx=1, interval_s=1.0, base_s=180.0, max_percent=100)
    assert not policy.breaker.enabled, "the document's rules stand in its place"
    both = "{name: reviews, annotations: {mesh/breaker: '{failureRun: 9}'}}"
    beside = compiled(REVIEWS.replace("{name: reviews}", both, 1))
    breaker = beside.destination("reviews").policy.breaker
    assert (breaker.enabled, breaker.failure_run) == (True, 9)
    assert policy.balance.kind == "random"
    v2 = made.destination("reviews|v2")
    assert v2.policy.balance.kind == "round_robin"
    assert v2.policy.bulkhead.max_active == 1
    assert (v2.service, v2.labels, v2.when_empty) == ("reviews", {"version": "v2"}, "reject")
    assert made.destination("orders").policy == UpstreamPolicy()


LOCALITY = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: orders}
spec:
  host: orders
  trafficPolicy:
    outlierDetection: {}
    loadBalancer:
      localityLbSetting: %s
"""


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("{}", LocalityPolicy()),
        ("{enabled: false}", None),
        ("{failover: [{from: eu, to: us}]}", LocalityPolicy(failover=(("eu", "us"),))),
        ("{failoverPriority: [tier, zone=a]}", LocalityPolicy(failover_priority=("tier", "zone=a"))),
        (
            "{distribute: [{from: eu/*, to: {eu/*: 80, us/*: 20}}]}",
            LocalityPolicy(distribute=(("eu/*", (("eu/*", 80), ("us/*", 20))),)),
        ),
    ],
)
def test_localities_of_a_rule(block: str, expected: LocalityPolicy | None) -> None:
    """As the document says; who is near comes first wherever there is outlier detection, as in Istio."""
    policy = compiled(LOCALITY % block).destination("orders").policy
    assert policy.balance.locality == expected
    alone = LOCALITY.replace("    loadBalancer:\n      localityLbSetting: %s\n", "")
    assert compiled(alone).destination("orders").policy.balance.locality == LocalityPolicy()


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (
            "{distribute: [{from: a, to: {a: 90}}]}",
            "the shares must be 100 in all, each 1 or more; they are 90",
        ),
        ("{distribute: [{from: a, to: {a: 100}}], failoverPriority: [b]}", "not both, as in Istio"),
        ("{failover: [{from: eu/a/b/c, to: us}]}", "failover[0].from"),
    ],
)
def test_localities_that_cannot_be(block: str, words: str) -> None:
    assert words in refused(LOCALITY % block)


def test_rules_are_matched_in_order_and_split() -> None:
    """The canary of the tutorial: jason goes to v2, of the others one in ten."""
    made = compiled(REVIEWS)
    assert route(made, end_user="jason").upstream == "reviews|v2"
    counts = Counter(route(made).upstream for _ in range(5000))
    assert abs(counts["reviews|v2"] - 500) < 3 * (5000 * 0.09) ** 0.5
    stable = next(found for found in (route(made) for _ in range(99)) if found.upstream == "reviews|v1")
    assert stable.timeout_s == 2.0
    assert stable.retry is not None
    assert (stable.retry.max_attempts, stable.retry.per_try_s) == (4, 0.5)
    assert stable.retry.statuses == {500}
    assert stable.request_headers.set == ((b"x-by", b"mesh"),)
    assert stable.response_headers.add == ((b"x-arm", b"stable"),)
    assert (stable.mirrors[0].upstream, stable.mirrors[0].percent) == ("reviews|v2", 10.0)
    assert stable.again({"reviews|v1"}, random.Random(1)).upstream == "reviews|v2"


def test_a_rewrite_belongs_to_the_match_that_was_met() -> None:
    """By prefix only the prefix goes, otherwise the path from `/`; rules for other callers are left out."""
    made = compiled(REVIEWS)
    by_prefix = route(made, b"/beta/x").rewrite
    by_header = route(made, b"/old", end_user="jason").rewrite
    assert by_prefix is not None
    assert by_header is not None
    assert by_prefix.target(b"/beta/x?q") == b"/api/x?q"
    assert by_header.target(b"/old") == b"/apiold"
    other = compiled(REVIEWS, Identity("users", "users-1"))
    assert route(other, b"/beta/x").name == "reviews/1"


def at_callee(text: str, name: str) -> str:
    """The document with its faults where `mesh fault` puts them."""
    kind, _, rest = text.partition("kind: VirtualService\n")
    notes = "{mesh/fault-at: callee}"
    changed = rest.replace(
        f"metadata: {{name: {name}}}", f"metadata: {{name: {name}, annotations: {notes}}}", 1
    )
    assert changed != rest
    return f"{kind}kind: VirtualService\n{changed}"


def test_a_fault_sits_at_the_caller() -> None:
    """As in Istio; the called service's own sidecars hear nothing of it."""
    table = compiled(REVIEWS).table
    route = table.match("reviews", b"GET", b"/reviews/x", [(b"end-user", b"jason")])
    assert route is not None
    assert route.fault == HttpFault(7.0, 100.0, 418, 5.0)
    plain = table.match("reviews", b"GET", b"/reviews/x", [])
    assert plain is not None
    assert plain.fault is None
    assert compiled(REVIEWS, Identity("reviews", "reviews-2", "v2")).inbound.faults == ()


def test_a_fault_sits_at_the_called_service_behind_the_rewrite() -> None:
    """Where the document says so: at v2 only, for the requests as they arrive there, for that caller."""
    text = at_callee(REVIEWS, "reviews")
    (by_header, by_source) = compiled(text, Identity("reviews", "reviews-2", "v2")).inbound.faults
    assert by_header.match is not None
    assert by_source.match is not None
    assert by_header.delay is not None
    assert (by_header.delay.mean_s, by_header.delay_percent) == (7.0, 100.0)
    assert (by_header.action, by_header.action_percent, by_header.status) == (Action.ABORT, 5.0, 418)
    peer = [(b"x-envoy-peer-metadata-id", b"gateway-1~gateway~v1")]
    assert by_source.match.matches(b"GET", b"/api/x", peer)
    assert not by_source.match.matches(b"GET", b"/beta/x", peer)
    assert not by_source.match.matches(b"GET", b"/api/x", [])
    assert compiled(text, Identity("reviews", "reviews-1", "v1")).inbound.faults == ()
    assert compiled(text).inbound.faults == ()


def test_a_rule_without_fault_shields_its_requests() -> None:
    """The first rule in order decides at the called service too."""
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: orders}
spec:
  hosts: [orders]
  http:
  - match: [{headers: {x-safe: {exact: "1"}}}]
    route: [{destination: {host: orders}}]
  - route: [{destination: {host: orders}}]
    fault: {abort: {httpStatus: 500, percentage: {value: 100}}}
"""
    text = at_callee(text, "orders")
    names = [rule.action for rule in compiled(text, Identity("orders", "orders-1")).inbound.faults]
    assert names == [Action.NONE, Action.ABORT]


FAULT = """
apiVersion: mesh/v1
kind: Fault
metadata: {name: slow}
spec:
  host: orders
  instance: orders-2
  delay: {duration: 50ms, shape: lognormal, percentage: 50}
  action: slow-body
  percentage: 10
  bytesPerSecond: 100
  ttl: 1m
"""


def test_an_operators_fault_is_for_one_instance_and_ends() -> None:
    """Others do not see it."""
    (rule,) = compiled(FAULT, Identity("orders", "orders-2")).inbound.faults
    assert (rule.name, rule.action, rule.action_percent, rule.ttl_s) == ("slow", Action.SLOW_BODY, 10.0, 60.0)
    assert compiled(FAULT, Identity("orders", "orders-1")).inbound.faults == ()


NOTES = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: orders
  annotations:
    mesh/breaker: "{failureRatio: 40, openTime: 60s, ramp: [10, 50], minReady: 0, enabled: true}"
    mesh/admission: "{k: 1.5, cap: 80}"
    mesh/hedge: "{quantile: 99}"
    mesh/fallback: "{static: {status: 203, body: '[]'}}"
    mesh/rate-limit: |
      {total: {rate: 100}, perCaller: {rate: 10, burst: 20},
       overrides: {gateway: {rate: 50}}}
    mesh/concurrency: "{initial: 20, ceiling: 40}"
    mesh/empty-subset: any
    mesh/max-wait: 250ms
    mesh/early-hedge: "false"
spec:
  host: orders
  trafficPolicy:
    loadBalancer: {consistentHash: {httpHeaderName: x-user}, localityLbSetting: {enabled: true}}
    retryBudget: {percent: 10, minRetryConcurrency: 5, budgetInterval: 20s}
  subsets: [{name: v2, labels: {version: v2}}]
"""


def test_annotations_reach_their_settings() -> None:
    """On the callers' side, and on the called service's own."""
    made = compiled(NOTES)
    policy = made.destination("orders").policy
    assert policy.breaker.failure_ratio == 0.4
    assert (policy.breaker.open_s, policy.breaker.open_max_s) == (60.0, 60.0)
    assert (policy.breaker.ramp, policy.breaker.min_ready) == ((0.1, 0.5), 0.0)
    assert (policy.admission.k, policy.admission.cap) == (1.5, 0.8)
    assert (policy.hedge.enabled, policy.hedge.quantile) == (True, 0.99)
    assert policy.fallback is not None
    assert policy.fallback.static is not None
    assert policy.fallback.static.body == b"[]"
    assert (policy.budget.ratio, policy.budget.window_s, policy.budget.reserve_per_s) == (0.1, 20.0, 5.0)
    assert (policy.balance.kind, policy.balance.locality) == ("ring_hash", LocalityPolicy())
    assert policy.bulkhead.max_wait_s == 0.25
    assert not policy.early_hedge
    assert made.destination("orders|v2").when_empty == "any"
    found = made.table.match("orders", b"GET", b"/", ())
    assert found is not None
    assert found.hash_key is not None
    assert made.inbound.rate_limits == ()
    own = compiled(NOTES, Identity("orders", "orders-1")).inbound
    assert own.rate_limits[0].policy.overrides["gateway"].per_s == 50
    assert own.rate_limits[0].policy.total is not None
    assert own.rate_limits[0].policy.total.burst == 100
    assert own.concurrency is not None
    assert own.concurrency.ceiling == 40


@pytest.mark.parametrize(
    ("words", "kind", "key"),
    [
        ("useSourceIp: true", "ring_hash", HashKey("source")),
        ("useSourceIp: true, minimumRingSize: 99", "ring_hash", HashKey("source", "", 99)),
        (
            "httpHeaderName: x-a, ringHash: {minimumRingSize: 5000}",
            "ring_hash",
            HashKey("header", "x-a", 5000),
        ),
        ("httpQueryParameterName: q, maglev: {}", "maglev", HashKey("query", "q", table_size=65_537)),
        ("useSourceIp: true, maglev: {tableSize: 1009}", "maglev", HashKey("source", table_size=1009)),
        ("httpCookie: {name: c}", "ring_hash", HashKey("cookie", "c")),
        ("httpCookie: {name: c, ttl: 0s}", "ring_hash", HashKey("cookie", "c", new=NewCookie(0.0))),
        (
            "httpCookie: {name: c, ttl: 1h, path: /a, attributes: [{name: Secure}]}",
            "ring_hash",
            HashKey("cookie", "c", new=NewCookie(3600.0, "/a", (("Secure", ""),))),
        ),
    ],
)
def test_what_is_hashed_and_how(words: str, kind: str, key: HashKey) -> None:
    """Each of the four things, on a ring or by a table, with a cookie that is made or not."""
    spec = f"{{host: a, trafficPolicy: {{loadBalancer: {{consistentHash: {{{words}}}}}}}}}"
    head = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}"
    balance = compiled(f"{head}\nspec: {spec}").destination("a").policy.balance
    assert (balance.kind, balance.hash_key) == (kind, key)


@pytest.mark.parametrize(
    ("pool", "http", "tcp"),
    [
        ("tcp: {idleTimeout: 90s}", 90.0, 90.0),
        ("tcp: {idleTimeout: 24h}", 3600.0, 86_400.0),
        ("tcp: {idleTimeout: 0s}", 3600.0, 0.0),
        ("tcp: {idleTimeout: 24h}, http: {idleTimeout: 5s}", 5.0, 86_400.0),
        ("http: {idleTimeout: 5s}", 5.0, None),
        ("tcp: {tcpKeepalive: {}}", 4.0, None),
    ],
)
def test_idle_times(pool: str, http: float, tcp: float | None) -> None:
    """TCP's counts for HTTP where that has none of its own; a day is for TCP services, 0s is no limit."""
    head = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}"
    made = compiled(f"{head}\nspec: {{host: a, trafficPolicy: {{connectionPool: {{{pool}}}}}}}")
    connection = made.destination("a").policy.connection
    assert (connection.idle_timeout_s, connection.tcp_idle_timeout_s) == (http, tcp)
    assert (connection.keep_alive is not None) == ("tcpKeepalive" in pool)


@pytest.mark.parametrize(
    ("warmup", "shares"),
    [
        ("warmup: {duration: 60s}", {0: 0.1, 2: 0.1, 10: 0.5, 19: 0.95}),
        ("warmup: {duration: 60s, minimumPercent: 30}", {0: 0.3, 6: 0.3, 10: 0.5}),
        ("warmup: {duration: 60s, aggression: 2}", {0: 0.1, 5: 0.5, 19: 0.95**0.5}),
        ("warmup: {duration: 60s, aggression: 0.5, minimumPercent: 0}", {0: 0.01, 10: 0.25}),
        ("warmupDurationSecs: 60s", {0: 0.1, 10: 0.5}),
    ],
)
def test_a_warmup_is_envoys_curve(warmup: str, shares: dict[int, float]) -> None:
    """max(minimum, t ^ (1 / aggression)) in twenty steps, each a weight."""
    head = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}"
    spec = f"{{host: a, trafficPolicy: {{loadBalancer: {{simple: ROUND_ROBIN, {warmup}}}}}}}"
    policy = compiled(f"{head}\nspec: {spec}").destination("a").policy
    assert policy.balance.ramp_weighs
    assert (policy.breaker.ramp_s, len(policy.breaker.ramp)) == (60.0, 20)
    assert {step: policy.breaker.ramp[step] for step in shares} == pytest.approx(shares)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("string: héllo", "héllo".encode()),
        ("bytes: AP8B", b"\x00\xff\x01"),
        ("bytes: '-_8='", b"\xfb\xff"),
        ("bytes: 'YQ'", b"a"),
    ],
)
def test_the_body_of_a_direct_response(body: str, expected: bytes) -> None:
    """Text, or bytes in base64; and the set still has a version."""
    head = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}"
    made = compiled(
        f"{head}\nspec: {{hosts: [a], http: [{{directResponse: {{status: 200, body: {{{body}}}}}}}]}}"
    )
    found = made.table.match("a", b"GET", b"/", ())
    assert found is not None
    assert found.direct is not None
    assert found.direct.body == expected


@pytest.mark.parametrize(
    ("limits", "pooled"),
    [
        ("tcp: {maxConnections: 1024}", True),
        ("http: {http2MaxRequests: 7}", True),
        ("tcp: {connectTimeout: 1s}", False),
    ],
)
@pytest.mark.parametrize(
    "where", ["trafficPolicy: {P}", "subsets: [{name: a, labels: {}, trafficPolicy: {P}}]"]
)
def test_the_callee_knows_that_a_rule_limits_its_callers(limits: str, pooled: bool, where: str) -> None:
    """Its own limit, which no document sets, gives way; that of another service is none of its business."""
    head = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: orders}\n"
    spec = where.replace("{P}", f"{{connectionPool: {{{limits}}}}}")
    text = f"{head}spec: {{host: orders, {spec}}}\n"
    assert compiled(text, Identity("orders", "orders-1")).inbound.pooled == pooled
    assert not compiled(text).inbound.pooled


def test_how_large_a_copied_body_may_be() -> None:
    """A megabyte, or what the document says."""
    assert route(compiled(REVIEWS)).mirror_max_body == 1024 * 1024
    noted = REVIEWS.replace(
        "kind: VirtualService\nmetadata: {name: reviews}",
        "kind: VirtualService\nmetadata: {name: reviews, annotations: {mesh/mirror-max-body: 64 KiB}}",
    )
    assert route(compiled(noted)).mirror_max_body == 65_536
    assert "mesh/mirror-max-body" in refused(noted.replace("64 KiB", "65 MiB"))


BOUND = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.test]
  gateways: [public, mesh]
  http:
  - match: [{uri: {prefix: /inner}, gateways: [mesh]}]
    route: [{destination: {host: inner}}]
  - match: [{uri: {prefix: /outer}, gateways: [public]}]
    route: [{destination: {host: outer}}]
  - route: [{destination: {host: orders}}]
"""


def test_gateways_mean_the_ingress() -> None:
    """A document for a named gateway is for the ingress only, one without for the sidecars."""
    text = REVIEWS.replace(
        "hosts: [reviews.default.svc.cluster.local]", "hosts: ['*']\n  gateways: [bookinfo]"
    )
    assert compiled(text).table.describe()["hosts"] == {}
    at_ingress = ingress(text)
    found = at_ingress.table.match("anything", b"GET", b"/", [(b"end-user", b"jason")])
    assert found is not None
    assert found.upstream == "reviews|v2"


@pytest.mark.parametrize(
    ("host", "path", "sidecar", "edge"),
    [
        ("shop.test", b"/inner", "inner", "orders"),
        ("shop.test", b"/outer", "orders", "outer"),
        ("shop.test", b"/", "orders", "orders"),
        ("orders", b"/", "orders", "web"),
    ],
)
def test_a_match_may_be_for_the_ingress_or_for_the_sidecars(
    host: str, path: bytes, sidecar: str, edge: str
) -> None:
    """As its own `gateways` say."""
    for made, wanted in ((compiled(BOUND), sidecar), (ingress(BOUND), edge)):
        found = made.table.match(host, b"GET", path, ())
        assert found is not None
        assert found.upstream == wanted


@pytest.mark.parametrize("gateways", ["", "  gateways: [mesh]\n", "  gateways: [public]\n"])
def test_the_default_services_document_acts_at_the_ingress(gateways: str) -> None:
    """Whoever it is bound to: all requests there are requests to that service."""
    text = BOUND.replace("  gateways: [public, mesh]\n", gateways).replace("shop.test", "web.mesh")
    for host in ("127.0.0.1:8080", "web", "orders"):
        found = ingress(text).table.match(host, b"GET", b"/", ())
        assert found is not None
        assert found.upstream == "orders"


def test_a_pattern_is_no_short_form() -> None:
    """`*.mesh` means hosts that end so, not every host."""
    text = BOUND.replace("shop.test", "'*.mesh'")
    assert set(compiled(text).table.describe()["hosts"]) == {"*.mesh"}  # type: ignore[call-overload]
    found = ingress(text).table.match("x.test", b"GET", b"/", ())
    assert found is not None
    assert found.upstream == "web"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("x-by: mesh", "content-length: '1'"), "belongs to the connection"),
        (("x-by: mesh", "Host: 'a b'"), "set.Host: is no authority: it is HOST or HOST:PORT"),
        (("x-by: mesh", "'a b': x"), "'a b' is no header name"),
        (("x-by: mesh", 'x-by: "a\\nb"'), "characters that no header may have"),
        (("gateway-error,connect", "retriable-headers,connect"), "'retriable-headers' is not honoured"),
        (("gateway-error,connect", "gateway-eror,connect"), "'gateway-eror' is unknown; known are"),
        (("connect-failure,500", "connect-failure,304"), "304 is no failure of the service"),
        (
            ("hosts: [reviews.default.svc.cluster.local]", "hosts: ['a.*.b']"),
            "only * and *.domain are patterns",
        ),
        (("  host: reviews\n", "  host: 're*'\n"), "only * and *.domain are patterns"),
        (("{name: reviews}\nspec:\n  hosts", "{name: other}\nspec:\n  hosts"), ""),
    ],
)
def test_a_set_that_cannot_work_is_refused_whole(change: tuple[str, str], words: str) -> None:
    """With the path; another document's name is no problem."""
    text = REVIEWS.replace(*change)
    assert text != REVIEWS
    if words:
        assert words in refused(text)
    else:
        compiled(text)


def test_a_fallback_must_lead_elsewhere() -> None:
    """Not to itself; a subset that nobody defines is no answer either, but may come."""
    note = "mesh/fallback: \"{static: {status: 203, body: '[]'}}\""
    assert "is the service itself" in refused(NOTES.replace(note, 'mesh/fallback: "{host: orders}"'))
    later = compiled(NOTES.replace(note, 'mesh/fallback: "{host: orders, subset: v9}"'))
    assert not later.defines("orders|v9")
    made = compiled(NOTES.replace(note, 'mesh/fallback: "{host: orders, subset: v2}"'))
    fallback = made.destination("orders").policy.fallback
    assert fallback is not None
    assert fallback.upstream == "orders|v2"


def identities(text: str) -> list[Identity]:
    """A sidecar of each service and version in a text, and the ingress."""
    services = set(re.findall(r"host: ([a-z]+)", text))
    return [
        Identity(),
        *(Identity(s, f"{s}-2", version) for s in sorted(services) for version in ("v1", "v2")),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (REVIEWS, ""),
        (NOTES, ""),
        (FAULT, ""),
        (NOTES.replace("rate: 10,", "rate: 0.0001,"), "must be between 0.001 and"),
        (NOTES.replace("initial: 20", "initial: 2"), "adaptive"),
        (FAULT.replace("ttl: 1m", "ttl: 1ms"), "fault.ttl"),
        (FAULT.replace("duration: 50ms", "duration: 90s"), "fault.delay"),
        (REVIEWS.replace("fixedDelay: 7s", "fixedDelay: 70s"), "fault.delay"),
    ],
)
def test_the_check_for_all_finds_what_any_sidecar_would(text: str, words: str) -> None:
    """In one pass: the called service's own part is refused there only, and there is a service per route."""
    documents = parse_text(text)

    def problems(identity: Identity | None) -> set[str]:
        try:
            compile_documents(documents, identity)
        except DocumentError as error:
            return {str(problem) for problem in error.problems}
        return set()

    found = problems(None)
    assert bool(found) == bool(words)
    assert all(words in problem for problem in found)
    assert found == set().union(*map(problems, identities(text)))


def test_routes_are_counted_before_any_is_made() -> None:
    """Hundreds of arms for each of hundreds of matches, or hundreds of rules for each of a thousand hosts."""
    arms = [{"destination": {"host": "reviews"}, "weight": 1}] * 300
    matches = [{"uri": {"prefix": f"/{number}/"}} for number in range(300)]
    many = {"match": matches, "route": arms, "rewrite": {"uri": "/x/"}}
    hosts = [f"h{number}" for number in range(1000)]
    for spec in (
        {"hosts": ["reviews"], "http": [many]},
        {"hosts": hosts, "http": [{"match": [one], "route": arms[:1]} for one in matches]},
    ):
        document = parse_document(
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "VirtualService",
                "metadata": {"name": "many"},
                "spec": spec,
            }
        )
        with pytest.raises(
            DocumentError, match=r"VirtualService/many: spec.http: .* more than 50,000 routes"
        ):
            compile_documents([document], None)


def test_the_expressions_of_several_documents_count_together() -> None:
    """Each is within the bound; the set is not."""
    document = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "spec": {
            "hosts": ["a"],
            "http": [
                {
                    "match": [{"uri": {"regex": rf"(?:\pL{{25}}){n}"}} for n in range(20)],
                    "route": [REVIEWS_ARM],
                }
            ],
        },
    }
    documents = []
    for name in ("a", "b"):
        spec = {**document["spec"], "hosts": [name]}  # type: ignore[dict-item]  # it is a mapping
        documents.append(parse_document({**document, "metadata": {"name": name}, "spec": spec}))
    assert PROGRAMS_MAX // 2 < documents[0].programs < PROGRAMS_MAX
    compile_documents(documents[:1], None)
    with pytest.raises(DocumentError, match="VirtualService/b: spec: the expressions of the set take more"):
        compile_documents(documents, None)


def test_the_version_is_the_sets() -> None:
    """The same in any order, another one for another set."""
    documents = parse_text(REVIEWS)
    assert version_of(documents) == version_of(documents[::-1])
    assert version_of(documents) != version_of(documents[:1])


def test_redirects_and_direct_answers_need_no_upstream() -> None:
    """As Istio writes them."""
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: old}
spec:
  hosts: [old]
  http:
  - match: [{uri: {prefix: /moved}}]
    redirect: {uri: /new, authority: orders, redirectCode: 308}
  - directResponse: {status: 503, body: {string: "closed"}}
"""
    made = compiled(text)
    moved = made.table.match("old", b"GET", b"/moved", ())
    closed = made.table.match("old", b"GET", b"/x", ())
    assert moved is not None
    assert moved.redirect is not None
    assert (moved.redirect.code, moved.redirect.location("http", "old", b"/moved")) == (
        308,
        b"http://orders/new",
    )
    assert closed is not None
    assert closed.direct is not None
    assert (closed.direct.status, closed.direct.body) == (503, b"closed")


REVIEWS_ARM = {"destination": {"host": "reviews"}}
ALL = "- match: [{uri: {prefix: /}}]\n    route: [{destination: {host: reviews}}]\n  "


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("maxEjectionPercent: 100", "maxEjectionPercent: 10"), "10 % of 3 endpoints is less than one"),
        (("maxEjectionPercent: 100", "maxEjectionPercent: 0"), "the default, 10 %, of 3 endpoints is less"),
        ((", maxEjectionPercent: 100", ""), "the default, 10 %, of 3 endpoints is less"),
        (("consecutive5xxErrors", "consecutiveLocalOriginFailures"), "counts nothing without split"),
        (("maxEjectionPercent: 100", "maxEjectionPercent: 34"), ""),
        (("maxConnections: 1,", "maxConnections: 8193,"), "tcp.maxConnections: is never reached"),
        (
            ("{http1MaxPend", "{http2MaxRequests: 9000, http1MaxPend"),
            "http.http2MaxRequests: is never reached",
        ),
        (("subset: v1}\n      weight", "subset: v2}\n      weight"), "no route names the subset 'v1'"),
        (
            ("subset: v1}\n      weight", "subset: v9}\n      weight"),
            "spec.http[1].route[0].destination.subset: no DestinationRule for 'reviews' defines",
        ),
        (
            ("mirror: {host: reviews, subset: v2}", "mirror: {host: reviews, subset: v3}"),
            "spec.http[1].mirror.subset: no DestinationRule",
        ),
        (("weight: 10", "weight: 0"), "spec.http[1].route[1].weight: is 0"),
        (("perTryTimeout: 500ms", "perTryTimeout: 2s"), "is not below the timeout"),
        (("percentage: {value: 5}", "percentage: {value: 0}"), "it aborts nothing"),
        (("rewrite: {uri: /api}", "rewrite: {uri: /api/}"), "double slash"),
        (("uri: {prefix: /beta}", "uri: {regex: /b}\n      ignoreUriCase: true"), "is nothing to a regex"),
        (("subset: v2}\n    fault", "subset: v2, port: {number: 80}}\n    fault"), "chooses nothing"),
        (("mirrorPercentage: {value: 10}", "mirrorPercentage: {value: 0}"), "nothing is mirrored"),
        (("- name: jason", ALL + "- name: jason"), "spec.http[1]: can never match: spec.http[0] takes all"),
        (("host: reviews, subset: v1}", "host: nobody}"), "no service is named 'nobody'"),
        (("gateway-error,connect", "5xx,connect"), "a POST may run twice"),
        (('retryOn: "gateway-error,connect-failure,500"', "backoff: 1s"), ""),
        (('"gateway-error,connect-failure,500"', '"connect-failure,refused-stream"'), ""),
    ],
)
def test_warnings_for_what_can_never_act(change: tuple[str, str], words: str) -> None:
    """Right documents that do not do what their author thinks."""
    text = REVIEWS.replace(*change)
    found = [str(warning) for warning in lint(parse_text(text), {"reviews": 3, "gateway": 1})]
    if "retry" in "".join(change).lower() or "attempts" in change[0]:
        assert any("a POST may run twice" in warning for warning in found) is ("POST" in words)
    found = [warning for warning in found if "a POST may run twice" not in warning]
    if words and "POST" not in words:
        assert words in "\n".join(found)
    else:
        assert found == []


def canary(service: str, weight: int, subset: bool) -> str:
    """A rule set for one service that any change of it keeps reachable."""
    name = f"{{host: {service}, subset: v2}}" if subset else f"{{host: {service}}}"
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {service}}}
spec: {{host: {service}, subsets: [{{name: v2, labels: {{version: v2}}}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {service}}}
spec:
  hosts: [{service}]
  http:
  - match: [{{uri: {{prefix: /a}}}}]
    route: [{{destination: {name}}}]
  - route:
    - {{destination: {{host: {service}}}, weight: {100 - weight}}}
    - {{destination: {name}, weight: {weight}}}
"""


SETS = st.lists(
    st.tuples(st.sampled_from(["orders", "users"]), st.integers(0, 100), st.booleans()),
    max_size=2,
    unique_by=lambda entry: entry[0],
)


@settings(max_examples=60)
@given(st.lists(SETS, min_size=1, max_size=4), st.binary(max_size=4))
def test_no_swap_of_documents_leaves_a_service_without_a_route(
    sets: list[list[tuple[str, int, bool]]], tail: bytes
) -> None:
    """Before, between and after: every request to a service has a route, and every route a destination."""
    for chosen in sets:
        text = "---".join(canary(*entry) for entry in chosen)
        made = compile_documents(parse_text(text) if text else [], Identity("gateway", "gateway-1"))
        for host in ("orders", "users", "catalog"):
            found = made.table.match(host, b"GET", b"/" + tail, ())
            assert found is not None
            assert made.destination(found.upstream).service == host


def test_the_empty_set_is_the_same_with_and_without_the_models() -> None:
    """`nothing` exists so that a sidecar without documents never imports them."""
    lean, full = nothing(default_service="web"), compile_documents([], Identity("web"), default_service="web")
    assert lean.version == full.version == version_of([])
    assert lean.table.describe() == full.table.describe()
    assert (lean.inbound, lean.base, lean.destination("x")) == (
        full.inbound,
        full.base,
        full.destination("x"),
    )


def test_a_sidecar_without_documents_imports_no_models() -> None:
    """They would take 11 MB in each container."""
    code = "import sys, sidecar.__main__; print('pydantic' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


def test_what_a_listener_takes_is_what_the_warning_says() -> None:
    """The number is written down twice, for documents know nothing of sockets."""
    assert CLIENTS_MAX == MAX_CONNECTIONS


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("{http: {http1MaxPendingRequests: 7}}", (1024, 7, math.inf)),
        ("{tcp: {maxConnections: 3}}", (3, 2**31 - 1, math.inf)),
        ("{tcp: {maxConnections: 3}, http: {http1MaxPendingRequests: 0}}", (3, 2**31 - 1, math.inf)),
        ("{http: {http2MaxRequests: 3}}", (3, 0, math.inf)),
        (
            "{tcp: {maxConnections: 4}, http: {http2MaxRequests: 3, http1MaxPendingRequests: 9}}",
            (3, 0, math.inf),
        ),
        (
            "{tcp: {maxConnections: 3}, http: {http2MaxRequests: 3, http1MaxPendingRequests: 9}}",
            (3, 9, math.inf),
        ),
        ("{tcp: {connectTimeout: 1s}}", (1024, 64, 0.1)),
    ],
)
def test_a_queue_that_a_rule_speaks_of_is_as_long_as_it_says(
    pool: str, expected: tuple[int, int, float]
) -> None:
    """No limit but its own, in length or in time; 0 is not given. A limit of requests refuses at once."""
    text = f"""\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: svc}}
spec: {{host: svc, trafficPolicy: {{connectionPool: {pool}}}}}
"""
    bulkhead = compile_documents(parse_text(text), Identity()).destination("svc").policy.bulkhead
    assert (bulkhead.max_active, bulkhead.max_pending, bulkhead.max_wait_s) == expected
