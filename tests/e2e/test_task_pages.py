"""What the task pages of Istio's documentation teach, on a running mesh, each with Istio's result beside it.

In own words, with an app of its own (`parrot_app.py`). Documents come by the control API; requests are those
of an app, through its own sidecar.
"""

import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.e2e.real_mesh import until
from tests.e2e.task_mesh import SUBSETS, VERSIONS, TaskMesh, destination_rule, task_mesh, virtual_service

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

NOT_THERE = 9  # the discard port: nobody listens


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskMesh]:
    with task_mesh(tmp_path_factory.mktemp("tasks")) as one:
        yield one


@pytest.fixture(autouse=True)
def clean(mesh: TaskMesh) -> Iterator[None]:
    """No document of the test before."""
    yield
    mesh.delete()


def put(mesh: TaskMesh, *documents: str) -> list[str]:
    return mesh.put("\n---\n".join(documents))


def within_three_sigma(found: int, count: int, share: float) -> bool:
    return bool(abs(found - count * share) <= 3 * (count * share * (1 - share)) ** 0.5)


# --- request routing: which version answers, or which status ---


class Task(NamedTuple):
    """`rules` are for the host web, whose subsets are v1, v2 and v3; each question has Istio's result."""

    says: str
    rules: str
    asked: tuple[tuple[str, dict[str, str], str | int], ...]


TO = "route: [{destination: {host: web, subset: %s}}]"
V1, V2, V3 = (TO % version for version in ("v1", "v2", "v3"))


def first(match: str) -> str:
    """v2 for what matches, v1 for all else."""
    return f"[{{match: {match}, {V2}}}, {{{V1}}}]"


ROUTING = (
    Task("all requests go to the one subset that is named", f"[{{{V3}}}]", (("GET web/", {}, "v3"),) * 6),
    Task(
        "a header's exact value chooses, case counts",
        first("[{headers: {end-user: {exact: jason}}}]"),
        (
            ("GET web/", {"end-user": "jason"}, "v2"),
            ("GET web/", {"End-User": "jason"}, "v2"),
            ("GET web/", {"end-user": "Jason"}, "v1"),
            ("GET web/", {}, "v1"),
        ),
    ),
    Task(
        "a header's prefix chooses",
        first("[{headers: {end-user: {prefix: ja}}}]"),
        (("GET web/", {"end-user": "jane"}, "v2"), ("GET web/", {"end-user": "aja"}, "v1")),
    ),
    Task(
        "a header's regex is of the whole value",
        first("[{headers: {user-agent: {regex: '.*(Android|iPhone).*'}}}]"),
        (
            ("GET web/", {"user-agent": "Mozilla (iPhone; x)"}, "v2"),
            ("GET web/", {"user-agent": "Mozilla (X11)"}, "v1"),
        ),
    ),
    Task(
        "a regex that fits a part only does not match",
        first("[{headers: {x-id: {regex: '[0-9]+'}}}]"),
        (("GET web/", {"x-id": "42"}, "v2"), ("GET web/", {"x-id": "42a"}, "v1")),
    ),
    Task(
        "a header without a condition must be there",
        first("[{headers: {x-beta: {}}}]"),
        (("GET web/", {"x-beta": "no matter"}, "v2"), ("GET web/", {}, "v1")),
    ),
    Task(
        "withoutHeaders wants it away, or of another value",
        first("[{withoutHeaders: {x-old: {exact: 'yes'}}}]"),
        (
            ("GET web/", {}, "v2"),
            ("GET web/", {"x-old": "no"}, "v2"),
            ("GET web/", {"x-old": "yes"}, "v1"),
        ),
    ),
    Task(
        "an exact path is the whole path, without the query",
        first("[{uri: {exact: /login}}]"),
        (
            ("GET web/login", {}, "v2"),
            ("GET web/login?a=1", {}, "v2"),
            ("GET web/login/", {}, "v1"),
            ("GET web/Login", {}, "v1"),
        ),
    ),
    Task(
        "a prefix is of characters, not of segments",
        first("[{uri: {prefix: /api/v1}}]"),
        (("GET web/api/v1/x", {}, "v2"), ("GET web/api/v10", {}, "v2"), ("GET web/api", {}, "v1")),
    ),
    Task(
        "a path's regex is of the whole path, without the query",
        first("[{uri: {regex: '/users/[0-9]+'}}]"),
        (
            ("GET web/users/7", {}, "v2"),
            ("GET web/users/7?x=y", {}, "v2"),
            ("GET web/users/7/x", {}, "v1"),
        ),
    ),
    Task(
        "ignoreUriCase is of exact and prefix",
        first("[{uri: {prefix: /SHOP}, ignoreUriCase: true}, {uri: {exact: /One}, ignoreUriCase: true}]"),
        (("GET web/shop/1", {}, "v2"), ("GET web/oNE", {}, "v2"), ("GET web/two", {}, "v1")),
    ),
    Task(
        "a method chooses",
        first("[{method: {exact: POST}}]"),
        (("POST web/", {}, "v2"), ("GET web/", {}, "v1"), ("PUT web/", {}, "v1")),
    ),
    Task(
        "a method's regex chooses",
        first("[{method: {regex: 'PUT|DELETE'}}]"),
        (("PUT web/", {}, "v2"), ("DELETE web/", {}, "v2"), ("GET web/", {}, "v1")),
    ),
    Task(
        "a parameter of the query chooses",
        first("[{queryParams: {version: {exact: two}}}]"),
        (
            ("GET web/?a=b&version=two", {}, "v2"),
            ("GET web/?version=twofold", {}, "v1"),
            ("GET web/", {}, "v1"),
        ),
    ),
    Task(
        "a parameter's regex, and one that only must be there",
        first("[{queryParams: {n: {regex: '[0-9]+'}}}, {queryParams: {beta: {}}}]"),
        (("GET web/?n=12", {}, "v2"), ("GET web/?n=1a", {}, "v1"), ("GET web/?beta=", {}, "v2")),
    ),
    Task(
        "the authority is as the app wrote it",
        first("[{authority: {exact: web.default.svc.cluster.local}}]"),
        (("GET web.default.svc.cluster.local/", {}, "v2"), ("GET web/", {}, "v1")),
    ),
    Task(
        "the authority's prefix chooses",
        first("[{authority: {prefix: 'web.default'}}]"),
        (("GET web.default/", {}, "v2"), ("GET web/", {}, "v1")),
    ),
    Task(
        "conditions of one match hold together, matches of one rule are alternatives",
        first("[{uri: {prefix: /a}, headers: {x-one: {exact: '1'}}}, {method: {exact: PUT}}]"),
        (
            ("GET web/a", {"x-one": "1"}, "v2"),
            ("GET web/a", {}, "v1"),
            ("GET web/b", {"x-one": "1"}, "v1"),
            ("PUT web/b", {}, "v2"),
        ),
    ),
    Task(
        "of two rules that match the first is taken, not the narrower",
        f"[{{match: [{{uri: {{prefix: /}}}}], {V2}}}, {{match: [{{uri: {{exact: /x}}}}], {V3}}}, {{{V1}}}]",
        (("GET web/x", {}, "v2"), ("GET web/y", {}, "v2")),
    ),
    Task(
        "a request that no rule matches gets a 404",
        f"[{{match: [{{uri: {{prefix: /known}}}}], {V1}}}]",
        (("GET web/known", {}, "v1"), ("GET web/other", {}, 404)),
    ),
    Task(
        "a port chooses, 80 where none is named",
        first("[{port: 9080}]"),
        (("GET web:9080/", {}, "v2"), ("GET web/", {}, "v1"), ("GET web:80/", {}, "v1")),
    ),
    Task(
        "a caller's namespace chooses",
        first("[{sourceNamespace: default, uri: {prefix: /x}}, {sourceNamespace: prod}]"),
        (("GET web/x", {}, "v2"), ("GET web/", {}, "v1")),
    ),
    Task(
        "an arm without a weight gets all",
        f"[{{{V2}}}]".replace("subset: v2}", "subset: v2}, headers: {request: {set: {x-a: b}}}"),
        (("GET web/", {}, "v2"),) * 4,
    ),
    Task(
        "an arm of weight 0 gets nothing",
        "[{route: [{destination: {host: web, subset: v1}, weight: 0}, "
        "{destination: {host: web, subset: v2}, weight: 100}]}]",
        (("GET web/", {}, "v2"),) * 10,
    ),
    Task(
        "a rule sends to another service",
        "[{route: [{destination: {host: copy}}]}]",
        (("GET web/", {}, "v1"),) * 3,
    ),
    Task(
        "a subset that no DestinationRule has is a 503",
        f"[{{match: [{{uri: {{exact: /x}}}}], {TO % 'v9'}}}, {{{V1}}}]",
        (("GET web/x", {}, 503), ("GET web/", {}, "v1")),
    ),
    Task(
        "a service that is not there is a 503",
        "[{route: [{destination: {host: nowhere}}]}]",
        (("GET web/", {}, 503),),
    ),
)


