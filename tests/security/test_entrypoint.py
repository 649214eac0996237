"""A real mesh and somebody at its entrypoint: what Host reaches, what a header claims, what CONNECT does."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.run import read_responses
from tests.e2e.real_mesh import RealMesh, http, real_mesh, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

ECHO = Path(__file__).parent / "apps" / "echo_app.py"
TOPOLOGY = f"""
services:
- name: gateway
  isEntrypoint: true
  command: ["{sys.executable}", "{ECHO}", "{{port}}"]
- name: orders
"""
BOUND = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: site}
spec:
  hosts: [shop.test]
  gateways: [public]
  http: [{route: [{destination: {host: orders}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: gateway}
spec:
  hosts: [gateway]
  http:
  - match: [{uri: {prefix: /tea}}]
    directResponse: {status: 418}
  - route: [{destination: {host: gateway}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: trap}
spec:
  hosts: [trap]
  http: [{route: [{destination: {host: consul}}]}]
"""
# Of each: another service, the registry, something bound to the ingress by nobody.
HOSTS = [
    *("consul", "consul.localhost", "CONSUL.", "consul.default.svc.cluster.local", "consul.mesh:8500"),
    *("orders", "orders.mesh", "orders.localhost", "orders.example.com", "registry", "ingress", "trap"),
    *("localhost", "evil.example", "[::1]", "gateway"),
]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    directory = tmp_path_factory.mktemp("edge")
    (directory / "edge.yaml").write_text(TOPOLOGY)
    with real_mesh(directory, "edge.yaml", "--rate", "1") as running:
        yield running


def entrypoint(mesh: RealMesh) -> int:
    return int(mesh.status()["entrypoint"].rpartition(":")[2])


def say(port: int, raw: bytes, method: bytes = b"GET") -> tuple[int, bytes, bytes]:
    """(status, head in lower case, body) of one request; no answer is status 0."""
    got = listen(port, raw)
    found, _, _ = read_responses(got, [method], True)
    return (found[0].status, found[0].head.lower(), found[0].body) if found else (0, got, b"")


def listen(port: int, raw: bytes) -> bytes:
    """All that comes back until the end of the connection, which the request should ask for."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(raw)
        try:
            while data := client.recv(65536):
                got += data
        except (TimeoutError, ConnectionError):
            return got + b"<open>" if isinstance(sys.exc_info()[1], TimeoutError) else got
    return got


def ask(port: int, line: str, *fields: str, body: bytes = b"") -> tuple[int, bytes, bytes]:
    lines = [f"{line} HTTP/1.1", *fields, "Connection: close"]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return say(port, "\r\n".join([*lines, "", ""]).encode() + body, line.split(" ")[0].encode())


def echoed(answer: tuple[int, bytes, bytes]) -> dict[str, Any]:
    """What the entrypoint's app saw of a request that must have come to it."""
    status, _, body = answer
    assert status == 200, answer
    seen = json.loads(body)
    assert seen["app"] == "echo", answer
    return {name.lower(): value for name, value in seen["headers"]} | {"target": seen["target"]}


@pytest.mark.parametrize("host", HOSTS)
def test_no_host_leads_past_the_entrypoint(mesh: RealMesh, host: str) -> None:
    """Not by the field, not by the target, for reading or writing."""
    port = entrypoint(mesh)
    assert echoed(ask(port, "GET /v1/catalog/services", f"Host: {host}"))["target"] == "/v1/catalog/services"
    absolute = ask(port, f"GET http://{host}/v1/agent/self", "Host: gateway")
    assert echoed(absolute)["target"] == "/v1/agent/self"
    echoed(ask(port, "PUT /v1/kv/stolen", f"Host: {host}", body=b"x"))
    registry = mesh.instance("registry")["ports"]["app"]
    assert http(f"http://127.0.0.1:{registry}/v1/kv/stolen").status == 404


def test_nobody_inside_is_led_to_the_registry_and_short_forms_are_ours(mesh: RealMesh) -> None:
    """An app's own way out knows services by their names, and no other name for them."""
    port = mesh.instance("gateway-1")["ports"]["outbound"]
    for host in ("orders", "orders.mesh", "orders.default.svc.cluster.local", f"orders.localhost:{port}"):
        status, _, body = ask(port, "GET /", f"Host: {host}")
        assert (status, json.loads(body)["service"]) == (200, "orders"), host
    mesh_words = b"no service is named"
    for host in ("consul", "consul.localhost", "consul.mesh", "orders.example.com", "orders.shop.svc"):
        status, _, body = ask(port, "GET /v1/catalog/services", f"Host: {host}")
        assert status == 503, (host, status)
        assert mesh_words in body, (host, body)
        assert b"consul" not in body.partition(b"known are")[2]


