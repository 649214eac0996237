"""Istio's documents in force in a mesh of real processes: split, retries, deadlines, faults, explanations.

ingress -> front -> middle -> ledger      reviews (v1, v2)      canary (always fails)
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.e2e.real_mesh import RealMesh, http, real_mesh, until

pytestmark = pytest.mark.e2e

LEDGER = Path(__file__).with_name("ledger.py")
TOPOLOGY = f"""\
load: {{rate: 50/s}}
services:
- name: front
  isEntrypoint: true
  script: [{{call: middle}}]
- name: middle
  script: [{{call: ledger}}]
- name: ledger
  numReplicas: 2
  command: ["{sys.executable}", "{LEDGER}", "{{port}}"]
  health: {{path: /health, interval: 200ms}}
- name: reviews
  numReplicas: 2
  versions: [v1, v2]
- name: canary
  errorRate: 100%
"""

# The two documents of Istio's traffic management tutorials, with every block that they introduce.
TUTORIAL = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
spec:
  hosts:
  - reviews
  http:
  - match:
    - headers:
        end-user:
          exact: jason
    fault:
      delay:
        percentage:
          value: 100.0
        fixedDelay: 150ms
      abort:
        percentage:
          value: 0.1
        httpStatus: 500
    route:
    - destination:
        host: reviews
        subset: v2
  - route:
    - destination:
        host: reviews
        subset: v1
      weight: 90
    - destination:
        host: reviews
        subset: v2
      weight: 10
    mirror:
      host: ledger
    mirrorPercentage:
      value: 1.0
    timeout: 5s
    retries:
      attempts: 3
      perTryTimeout: 2s
      retryOn: connect-failure,refused-stream,5xx
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: reviews
spec:
  host: reviews
  trafficPolicy:
    loadBalancer:
      simple: LEAST_REQUEST
    connectionPool:
      tcp:
        maxConnections: 100
      http:
        http1MaxPendingRequests: 100
        maxRequestsPerConnection: 1000
    outlierDetection:
      consecutive5xxErrors: 5
      interval: 5m
      baseEjectionTime: 15m
      maxEjectionPercent: 100
  subsets:
  - name: v1
    labels:
      version: v1
  - name: v2
    labels:
      version: v2
"""
SPLIT, REQUESTS = 0.10, 5000
TRIES = 4  # few enough for the budget of retries
# Breakers off, where a test is about something else.
UNBROKEN = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "DestinationRule",
    "metadata": {"name": "ledger", "annotations": {"mesh/breaker": "{enabled: false}"}},
    "spec": {"host": "ledger"},
}
# A change reaches a sidecar in some 10 ms; a busy machine may take longer.
IN_FORCE_S = 5.0


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    directory = tmp_path_factory.mktemp("policies")
    (directory / "mesh.yaml").write_text(TOPOLOGY)
    with real_mesh(directory, "mesh.yaml") as one:
        yield one


@pytest.fixture(autouse=True)
def clean(mesh: RealMesh) -> Iterator[None]:
    """No policy of the test before."""
    yield
    url = "/api/policies"
    keys = [
        f"key={each['kind']}/{each['namespace']}/{each['name']}" for each in mesh.ask(url).json()["documents"]
    ]
    if keys:
        assert mesh.ask(f"{url}?{'&'.join(keys)}", "DELETE").status == 200


@cache
@cache
def outbound(mesh: RealMesh) -> str:
    """Where the app of the entrypoint calls the others; at the ingress no host chooses the service."""
    return f"http://127.0.0.1:{mesh.instance('front-1')['ports']['outbound']}"


def put(mesh: RealMesh, *documents: Mapping[str, Any]) -> None:
    """By the control API, which is quicker than the command; in force everywhere when it returns."""
    body = json.dumps({"documents": documents}).encode()
    answer = mesh.ask("/api/policies", "PUT", body, {"Content-Type": "application/json"})
    assert answer.status == 200, answer
    assert answer.json()["sidecars"]["behind"] == []


def write(mesh: RealMesh, text: str, name: str = "policies.yaml") -> str:
    (mesh.directory / name).write_text(text)
    return name