@pytest.mark.parametrize("task", ROUTING, ids=lambda task: task.says)
def test_routing(mesh: TaskMesh, task: Task) -> None:
    put(mesh, virtual_service(task.rules), SUBSETS)
    for what, heads, expected in task.asked:
        assert mesh.ask(what, heads).got == expected, (what, heads)


def test_labels_of_the_caller_choose(mesh: TaskMesh) -> None:
    """Istio: the rule is in the configuration of those callers alone that have the labels."""
    put(mesh, virtual_service(first("[{sourceLabels: {team: b}}]")), SUBSETS)
    assert {caller: mesh.ask(caller=caller).got for caller in ("front-1", "side-1")} == {
        "front-1": "v1",
        "side-1": "v2",
    }


def test_a_rule_of_a_gateway_does_not_act_in_sidecars(mesh: TaskMesh) -> None:
    """Istio: `gateways` without `mesh` is for those gateways alone, with it for both."""
    for gateways, expected in (("[edge]", "v1"), ("[edge, mesh]", "v2"), ("[mesh]", "v2")):
        put(
            mesh,
            virtual_service(first(f"[{{gateways: {gateways}}}]")).replace(
                '"http"', '"gateways": ["edge", "mesh"], "http"'
            ),
            SUBSETS,
        )
        assert mesh.ask().got == expected, gateways


@pytest.mark.parametrize("share", [10, 50])
def test_weights(mesh: TaskMesh, share: int) -> None:
    """Traffic shifting. Istio: each request is drawn on its own, the arms get their shares."""
    arms = (
        f"[{{route: [{{destination: {{host: web, subset: v1}}, weight: {100 - share}}}, "
        f"{{destination: {{host: web, subset: v3}}, weight: {share}}}]}}]"
    )
    put(mesh, virtual_service(arms), SUBSETS)
    found = mesh.ask_many(400)
    assert found["v1"] + found["v3"] == 400
    assert within_three_sigma(found["v3"], 400, share / 100), found


def test_a_switch_of_subsets_loses_no_request(mesh: TaskMesh) -> None:
    """Istio: from the moment that the change is there, all go to the new one."""
    for version in ("v1", "v2", "v3", "v1"):
        put(mesh, virtual_service(f"[{{{TO % version}}}]"), SUBSETS)
        assert mesh.ask_many(20) == {version: 20}


# --- rewrite, redirect, answers without a service, headers, CORS ---


@pytest.mark.parametrize(
    ("rule", "asked", "path"),
    [
        ("{match: [{uri: {prefix: /ratings}}], rewrite: {uri: /v1/r}, %s}", "/ratings/7?a=1", "/v1/r/7?a=1"),
        ("{match: [{uri: {exact: /old}}], rewrite: {uri: /new}, %s}", "/old?a=1", "/new?a=1"),
        ("{match: [{uri: {prefix: /a/}}], rewrite: {uri: /}, %s}", "/a/b", "/b"),
        (
            "{rewrite: {uriRegexRewrite: {match: '/service/([^/]+)(/.*)', rewrite: '\\2/of/\\1'}}, %s}",
            "/service/foo/x?q=1",
            "/x/of/foo?q=1",
        ),
    ],
    ids=["prefix", "whole path", "prefix to root", "regex with groups"],
)
def test_rewrite_of_the_path(mesh: TaskMesh, rule: str, asked: str, path: str) -> None:
    """Istio: the matched prefix alone is replaced, the query stays."""
    put(mesh, virtual_service(f"[{rule % V1}]"), SUBSETS)
    assert mesh.ask(f"GET web{asked}").echo["path"] == path


def test_rewrite_of_the_authority(mesh: TaskMesh) -> None:
    """Istio: the service sees another Host, the destination stays."""
    put(mesh, virtual_service(f"[{{rewrite: {{authority: other.example}}, {V1}}}]"), SUBSETS)
    echo = mesh.ask().echo
    assert (echo["host"], echo["instance"]) == ("other.example", "web-1")