def test_a_document_may_lead_a_host_elsewhere_but_never_to_the_registry(mesh: RealMesh) -> None:
    """Bound to the ingress by `gateways`; what is for the entrypoint's own service acts whatever the Host."""
    file = mesh.directory / "bound.yaml"
    file.write_text(BOUND)
    mesh.ok("apply", "-f", str(file))
    port, out = entrypoint(mesh), mesh.instance("gateway-1")["ports"]["outbound"]
    try:
        status, _, body = until(
            lambda: next(
                iter([found] if (found := ask(port, "GET /", "Host: shop.test"))[0] == 200 else []), None
            )
        )
        assert json.loads(body)["service"] == "orders"
        for host in ("shop.test.evil", "trap", "orders"):
            echoed(ask(port, "GET /", f"Host: {host}"))
            assert ask(port, "GET /tea", f"Host: {host}")[0] == 418
        status, _, body = ask(out, "GET /v1/catalog/services", "Host: trap")
        assert (status, b"no service is named 'consul'" in body) == (503, True)
        assert ask(out, "GET /", "Host: shop.test")[0] == 503, "it is bound to the ingress only"
    finally:
        mesh.ok("delete", "-f", str(file))


FORGED = [
    *("X-Envoy-Peer-Metadata-Id: a~b~c", "x_envoy_decorator_operation: x", "X-Envoy-Original-Path: /admin"),
    *("X-Mesh-Criticality: critical", "X_Mesh_Criticality: critical", "X-Mesh-New: 1", "X.Mesh.Dotted: 1"),
    *(
        "X-Forwarded-For: 6.6.6.6",
        "X_Forwarded_For: 6.6.6.6",
        "X-Forwarded-Proto: https",
        "X-Forwarded-User: root",
    ),
    *(
        "X-Forwarded-Client-Cert: By=spiffe://x",
        "Forwarded: for=6.6.6.6",
        "Proxy: http://evil:1",
        "X-Real-IP: 6.6.6.6",
    ),
    *("Endpoint-Load-Metrics: TEXT x=1", "X-Own: mine", "X-Request-Id: my-own"),
]


def test_no_header_of_a_stranger_claims_anything(mesh: RealMesh) -> None:
    """The app sees what the mesh says of the request, and the stranger's own business."""
    seen = echoed(ask(entrypoint(mesh), "GET /x", "Host: shop.example", *FORGED))
    for field in FORGED[:-2]:
        name, _, value = field.partition(": ")
        assert seen.get(name.lower()) != value, field
    assert not [
        name for name in seen if name.startswith(("x_", "x.", "x-mesh-", "x-forwarded-c", "x-forwarded-u"))
    ]
    assert (seen["x-forwarded-for"], seen["x-forwarded-proto"]) == ("127.0.0.1", "http")
    assert (seen["x-forwarded-host"], seen["x-own"], seen["x-request-id"]) == (
        "shop.example",
        "mine",
        "my-own",
    )


def test_an_app_that_speaks_for_the_mesh_is_not_believed(mesh: RealMesh) -> None:
    """It said that it cannot be reached: its sidecar and its callers go on as before."""
    inbound = mesh.instance("gateway-1")["ports"]["inbound"]
    status, head, _ = ask(inbound, "GET /lie", "Host: gateway")
    assert status == 503
    assert b"x-mesh-reason" not in head
    assert b"server: mesh" not in head
    assert b"x-envoy-overloaded" not in head
    assert b"health=1.0" in head
    seen = mesh.endpoint("ingress", "gateway-1")
    assert seen is not None
    assert (seen["health"], seen["breaker"]) == ("passing", "closed")
    echoed(ask(entrypoint(mesh), "GET /", "Host: x"))


def test_connect_is_refused_on_every_listener(mesh: RealMesh) -> None:
    """One 405 (for what is no target at all some say 400), then the end; what follows never runs."""
    hidden = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    apps = {mesh.instance("gateway-1")["ports"]["app"]}  # somebody's program, which answers as it likes
    for port in sorted(mesh.ports() - apps):
        for target in ("/", "127.0.0.1:80", "*", "http://127.0.0.1/"):
            head = f"CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            got = listen(port, f"{head}Content-Length: {len(hidden)}\r\n\r\n".encode() + hidden)
            assert got.count(b"HTTP/1.") == 1, (port, target, got)
            assert got[9:12] in (b"405", b"400" if target.startswith("http") else b"405"), (port, target, got)
            assert not got.endswith(b"<open>"), (port, target)