def route(name: str, *blocks: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name},
        "spec": {"hosts": [name], "http": list(blocks)},
    }


def ask(
    mesh: RealMesh, service: str, path: str = "/", method: str = "GET", **headers: str
) -> tuple[int, bytes, Mapping[str, str]]:
    """One request to a service by its name, as an app of the mesh sends it: through its own sidecar."""
    given = {name.replace("_", "-"): value for name, value in headers.items()} | {"Host": service}
    body = b"x" if method == "POST" else None
    answer = http(outbound(mesh) + path, method, given, body)
    return answer.status, answer.body, answer.headers


async def ask_many(address: str, service: str, count: int, at_once: int = 8) -> Counter[tuple[int, str]]:
    """(status, version that answered) of so many requests."""
    found: Counter[tuple[int, str]] = Counter()

    async def client(session: aiohttp.ClientSession, mine: int) -> None:
        for _ in range(mine):
            async with session.get(address, headers={"Host": service}) as answer:
                body = await answer.read()
                version = json.loads(body).get("version", "") if answer.status == 200 else ""
                found[answer.status, version] += 1

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        for _ in range(at_once):
            tasks.create_task(client(session, count // at_once))
    return found


def receipts(mesh: RealMesh) -> list[dict[str, str]]:
    """What the replicas of the ledger have begun, asked past every sidecar."""
    found: list[dict[str, str]] = []
    for each in mesh.status()["instances"]:
        if each["service"] == "ledger":
            found += http(f"http://127.0.0.1:{each['ports']['app']}/receipts").json()
    return found


def events(mesh: RealMesh, kind: str) -> list[dict[str, Any]]:
    found = mesh.ask(f"/api/events?kind={kind}").json()["events"]
    assert isinstance(found, list)
    return found


def policy_of(mesh: RealMesh) -> dict[str, dict[str, Any]]:
    """What each sidecar says of its policies."""
    status = mesh.status()
    named = [each["name"] for each in (*status["instances"], *status["extras"]) if each["ports"]["admin"]]
    return {name: mesh.snapshot(name)["policy"] for name in named}


def test_the_tutorial_s_documents_come_into_force_without_a_dropped_request(mesh: RealMesh) -> None:
    """Unchanged, on every sidecar, under load; applied again they change nothing, and weights may flap."""
    file = write(mesh, TUTORIAL)
    mesh.reset_load()
    out = mesh.ok("apply", "-f", file).splitlines()
    assert out[:2] == ["virtualservice/reviews created", "destinationrule/reviews created"]
    assert out[2].startswith("8 of 8 sidecars at version ")
    version = out[2].split()[-1]
    applied = events(mesh, "policy")
    asked = next(event["time"] for event in applied if event["source"] == "cli")
    shown = policy_of(mesh)
    assert {each["version"] for each in shown.values()} == {version}
    assert {each["problem"] for each in shown.values()} == {""}
    assert max(each["at"] for each in shown.values()) - asked < IN_FORCE_S
    assert mesh.ok("apply", "-f", file).splitlines()[:2] == [
        "virtualservice/reviews unchanged",
        "destinationrule/reviews unchanged",
    ]
    documents = [each["document"] for each in mesh.ask("/api/policies").json()["documents"]]
    for weight in range(20):
        split = documents[1]["spec"]["http"][1]["route"]
        split[0]["weight"], split[1]["weight"] = 100 - weight, weight
        put(mesh, *documents)
    load = until(lambda: (one := mesh.load())["completed"] > 200 and one)
    assert (load["failed"], load["dropped"], load["errors"]) == (0, 0, {})


def test_a_split_is_kept_within_three_sigma(mesh: RealMesh) -> None:
    """Of 5,000 requests a tenth, none lost."""
    documents = list(yaml.safe_load_all(TUTORIAL))
    documents[1]["metadata"]["annotations"] = {"mesh/breaker": "{enabled: false}"}
    put(mesh, *documents)
    found = asyncio.run(ask_many(outbound(mesh), "reviews", REQUESTS))
    assert sum(found.values()) == found[200, "v1"] + found[200, "v2"] == REQUESTS
    sigma = (REQUESTS * SPLIT * (1 - SPLIT)) ** 0.5
    assert abs(found[200, "v2"] - REQUESTS * SPLIT) <= 3 * sigma


def split_with_canary(percent: int) -> dict[str, Any]:
    return {
        "route": [
            {"destination": {"host": "reviews"}, "weight": 100 - percent},
            {"destination": {"host": "canary"}, "weight": percent},
        ],
        "retries": {"attempts": 2, "retryOn": "5xx"},
    }


def test_a_canary_that_always_fails_is_seen_by_its_share(mesh: RealMesh) -> None:
    """As in a cluster; and the status says so."""
    put(mesh, route("reviews", split_with_canary(50)))
    found = asyncio.run(ask_many(outbound(mesh), "reviews", 400, 4))
    good = sum(count for (status, _), count in found.items() if status == 200)
    assert abs(good - 200) <= 3 * (400 * 0.25) ** 0.5
    words = until(lambda: mesh.status()["warnings"])
    assert words[0].startswith("canary ")
    assert words[0].endswith("and the rule reviews/0 sends it 50 %: who is sent there sees that")
    assert f"warning: {words[0][:40]}" in mesh.ok("status")


def test_a_canary_that_always_fails_is_rescued_where_a_document_says_so(mesh: RealMesh) -> None:
    """A retry draws the split anew without it, so that its part of the requests succeeds elsewhere."""
    document = route("reviews", split_with_canary(10))
    document["metadata"]["annotations"] = {"mesh/retry-other-arm": "true"}
    put(mesh, document)
    found = asyncio.run(ask_many(outbound(mesh), "reviews", 400, 4))
    assert {status for status, _ in found} == {200}
    asked = mesh.snapshot("front-1")["upstreams"]["canary"]["endpoints"]
    assert asked[0]["failures"] > 0


def test_a_request_explains_itself(mesh: RealMesh) -> None:
    """Each exchange of a trace, with the attempts and who answered; an unknown trace says what to do."""
    block = {
        "route": [{"destination": {"host": "ledger"}}],
        "timeout": "2s",
        "retries": {"attempts": 2, "retryOn": "5xx"},
    }
    put(mesh, route("ledger", block), UNBROKEN)
    numbers = iter(range(1, 100))

    def outbound_of() -> dict[str, Any] | None:
        # of many failures in one second only the first ones are kept, so not the first try of a test either
        trace = f"4bf92f3577b34da6a3ce929d0e0e47{next(numbers):02}"
        status, _, _ = ask(mesh, "ledger", "/busy", traceparent=f"00-{trace}-00f067aa0ba902b7-01")
        assert status == 503
        answer = mesh.ask(f"/api/explain/{trace}")
        found = answer.json()["exchanges"] if answer.status == 200 else []
        here = ("front-1", "outbound")
        return next((each for each in found if (each["instance"], each["direction"]) == here), None)

    outbound = until(outbound_of)
    assert outbound is not None
    trace = outbound["trace_id"]
    assert [attempt["status"] for attempt in outbound["attempts"]] == [503, 503, 503], outbound
    assert outbound["route"] == "ledger/0"
    story = mesh.ok("explain", trace)
    assert f"trace {trace}: " in story
    assert "front-1 outbound: GET ledger/busy → 503" in story
    assert {"ledger-1", "ledger-2"} <= {word for word in story.split() if word.startswith("ledger-")}
    ran = mesh.run("explain", "0" * 31 + "1")
    assert ran.code == 2
    assert ran.err.startswith("mesh explain: no sidecar remembers the trace ")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("path", ["/cut", "/busy", "/hang"])
def test_a_post_that_was_begun_is_never_sent_again(mesh: RealMesh, path: str) -> None:
    """Where the document has no `retryOn`; the same as a GET is tried again, so the policy was in force."""
    block = {
        "route": [{"destination": {"host": "ledger"}}],
        "timeout": "500ms",
        "retries": {"attempts": 3, "perTryTimeout": "100ms"},
    }
    put(mesh, route("ledger", block), UNBROKEN)
    for number in range(TRIES):
        for method in ("POST", "GET"):
            status, _, _ = ask(mesh, "ledger", path, method, x_number=f"{method}{path}{number}")
            assert status >= 500
    begun = Counter(each["x-number"] for each in receipts(mesh) if "x-number" in each)
    assert {begun[f"POST{path}{number}"] for number in range(TRIES)} == {1}
    assert sum(begun[f"GET{path}{number}"] for number in range(TRIES)) > TRIES


def test_retry_on_acts_on_every_method(mesh: RealMesh) -> None:
    """As in Envoy, and as the warning at apply says."""
    block = {
        "route": [{"destination": {"host": "ledger"}}],
        "retries": {"attempts": 2, "retryOn": "5xx"},
    }
    file = write(mesh, yaml.safe_dump_all([route("ledger", block), UNBROKEN]), "retried.yaml")
    ran = mesh.run("apply", "-f", file)
    assert ran.code == 0
    assert "a POST may run twice" in ran.out + ran.err
    assert ask(mesh, "ledger", "/busy", "POST", x_number="retried")[0] == 503
    assert Counter(each["x-number"] for each in receipts(mesh) if "x-number" in each)["retried"] > 1


def test_a_deadline_crosses_three_hops(mesh: RealMesh) -> None:
    """What the ingress allows is what is left at the last of four, minus the way; the slow end is cut off."""
    block = {"route": [{"destination": {"host": "front"}}], "timeout": "3s"}
    old = {each["x-request-id"] for each in receipts(mesh)}
    put(mesh, route("front", block))

    def most_allowed() -> int:
        assert ask(mesh, "front")[0] == 200
        ours = [each for each in receipts(mesh) if each["path"] == "/" and each["x-request-id"] not in old]
        return max((int(each.get("x-envoy-expected-rq-timeout-ms", 0)) for each in ours), default=0)

    assert until(most_allowed) < 3000
    longer = {**block, "timeout": "12s"}
    put(mesh, route("front", longer))
    assert 3000 < until(lambda: (most := most_allowed()) > 3000 and most) < 12_000


def test_a_fault_at_a_service_opens_its_caller_s_breaker_and_the_journal_says_why(mesh: RealMesh) -> None:
    """By `mesh fault`, at one of two replicas; nobody outside sees an error; it ends when it is cleared."""
    mesh.reset_load()
    began = until(lambda: [event["id"] for event in events(mesh, "breaker")] or [0])[-1]
    out = mesh.ok("fault", "ledger-2", "--abort", "503", "--for", "60s")
    assert out == "fault/ledger-2 created: ledger-2: abort 503, ends by itself after 60s\n"

    def opened() -> dict[str, Any] | None:
        return next(
            (
                event
                for event in events(mesh, "breaker")
                if event["id"] > began
                and (event["source"], event["endpoint"]) == ("middle-1", "ledger-2")
                and event["after"] == "open"
            ),
            None,
        )

    event = until(opened)
    assert event is not None
    assert "fail" in event["reason"]
    told = [one for one in events(mesh, "fault") if one["source"] == "cli"]
    assert [(one["action"], one["target"], one["reason"]) for one in told] == [
        ("began", "ledger-2", "abort 503")
    ]
    assert "ledger-2   abort 503" in mesh.ok("fault", "list")
    load = mesh.load()
    assert (load["failed"], load["dropped"]) == (0, 0)
    assert mesh.ok("fault", "clear", "ledger-2") == "fault/ledger-2 ended\n"
    assert mesh.ok("fault", "list") == "no faults\n"


def test_wrong_documents_change_nothing(mesh: RealMesh) -> None:
    """Refused before anything is written, each problem on a line with file, document and field."""
    file = write(mesh, TUTORIAL)
    mesh.ok("apply", "-f", file)
    before = {name: each["version"] for name, each in policy_of(mesh).items()}
    wrong = (
        TUTORIAL.replace("weight: 90", "weight: 80")
        .replace("perTryTimeout: 2s", "perTryTimeout: soon")
        .replace("consecutive5xxErrors", "consecutive5xErrors")
    )
    ran = mesh.run("apply", "-f", write(mesh, wrong, "wrong.yaml"))
    assert (ran.code, ran.out) == (2, "")
    assert [line.split(": ")[1:4] for line in ran.err.splitlines()] == [
        ["wrong.yaml:42", "VirtualService/reviews", "spec.http[1].retries.perTryTimeout"],
        [
            "wrong.yaml:61",
            "DestinationRule/reviews",
            "spec.trafficPolicy.outlierDetection.consecutive5xErrors",
        ],
    ]
    dry = mesh.ok(
        "apply", "-f", write(mesh, TUTORIAL.replace("weight: 90", "weight: 91"), "dry.yaml"), "--dry-run"
    )
    assert "-      weight: 90\n+      weight: 91\n" in dry
    assert {name: each["version"] for name, each in policy_of(mesh).items()} == before


KUBECTL = """\
apiVersion: v1
kind: List
metadata: {resourceVersion: ""}
items:
- apiVersion: networking.istio.io/v1
  kind: VirtualService
  metadata:
    name: reviews
    namespace: default
    uid: 0b0e6b3c-0000-4000-8000-000000000000
    resourceVersion: "4711"
    generation: 2
    creationTimestamp: "2026-01-02T03:04:05Z"
    managedFields: [{manager: kubectl}]
  spec:
    hosts: [reviews]
    http:
    - match: [{uri: {prefix: /old}}]
      route: [{destination: {host: reviews, subset: v1}}]
    - route: [{destination: {host: reviews.default.svc.cluster.local, subset: v2}}]
  status: {}
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: reviews}
"""
SUBSETS = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %s, namespace: %s}
spec: {host: reviews, subsets: [{name: %s, labels: {version: %s}}]}
"""


def answers(mesh: RealMesh, *paths: str) -> list[int]:
    url = outbound(mesh)
    return [http(f"{url}{path}", headers={"Host": "reviews"}).status for path in paths]


def test_what_kubectl_prints_comes_and_goes_in_any_order(mesh: RealMesh) -> None:
    """A route before its subset is a 503 there; rules of one host are one; other namespaces are others."""
    file = write(mesh, KUBECTL, "list.yaml")
    ran = mesh.run("apply", "-f", file)
    assert ran.code == 2
    assert ran.err.startswith(
        "mesh apply: list.yaml:23: Deployment/reviews: kind: 'Deployment' is not honoured"
    )
    ran = mesh.run("apply", "-f", file, "--skip-unknown")
    assert ran.code == 0, ran.err
    assert "list.yaml:23: Deployment/reviews: skipped" in ran.err
    assert (
        "warning: list.yaml:19: VirtualService/reviews: spec.http[0].route[0].destination.subset" in ran.err
    )
    assert answers(mesh, "/old", "/new") == [503, 503]
    mesh.ok("apply", "-f", write(mesh, SUBSETS % ("one", "default", "v1", "v1"), "one.yaml"))
    assert answers(mesh, "/old", "/new") == [200, 503]
    mesh.ok("apply", "-f", write(mesh, SUBSETS % ("two", "default", "v2", "v2"), "two.yaml"))
    mesh.ok("apply", "-f", write(mesh, SUBSETS % ("two", "prod", "v1", "none"), "prod.yaml"))
    assert answers(mesh, "/old", "/new") == [200, 200]
    assert mesh.ok("get", "dr", "-A", "-o", "name").count("\n") == 3
    shown = yaml.safe_load(mesh.ok("get", "vs", "reviews", "-o", "yaml"))
    assert shown["metadata"] == {
        "name": "reviews",
        "namespace": "default",
        "creationTimestamp": "2026-01-02T03:04:05Z",
    }
    (mesh.directory / "all.yaml").write_text(mesh.ok("get", "vs,dr", "-A", "-o", "yaml"))
    assert "unchanged" in mesh.ok("apply", "-f", "all.yaml")
    mesh.ok("delete", "dr", "one")
    assert answers(mesh, "/old", "/new") == [503, 200]
    mesh.ok("delete", "dr", "two", "-n", "prod")
    mesh.ok("delete", "vs", "reviews")
    mesh.ok("delete", "dr", "two")
    assert answers(mesh, "/old") == [200]