@pytest.mark.parametrize(
    ("redirect", "status", "location"),
    [
        ("{uri: /new}", 301, "http://web/new"),
        ("{authority: www.example.com}", 301, "http://www.example.com/old"),
        ("{uri: /n, authority: b.example, redirectCode: 302}", 302, "http://b.example/n"),
        ("{scheme: https, redirectCode: 307}", 307, "https://web/old"),
        ("{port: 8443, redirectCode: 308}", 308, "http://web:8443/old"),
    ],
)
def test_redirect(mesh: TaskMesh, redirect: str, status: int, location: str) -> None:
    """Istio: a 301 unless another code is given; what is not named stays."""
    put(
        mesh,
        virtual_service(f"[{{match: [{{uri: {{exact: /old}}}}], redirect: {redirect}}}, {{{V1}}}]"),
        SUBSETS,
    )
    reply = mesh.ask("GET web/old", {"x-mark": "redirected"})
    assert (reply.status, reply.heads["location"]) == (status, location)
    assert mesh.heard("redirected", "web") == []
    assert mesh.ask("GET web/else").got == "v1"


def test_a_redirect_keeps_the_query(mesh: TaskMesh) -> None:
    """Envoy: path_redirect replaces the path alone."""
    put(mesh, virtual_service("[{redirect: {uri: /new}}]"))
    assert mesh.ask("GET web/old?a=1&b=2").heads["location"] == "http://web/new?a=1&b=2"


def test_a_redirect_to_https_leaves_the_port_of_http(mesh: TaskMesh) -> None:
    """Envoy: a default port goes with its scheme, another one stays."""
    put(mesh, virtual_service("[{redirect: {scheme: https}}]"))
    asked = [mesh.ask(f"GET {host}/x").heads["location"] for host in ("web:80", "web:8080")]
    assert asked == ["https://web/x", "https://web:8080/x"]


def test_direct_response(mesh: TaskMesh) -> None:
    """Istio: the sidecar answers, with the body; nothing reaches the service."""
    put(mesh, virtual_service("[{directResponse: {status: 418, body: {string: teapot}}}]"))
    reply = mesh.ask("GET web/", {"x-mark": "direct"})
    assert (reply.status, reply.body) == (418, b"teapot")
    assert mesh.heard("direct", "web") == []


def test_headers_of_the_request(mesh: TaskMesh) -> None:
    """Istio: set replaces, add adds to what is there, remove removes; of the rule and of the arm, both."""
    rule = """
    - headers: {request: {set: {x-set: new}, add: {x-add: two}, remove: [x-gone]}}
      route: [{destination: {host: web, subset: v1}, headers: {request: {set: {x-arm: one}}}}]
    """
    put(mesh, virtual_service(rule), SUBSETS)
    with mesh.connection():
        echo = mesh.ask("GET web/", {"x-set": "old", "x-add": "one", "x-gone": "1", "x-stays": "1"}).echo
    assert (echo["x-set"], echo["x-add"], echo["x-arm"]) == ("new", "one, two", "one")
    assert echo["x-stays"] == "1"
    assert "x-gone" not in echo


def test_headers_of_the_answer(mesh: TaskMesh) -> None:
    rule = """
    - headers: {response: {set: {x-app: nobody}, add: {x-more: one}, remove: [server]}}
      route: [{destination: {host: web, subset: v1}, headers: {response: {add: {x-more: two}}}}]
    """
    put(mesh, virtual_service(rule), SUBSETS)
    heads = mesh.ask().heads
    assert heads["x-app"] == "nobody"
    assert set(heads["x-more"].split(", ")) == {"one", "two"}
    assert "BaseHTTP" not in heads.get("server", "")


def test_headers_of_one_arm_are_of_its_requests_alone(mesh: TaskMesh) -> None:
    """Istio: each arm of a split has its own."""
    rule = """
    - route:
      - {destination: {host: web, subset: v1}, weight: 50}
      - {destination: {host: web, subset: v2}, weight: 50, headers: {response: {set: {x-test: group}}}}
    """
    put(mesh, virtual_service(rule), SUBSETS)
    found = {(reply.version, reply.heads.get("x-test")) for reply in (mesh.ask() for _ in range(40))}
    assert found == {("v1", None), ("v2", "group")}


CORS = f"""
- corsPolicy:
    allowOrigins: [{{exact: 'https://a.example'}}, {{regex: 'https://.*[.]b[.]example'}}]
    allowMethods: [GET, POST]
    allowHeaders: [x-one, x-two]
    exposeHeaders: [x-app]
    maxAge: 24h
    allowCredentials: true
  {V1}
"""


def test_cors_of_a_simple_request(mesh: TaskMesh) -> None:
    """Istio: an origin that is allowed is named in the answer; another one's answer says nothing."""
    put(mesh, virtual_service(CORS), SUBSETS)
    for origin, allowed in (
        ("https://a.example", True),
        ("https://x.b.example", True),
        ("https://c.example", False),
    ):
        reply = mesh.ask("GET web/", {"origin": origin})
        assert reply.got == "v1"
        assert reply.heads.get("access-control-allow-origin") == (origin if allowed else None)
        assert reply.heads.get("access-control-expose-headers") == ("x-app" if allowed else None)
        assert reply.heads.get("access-control-allow-credentials") == ("true" if allowed else None)


def test_cors_of_a_preflight(mesh: TaskMesh) -> None:
    """Istio: the sidecar answers it for an origin that is allowed; another one's goes to the service."""
    put(mesh, virtual_service(CORS), SUBSETS)
    asks = {"access-control-request-method": "POST", "x-mark": "preflight"}
    reply = mesh.ask("OPTIONS web/", {"origin": "https://a.example", **asks})
    assert reply.status == 200
    assert mesh.heard("preflight", "web") == []
    assert reply.heads["access-control-allow-origin"] == "https://a.example"
    assert reply.heads["access-control-allow-methods"].replace(" ", "") == "GET,POST"
    assert reply.heads["access-control-allow-headers"].replace(" ", "") == "x-one,x-two"
    assert reply.heads["access-control-max-age"] == "86400"
    assert mesh.ask("OPTIONS web/", {"origin": "https://c.example", **asks}).got == "v1"
    assert len(mesh.heard("preflight", "web")) == 1


def test_cors_without_forwarding(mesh: TaskMesh) -> None:
    """Istio: with unmatchedPreflights IGNORE another origin's preflight is answered, allowing nothing."""
    put(mesh, virtual_service(CORS.replace("maxAge", "unmatchedPreflights: IGNORE\n    maxAge")), SUBSETS)
    asks = {"access-control-request-method": "POST", "x-mark": "ignored", "origin": "https://c.example"}
    reply = mesh.ask("OPTIONS web/", asks)
    assert (reply.status, reply.heads.get("access-control-allow-origin")) == (200, None)
    assert mesh.heard("ignored", "web") == []


# --- timeouts and retries ---


def test_a_timeout_ends_a_slow_request(mesh: TaskMesh) -> None:
    """Istio: 504 and UT, after that time and not later; a quick one does not notice."""
    put(mesh, virtual_service(f"[{{timeout: 300ms, {V1}}}]"), SUBSETS)
    began = time.monotonic()
    reply = mesh.ask("GET web/", {"x-pause": "5"})
    assert (reply.status, reply.flag) == (504, "UT")
    assert 0.3 <= time.monotonic() - began < 4
    assert mesh.ask().got == "v1"


@pytest.mark.parametrize("timeout", ["timeout: 0s, ", ""])
def test_no_timeout_unless_one_is_asked_for(mesh: TaskMesh, timeout: str) -> None:
    """Istio: off by default, and 0s is off."""
    put(mesh, virtual_service(f"[{{{timeout}{V1}}}]"), SUBSETS)
    assert mesh.ask("GET web/", {"x-pause": "1.2"}).got == "v1"


def test_a_request_may_shorten_its_timeout(mesh: TaskMesh) -> None:
    """Istio: the app's x-envoy-upstream-rq-timeout-ms stands above the rule."""
    put(mesh, virtual_service(f"[{{timeout: 5s, {V1}}}]"), SUBSETS)
    reply = mesh.ask("GET web/", {"x-pause": "5", "x-envoy-upstream-rq-timeout-ms": "200"})
    assert reply.status == 504


# Nobody is ejected by what these tests ask for.
UNEJECTED = destination_rule("{outlierDetection: {consecutive5xxErrors: 0}}", "store")


def store_rule(words: str) -> str:
    return virtual_service(f"[{{{words}, route: [{{destination: {{host: store}}}}]}}]", "store")


def tries(mesh: TaskMesh, mark: str, retries: str, answer: str, what: str = "GET store/") -> tuple[int, int]:
    """(status, tries that reached the service) of one request."""
    put(mesh, store_rule(f"retries: {retries}"), UNEJECTED)
    status = mesh.ask(what, {"x-answer": answer, "x-mark": mark}).status
    return status, len(mesh.heard(mark, "store"))


@pytest.mark.parametrize(
    ("retries", "answer", "expected"),
    [
        ("{attempts: 2, retryOn: 5xx}", "500", (500, 3)),
        ("{attempts: 3, retryOn: 5xx}", "503<3", (200, 3)),
        ("{attempts: 1, retryOn: 5xx}", "503<3", (503, 2)),
        ("{attempts: 2, retryOn: 5xx}", "404", (404, 1)),
        ("{attempts: 2, retryOn: gateway-error}", "500", (500, 1)),
        ("{attempts: 2, retryOn: gateway-error}", "502", (502, 3)),
        ("{attempts: 2, retryOn: gateway-error}", "504", (504, 3)),
        ("{attempts: 2, retryOn: connect-failure}", "503", (503, 1)),
        ("{attempts: 2, retryOn: 'connect-failure,503'}", "503", (503, 3)),
        ("{attempts: 2, retryOn: '503'}", "500", (500, 1)),
        ("{attempts: 2, retryOn: retriable-4xx}", "409", (409, 3)),
        ("{attempts: 2, retryOn: retriable-4xx}", "404", (404, 1)),
        ("{attempts: 2, retryOn: '404'}", "404<2", (200, 2)),
        ("{attempts: 0}", "503", (503, 1)),
    ],
)
def test_retries(mesh: TaskMesh, retries: str, answer: str, expected: tuple[int, int]) -> None:
    """Istio: `attempts` counts what comes after the first; the last answer is the request's."""
    assert tries(mesh, retries + answer, retries, answer) == expected


def test_a_post_is_retried_where_the_document_says_so(mesh: TaskMesh) -> None:
    """Istio: `retryOn` does not look at the method; the body is sent again."""
    retries = "{attempts: 2, retryOn: 5xx}"
    assert tries(mesh, "post", retries, "503<3", "POST store/") == (200, 3)
    assert {each["content-length"] for each in mesh.heard("post", "store")} == {"1"}


def test_a_request_may_ask_for_its_own_retries(mesh: TaskMesh) -> None:
    """Istio: the app's x-envoy-retry-on and x-envoy-max-retries stand above the rule."""
    put(mesh, store_rule("retries: {attempts: 0}"), UNEJECTED)
    asked = {"x-envoy-retry-on": "5xx", "x-envoy-max-retries": "3"}
    assert mesh.ask("GET store/", {"x-answer": "500<4", **asked}).status == 200
    assert mesh.ask("GET store/", {"x-answer": "500<4"}).status == 500


def test_a_try_that_is_slow_once_is_saved(mesh: TaskMesh) -> None:
    """Istio: the next try has a perTryTimeout of its own."""
    put(
        mesh, store_rule("timeout: 5s, retries: {attempts: 1, perTryTimeout: 200ms, retryOn: 5xx}"), UNEJECTED
    )
    began = time.monotonic()
    assert mesh.ask("POST store/", {"x-pause": "6<2"}).status == 200
    assert 0.2 <= time.monotonic() - began < 4


def test_a_retry_goes_to_another_replica(mesh: TaskMesh) -> None:
    """Istio: hosts that were tried are left out (retry_host_predicate: previous_hosts)."""
    put(mesh, store_rule("retries: {attempts: 1, retryOn: 5xx}"), UNEJECTED)
    for _ in range(6):
        assert mesh.ask("GET store/", {"x-answer": "503@store-1"}).version == "v2"


def test_each_try_has_its_own_time(mesh: TaskMesh) -> None:
    """Istio: perTryTimeout ends a try, which is tried again; 504 when none is left."""
    put(mesh, store_rule("retries: {attempts: 2, perTryTimeout: 150ms, retryOn: 5xx}"), UNEJECTED)
    reply = mesh.ask("GET store/", {"x-pause": "1", "x-mark": "per-try"})
    assert reply.status == 504
    assert len(mesh.heard("per-try", "store")) == 3


def test_all_tries_share_the_timeout(mesh: TaskMesh) -> None:
    """Istio: the timeout is of the request with its retries."""
    words = "timeout: 400ms, retries: {attempts: 9, perTryTimeout: 150ms, retryOn: 5xx}"
    put(mesh, store_rule(words), UNEJECTED)
    began = time.monotonic()
    assert mesh.ask("GET store/", {"x-pause": "5", "x-mark": "shared"}).status == 504
    assert 0.4 <= time.monotonic() - began < 4
    assert 2 <= len(mesh.heard("shared", "store")) <= 3


# --- faults ---


def test_an_abort_answers_at_the_caller(mesh: TaskMesh) -> None:
    """Istio: the status, flag FI; the service hears nothing, and no retry saves it."""
    fault = "fault: {abort: {percentage: {value: 100}, httpStatus: 418}}"
    put(mesh, virtual_service(f"[{{{fault}, retries: {{attempts: 3, retryOn: '5xx,418'}}, {V1}}}]"), SUBSETS)
    reply = mesh.ask("GET web/", {"x-mark": "aborted"})
    assert (reply.status, reply.flag) == (418, "FI")
    assert mesh.heard("aborted", "web") == []


def test_a_fault_is_of_the_requests_that_match(mesh: TaskMesh) -> None:
    """Istio: another rule's requests go on."""
    fault = "fault: {abort: {percentage: {value: 100}, httpStatus: 500}}"
    rules = f"[{{match: [{{headers: {{end-user: {{exact: jason}}}}}}], {fault}, {V1}}}, {{{V1}}}]"
    put(mesh, virtual_service(rules), SUBSETS)
    assert [mesh.ask("GET web/", heads).got for heads in ({"end-user": "jason"}, {})] == [500, "v1"]


def test_a_fault_of_some_percent(mesh: TaskMesh) -> None:
    """Istio: each request is drawn on its own, and retries do not change the share."""
    fault = "fault: {abort: {percentage: {value: 30}, httpStatus: 503}}"
    put(mesh, virtual_service(f"[{{{fault}, retries: {{attempts: 3, retryOn: 5xx}}, {V1}}}]"), SUBSETS)
    found = mesh.ask_many(300)
    assert within_three_sigma(found[503], 300, 0.3), found
    assert found["v1"] == 300 - found[503]


def test_a_fault_without_a_percentage_is_none(mesh: TaskMesh) -> None:
    """Istio: absent is 0 %."""
    put(mesh, virtual_service(f"[{{fault: {{abort: {{httpStatus: 500}}}}, {V1}}}]"), SUBSETS)
    assert mesh.ask_many(20) == {"v1": 20}


def test_a_delay_and_then_the_service(mesh: TaskMesh) -> None:
    """Istio: the delay is before the route's timeout begins, so that 300ms of it fit beside 200ms."""
    fault = "fault: {delay: {percentage: {value: 100}, fixedDelay: 300ms}}"
    put(mesh, virtual_service(f"[{{{fault}, timeout: 200ms, {V1}}}]"), SUBSETS)
    began = time.monotonic()
    assert mesh.ask().got == "v1"
    assert 0.3 <= time.monotonic() - began < 4


def test_a_delay_and_then_an_abort(mesh: TaskMesh) -> None:
    """Istio: both act, in this order."""
    rule = """
    - fault:
        delay: {percentage: {value: 100}, fixedDelay: 200ms}
        abort: {percentage: {value: 100}, httpStatus: 501}
      route: [{destination: {host: web}}]
    """
    put(mesh, virtual_service(rule))
    began = time.monotonic()
    assert mesh.ask().status == 501
    assert time.monotonic() - began >= 0.2


def test_faults_eject_nobody(mesh: TaskMesh) -> None:
    """Istio: what the fault filter answers is no answer of a host."""
    fault = "fault: {abort: {percentage: {value: 100}, httpStatus: 503}}"
    match = "match: [{headers: {x-break: {}}}]"
    put(
        mesh,
        virtual_service(f"[{{{match}, {fault}, {V1}}}, {{{V1}}}]"),
        destination_rule(
            "{outlierDetection: {consecutive5xxErrors: 1, interval: 100ms, maxEjectionPercent: 100}}",
            subsets=VERSIONS,
        ),
    )
    for _ in range(5):
        assert mesh.ask("GET web/", {"x-break": "1"}).status == 503
    assert mesh.ask().got == "v1"


# --- mirroring ---


def mirror(words: str = "mirror: {host: copy}") -> str:
    return virtual_service(f"[{{{V1}, {words}}}]")


def test_a_mirror_gets_a_copy_of_each_request(mesh: TaskMesh) -> None:
    """Istio: all, when no percentage is given; with -shadow behind its Host; its answer is thrown away."""
    put(mesh, mirror(), SUBSETS)
    for _ in range(10):
        assert mesh.ask("POST web/x?y=1", {"x-mark": "mirror"}).got == "v1"
    copies = until(lambda: (found := mesh.heard("mirror", "copy")) and len(found) == 10 and found)
    assert {(each["method"], each["path"], each["content-length"]) for each in copies} == {
        ("POST", "/x?y=1", "1")
    }
    assert {each["host"] for each in copies} == {"web-shadow"}
    assert len(mesh.heard("mirror", "web")) == 10


def test_a_mirror_that_fails_or_is_slow_is_not_noticed(mesh: TaskMesh) -> None:
    """Istio: fire and forget."""
    put(mesh, mirror(), SUBSETS)
    began = time.monotonic()
    assert mesh.ask("GET web/", {"x-answer": "500@copy-1", "x-mark": "ill"}).got == "v1"
    put(mesh, mirror("mirror: {host: nowhere}"), SUBSETS)
    assert mesh.ask().got == "v1"
    assert time.monotonic() - began < 4
    until(lambda: len(mesh.heard("ill", "copy")) == 1)


def test_a_mirror_of_some_percent(mesh: TaskMesh) -> None:
    """Istio: mirrorPercentage is drawn for each request."""
    put(mesh, mirror("mirror: {host: copy}, mirrorPercentage: {value: 30}"), SUBSETS)
    assert mesh.ask_many(300, heads={"x-mark": "some"}) == {"v1": 300}
    until(lambda: within_three_sigma(len(mesh.heard("some", "copy")), 300, 0.3))


def test_a_mirror_of_no_percent(mesh: TaskMesh) -> None:
    """Istio: 0 is none, while absent is all."""
    put(mesh, mirror("mirror: {host: copy}, mirrorPercentage: {value: 0}"), SUBSETS)
    assert mesh.ask_many(20, heads={"x-mark": "none"}) == {"v1": 20}
    assert mesh.heard("none", "copy") == []


def test_several_mirrors(mesh: TaskMesh) -> None:
    """Istio: each of `mirrors` gets its own copy."""
    mirrors = "mirrors: [{destination: {host: copy}}, {destination: {host: web, subset: v2}}]"
    put(mesh, mirror(mirrors), SUBSETS)
    assert mesh.ask("GET web/", {"x-mark": "both"}).got == "v1"
    until(
        lambda: (
            {each["instance"] for each in mesh.heard("both", "copy", "web")} == {"web-1", "web-2", "copy-1"}
        )
    )


# --- circuit breaking ---


def ejecting(words: str) -> str:
    return destination_rule(
        f"{{loadBalancer: {{simple: ROUND_ROBIN}}, outlierDetection: {{{words}}}}}", "store"
    )


def after_failures(mesh: TaskMesh, answer: str, count: int = 12) -> Counter[str | int]:
    """Who answers requests without trouble, after so many with it."""
    for _ in range(count):
        mesh.ask("GET store/", {"x-answer": answer})
    return Counter(mesh.ask("GET store/").got for _ in range(10))


NO_RETRIES = store_rule("retries: {attempts: 0}")


@pytest.mark.parametrize(
    ("words", "answer", "left"),
    [
        ("consecutive5xxErrors: 3, maxEjectionPercent: 100", "500@store-1", {"v2"}),
        ("consecutive5xxErrors: 30, maxEjectionPercent: 100", "500@store-1", {"v1", "v2"}),
        ("consecutive5xxErrors: 0, maxEjectionPercent: 100", "500@store-1", {"v1", "v2"}),
        (
            "consecutiveGatewayErrors: 3, consecutive5xxErrors: 0, maxEjectionPercent: 100",
            "503@store-1",
            {"v2"},
        ),
        (
            "consecutiveGatewayErrors: 3, consecutive5xxErrors: 0, maxEjectionPercent: 100",
            "500@store-1",
            {"v1", "v2"},
        ),
        ("consecutive5xxErrors: 3, maxEjectionPercent: 100", "404@store-1", {"v1", "v2"}),
        ("consecutive5xxErrors: 3, maxEjectionPercent: 49", "500@store-1", {"v1", "v2"}),
        ("consecutive5xxErrors: 3, maxEjectionPercent: 50", "500@store-1", {"v2"}),
        ("consecutive5xxErrors: 3", "500@store-1", {"v1", "v2"}),
        ("consecutive5xxErrors: 3, maxEjectionPercent: 100", "500", {503}),
    ],
)
def test_ejection(mesh: TaskMesh, words: str, answer: str, left: set[str | int]) -> None:
    """Istio: so many in a row; up to maxEjectionPercent (10) rounded down; all of them where it is 100."""
    put(mesh, NO_RETRIES, ejecting(f"{words}, interval: 10s, baseEjectionTime: 60s"))
    assert set(after_failures(mesh, answer)) == left


def test_a_request_that_times_out_ejects(mesh: TaskMesh) -> None:
    """Istio: a timeout is a gateway error of the host."""
    put(
        mesh,
        store_rule("timeout: 100ms, retries: {attempts: 0}"),
        ejecting("consecutiveGatewayErrors: 2, interval: 10s, baseEjectionTime: 60s, maxEjectionPercent: 50"),
    )
    for _ in range(4):
        mesh.ask("GET store/", {"x-pause": "0.4@store-1"})
    assert {mesh.ask("GET store/").got for _ in range(8)} == {"v2"}


def test_below_the_least_health_all_are_asked(mesh: TaskMesh) -> None:
    """Istio: minHealthPercent is Envoy's panic threshold: with fewer left, ejected ones are asked, too."""
    words = "consecutive5xxErrors: 3, interval: 10s, baseEjectionTime: 60s, maxEjectionPercent: 100"
    put(mesh, NO_RETRIES, ejecting(f"{words}, minHealthPercent: 60"))
    assert set(after_failures(mesh, "500")) == {"v1", "v2"}


@pytest.mark.parametrize(("percent", "left"), [(33, 3), (34, 2), (67, 1)])
def test_how_many_of_three_may_be_ejected(mesh: TaskMesh, percent: int, left: int) -> None:
    """Istio: as long as those that are out are at most so many percent."""
    words = f"consecutive5xxErrors: 2, interval: 10s, baseEjectionTime: 60s, maxEjectionPercent: {percent}"
    policy = f"{{loadBalancer: {{simple: ROUND_ROBIN}}, outlierDetection: {{{words}}}}}"
    put(
        mesh,
        virtual_service("[{retries: {attempts: 0}, route: [{destination: {host: web}}]}]"),
        destination_rule(policy),
    )
    for _ in range(15):
        mesh.ask("GET web/", {"x-answer": "500"})
    assert len({mesh.ask("GET web/").got for _ in range(12)}) == left


def test_an_ejection_ends(mesh: TaskMesh) -> None:
    """Istio: at the first sweep (`interval`) after baseEjectionTime."""
    put(
        mesh,
        NO_RETRIES,
        ejecting("consecutive5xxErrors: 3, interval: 100ms, baseEjectionTime: 1s, maxEjectionPercent: 100"),
    )
    assert set(after_failures(mesh, "500@store-1")) == {"v2"}
    until(lambda: mesh.ask("GET store/").got == "v1", 5)


def test_a_detection_that_begins_finds_nobody_out(mesh: TaskMesh) -> None:
    """Istio: from the moment that it is there it alone decides, whatever was found before."""
    for _ in range(30):
        mesh.ask("GET copy/", {"x-answer": "500"})
    put(mesh, destination_rule("{outlierDetection: {consecutive5xxErrors: 5}}", "copy"))
    assert {mesh.ask("GET copy/").status for _ in range(20)} == {200}


def test_all_that_were_ejected_are_back_for_all_requests(mesh: TaskMesh) -> None:
    """Istio: nobody is turned away once the ejection is over."""
    words = "consecutive5xxErrors: 2, interval: 100ms, baseEjectionTime: 400ms, maxEjectionPercent: 100"
    put(mesh, NO_RETRIES, ejecting(words))
    for _ in range(10):
        mesh.ask("GET store/", {"x-answer": "500"})
    until(lambda: mesh.ask("GET store/").status == 200, 5)
    until(lambda: {mesh.ask("GET store/").got for _ in range(6)} == {"v1", "v2"}, 5)


def test_who_waits_for_a_connection_ends_with_the_timeout(mesh: TaskMesh) -> None:
    """Istio: the route's timeout is of the time in the queue, too."""
    put(
        mesh,
        destination_rule("{connectionPool: {tcp: {maxConnections: 1}}}", "copy"),
        virtual_service("[{timeout: 500ms, route: [{destination: {host: copy}}]}]", "copy"),
    )
    replies = mesh.at_once(3, "GET copy/", {"x-pause": "0.35"})
    assert Counter(reply.status for reply in replies) == {200: 1, 504: 2}


def test_too_many_requests_are_refused_at_once(mesh: TaskMesh) -> None:
    """Istio: http2MaxRequests has no queue."""
    put(mesh, destination_rule("{connectionPool: {http: {http2MaxRequests: 1}}}", "copy"))
    replies = mesh.at_once(4, "GET copy/", {"x-pause": "0.4"})
    assert Counter((reply.status, reply.flag) for reply in replies) == {(200, ""): 1, (503, "UO"): 3}


def test_a_pool_that_is_full_answers_503(mesh: TaskMesh) -> None:
    """Istio: one connection and one that waits; the others are refused at once: UO, x-envoy-overloaded."""
    pool = "{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}}"
    put(mesh, destination_rule(pool, "copy"))
    replies = mesh.at_once(6, "GET copy/", {"x-pause": "0.5"})
    assert Counter(reply.status for reply in replies) == {200: 2, 503: 4}
    refused = [reply for reply in replies if reply.status == 503]
    assert {(reply.flag, reply.heads["x-envoy-overloaded"]) for reply in refused} == {("UO", "true")}
    assert mesh.ask("GET copy/").status == 200


def test_a_connection_of_one_request(mesh: TaskMesh) -> None:
    """Istio: maxRequestsPerConnection 1 changes nothing that a caller sees."""
    put(mesh, destination_rule("{connectionPool: {http: {maxRequestsPerConnection: 1}}}", "copy"))
    assert mesh.ask_many(20, "GET copy/") == {"v1": 20}


# --- load balancing ---


def hashed(mesh: TaskMesh, words: str) -> None:
    put(mesh, destination_rule(f"{{loadBalancer: {{consistentHash: {{{words}}}}}}}"))


def test_the_same_header_goes_to_the_same_replica(mesh: TaskMesh) -> None:
    """Istio: a ring; different values spread over all."""
    hashed(mesh, "httpHeaderName: x-user")
    homes = {
        user: {mesh.ask("GET web/", {"x-user": user}).version for _ in range(3)}
        for user in (f"user-{number}" for number in range(15))
    }
    assert all(len(home) == 1 for home in homes.values())
    assert set.union(*homes.values()) == {"v1", "v2", "v3"}


def test_a_cookie_is_made_and_followed(mesh: TaskMesh) -> None:
    """Istio: with a ttl the sidecar makes the cookie where there is none; its bearer stays where it was."""
    hashed(mesh, "httpCookie: {name: user, ttl: 3600s}")
    for _ in range(4):
        reply = mesh.ask()
        cookie = reply.heads["set-cookie"]
        assert cookie.startswith("user=")
        assert "Max-Age=3600" in cookie
        heads = {"cookie": cookie.partition(";")[0]}
        again = [mesh.ask("GET web/", heads) for _ in range(4)]
        assert {each.version for each in again} == {reply.version}
        assert not any("set-cookie" in each.heads for each in again)


def test_the_same_parameter_goes_to_the_same_replica(mesh: TaskMesh) -> None:
    hashed(mesh, "httpQueryParameterName: id")
    for number in range(6):
        assert len({mesh.ask(f"GET web/?id={number}&n={n}").version for n in range(4)}) == 1


def test_round_robin_is_in_turn(mesh: TaskMesh) -> None:
    put(mesh, destination_rule("{loadBalancer: {simple: ROUND_ROBIN}}"))
    assert mesh.ask_many(30, at_once=1) == {"v1": 10, "v2": 10, "v3": 10}


def test_a_subset_has_a_policy_of_its_own(mesh: TaskMesh) -> None:
    """Istio: it stands above the rule's, for the requests that a route sends to the subset."""
    pool = "{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}}"
    subsets = VERSIONS.replace("{version: v1}", f"{{version: v1}}, trafficPolicy: {pool}")
    put(mesh, virtual_service(first("[{headers: {x-two: {}}}]")), destination_rule(subsets=subsets))
    for heads, expected in (({}, {200: 2, 503: 3}), ({"x-two": "1"}, {200: 5})):
        found = mesh.at_once(5, "GET web/", {"x-pause": "0.4", **heads})
        assert Counter(reply.status for reply in found) == expected, heads


# --- outside of the mesh ---


def entry(mesh: TaskMesh, *ports: int, host: str = "api.example.com") -> str:
    endpoints = ", ".join(f"{{address: 127.0.0.1, ports: {{http: {port}}}}}" for port in ports)
    return f"""
kind: ServiceEntry
metadata: {{name: api}}
spec:
  hosts: [{host}]
  location: MESH_EXTERNAL
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{endpoints}]
"""


def outside(mesh: TaskMesh) -> int:
    """A program that is reached past every sidecar: the app of copy."""
    return int(mesh.mesh.instance("copy-1")["ports"]["app"])


def test_a_host_outside_is_known_by_its_entry(mesh: TaskMesh) -> None:
    """Istio: with its own Host; without the entry it is not known."""
    put(mesh, entry(mesh, outside(mesh)))
    echo = mesh.ask("GET api.example.com/x").echo
    assert (echo["instance"], echo["host"], echo["path"]) == ("copy-1", "api.example.com", "/x")
    mesh.delete()
    assert mesh.ask("GET api.example.com/x").status >= 500


def test_rules_of_a_host_outside(mesh: TaskMesh) -> None:
    """Istio: a timeout, a rewrite and a header, as of any service."""
    rules = """
    - match: [{uri: {prefix: /slow}}]
      timeout: 200ms
      route: [{destination: {host: api.example.com}}]
    - rewrite: {uri: /base}
      match: [{uri: {prefix: /v1}}]
      headers: {request: {set: {x-key: secret}}}
      route: [{destination: {host: api.example.com}}]
    """
    put(mesh, entry(mesh, outside(mesh)), virtual_service(rules, "api.example.com", "api"))
    assert mesh.ask("GET api.example.com/slow", {"x-pause": "5"}).status == 504
    echo = mesh.ask("GET api.example.com/v1/x").echo
    assert (echo["path"], echo["x-key"]) == ("/base/x", "secret")
    assert mesh.ask("GET api.example.com/else").status == 404


def test_a_connection_that_fails_is_retried(mesh: TaskMesh) -> None:
    """Istio: connect-failure goes on to another endpoint, POST too, as nothing was sent."""
    rule = """
    - retries: {attempts: 2, retryOn: connect-failure}
      route: [{destination: {host: api.example.com}}]
    """
    put(mesh, entry(mesh, NOT_THERE, outside(mesh)), virtual_service(rule, "api.example.com", "api"))
    for number in range(6):
        assert mesh.ask(f"{('GET', 'POST')[number % 2]} api.example.com/").version == "v1"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("words", "expected"), [("reset", (200, 2)), ("5xx", (200, 2)), ("connect-failure", (503, 1))]
)
def test_a_connection_that_is_cut(mesh: TaskMesh, method: str, words: str, expected: tuple[int, int]) -> None:
    """Istio: `reset` and `5xx` repeat it, whatever the method; to `connect-failure` it is another thing."""
    rule = f"""
    - retries: {{attempts: 2, retryOn: '{words}'}}
      route: [{{destination: {{host: api.example.com}}}}]
    """
    put(mesh, entry(mesh, outside(mesh)), virtual_service(rule, "api.example.com", "api"))
    mark = f"cut {method} {words}"
    status = mesh.ask(f"{method} api.example.com/", {"x-answer": "cut<2", "x-mark": mark}).status
    assert (status, len(mesh.heard(mark, "copy"))) == expected


def test_without_a_word_a_failed_connection_is_retried(mesh: TaskMesh) -> None:
    """Istio: two retries on connect-failure are every route's own."""
    put(mesh, entry(mesh, NOT_THERE, outside(mesh)))
    assert {mesh.ask(f"{method} api.example.com/").got for method in ("GET", "POST") * 3} == {"v1"}


def test_a_wildcard_host_outside(mesh: TaskMesh) -> None:
    put(mesh, entry(mesh, outside(mesh), host="'*.example.org'"))
    assert mesh.ask("GET one.example.org/").echo["host"] == "one.example.org"


# --- documents that come, change and go ---


@pytest.mark.parametrize(
    "host", ["web", "web.default", "web.default.svc.cluster.local", "'*.default.svc.cluster.local'"]
)
def test_names_of_a_host(mesh: TaskMesh, host: str) -> None:
    """Istio: a short name is one of the document's namespace; a pattern is for all that have no document."""
    document = virtual_service(f"[{{{V2}}}]").replace('["web"]', f"[{host}]")
    put(mesh, document, SUBSETS)
    for name in ("web", "web.default.svc.cluster.local"):
        assert mesh.ask(f"GET {name}/").got == "v2"


def test_a_name_stands_above_a_pattern(mesh: TaskMesh) -> None:
    """Istio: the most specific host wins, whatever the order."""
    pattern = virtual_service("[{directResponse: {status: 418}}]", name="all").replace(
        '["web"]', "['*.default.svc.cluster.local']"
    )
    put(mesh, pattern, virtual_service(f"[{{{V2}}}]"), SUBSETS)
    assert [mesh.ask(f"GET {host}/").got for host in ("web", "store")] == ["v2", 418]


def test_rules_change_in_order_of_arrival_or_not(mesh: TaskMesh) -> None:
    """Istio: the last that is applied of one name is in force."""
    for version in (V1, V3, V2):
        put(mesh, virtual_service(f"[{{{version}}}]"), SUBSETS)
    assert mesh.ask_many(6) == {"v2": 6}


def test_a_route_before_its_subset(mesh: TaskMesh) -> None:
    """Istio: taken, and 503 until the DestinationRule is there."""
    put(mesh, virtual_service(f"[{{{V2}}}]"))
    reply = mesh.ask()
    assert (reply.status, reply.flag) == (503, "NC")
    put(mesh, SUBSETS)
    assert mesh.ask().got == "v2"


def test_a_subset_goes_before_its_route(mesh: TaskMesh) -> None:
    """Istio: deleted in any order; 503 in between, and everybody again when both are gone."""
    put(mesh, virtual_service(f"[{{{V2}}}]"), SUBSETS)
    mesh.delete("DestinationRule/default/web")
    assert mesh.ask().got == 503
    mesh.delete("VirtualService/default/web")
    assert len(mesh.ask_many(60)) > 1


def test_a_subset_without_replicas(mesh: TaskMesh) -> None:
    """Istio: known, but nobody is in it: 503, no healthy upstream (UH)."""
    put(
        mesh,
        virtual_service(f"[{{{TO % 'v9'}}}]"),
        destination_rule(subsets="[{name: v9, labels: {version: v9}}]"),
    )
    reply = mesh.ask()
    assert (reply.status, reply.flag) == (503, "UH")


def test_a_wrong_document_changes_nothing(mesh: TaskMesh) -> None:
    """Istio: refused when it is applied; what was in force stays."""
    put(mesh, virtual_service(f"[{{{V2}}}]"), SUBSETS)
    assert b"timeout" in mesh.refused(virtual_service(f"[{{timeout: soon, {V3}}}]"))
    assert mesh.ask().got == "v2"


def test_rules_are_left_to_another_document(mesh: TaskMesh) -> None:
    """Istio: the root's match holds together with those of the delegate."""
    delegate = f"""
kind: VirtualService
metadata: {{name: shop}}
spec: {{http: [{{match: [{{uri: {{prefix: /shop/new}}}}], {V2}}}, {{{V3}}}]}}
"""
    root = f"[{{match: [{{uri: {{prefix: /shop}}}}], delegate: {{name: shop}}}}, {{{V1}}}]"
    put(mesh, virtual_service(root), delegate, SUBSETS)
    asked = [mesh.ask(f"GET web/{path}").got for path in ("shop/new", "shop/x", "else")]
    assert asked == ["v2", "v3", "v1"]


def test_of_two_documents_of_one_host_the_oldest_acts(mesh: TaskMesh) -> None:
    """Istio: in sidecars they are not merged; the second acts when the first is gone."""
    times = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")
    documents = [
        virtual_service(f"[{{{to}}}]", name=name).replace(
            '"name"', f'"creationTimestamp": "{created}", "name"', 1
        )
        for to, name, created in ((V3, "a-new", times[1]), (V2, "z-old", times[0]))
    ]
    put(mesh, *documents, SUBSETS)
    assert mesh.ask_many(10) == {"v2": 10}
    mesh.delete("VirtualService/default/z-old")
    assert mesh.ask_many(10) == {"v3": 10}


def test_two_rules_of_one_host_add_their_subsets(mesh: TaskMesh) -> None:
    """Istio: DestinationRules of one host are merged by their subsets."""
    one, two = (
        destination_rule(subsets=f"[{{name: {name}, labels: {{version: {name}}}}}]").replace(
            '{"name": "web"}', f'{{"name": "{name}"}}'
        )
        for name in ("v1", "v2")
    )
    put(mesh, virtual_service(first("[{uri: {prefix: /two}}]")), one, two)
    assert [mesh.ask(f"GET web/{path}").got for path in ("one", "two")] == ["v1", "v2"]


def test_a_document_that_is_for_its_own_namespace(mesh: TaskMesh) -> None:
    """Istio: exportTo "." hides it from the sidecars of other namespaces, "*" shows it to all."""
    text = """
kind: VirtualService
metadata: {name: far, namespace: prod}
spec:
  hosts: [web.default.svc.cluster.local]
  exportTo: ['%s']
  http: [{directResponse: {status: 418}}]
"""
    put(mesh, text % ".")
    assert mesh.ask().status == 200
    put(mesh, text % "*")
    assert mesh.ask().status == 418
