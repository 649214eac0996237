"""A mesh of real processes that calls out of itself: two servers that are no part of it, one behind TLS."""

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.real_mesh import RealMesh, http, real_mesh, until
from tests.fakes.outside import HOST, Outside, entry, outside

pytestmark = pytest.mark.e2e

TLS = Path(__file__).parents[1] / "sidecar" / "tls"


def document(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": {"name": "api"},
        "spec": spec,
    }


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Outside, Outside]]:
    with outside() as one, outside() as two:
        yield one, two


@pytest.fixture(scope="module")
def mesh(servers: tuple[Outside, Outside], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    directory = tmp_path_factory.mktemp("outside")
    topology = {
        "services": [{"name": "shop", "script": [{"call": HOST}]}],
        "outboundTrafficPolicy": {"mode": "ALLOW_ANY"},
        "policies": [entry(*(server.server_port for server in servers))],
    }
    (directory / "outside.yaml").write_text(json.dumps(topology))
    with real_mesh(directory, "outside.yaml", "--no-load") as found:
        yield found


def put(mesh: RealMesh, *documents: dict[str, Any]) -> None:
    file = mesh.directory / "policies.yaml"
    file.write_text("\n---\n".join(json.dumps(each) for each in documents))
    mesh.ok("apply", "-f", str(file))


def ask(mesh: RealMesh) -> int:
    """One request from the way in; its status."""
    return http(mesh.status()["entrypoint"]).status


def test_a_script_calls_out_of_the_mesh(mesh: RealMesh, servers: tuple[Outside, Outside]) -> None:
    """With its Host and the trace, without a word of who asks; counted, drawn, told as any service."""
    assert any('it is "shop"' in note for note in mesh.status()["notes"])
    for _ in range(20):
        assert ask(mesh) == 200
    heads = [head for server in servers for head in server.heads]
    assert len(heads) == 20
    assert all(server.heads for server in servers)
    assert {head["host"] for head in heads} == {HOST}
    assert all("traceparent" in head and "x-envoy-peer-metadata-id" not in head for head in heads)
    admin = f"http://127.0.0.1:{mesh.instance('shop-1')['ports']['admin']}"
    stats = http(f"{admin}/stats?filter=^cluster.{HOST}.upstream_rq_2xx").body.decode()
    assert stats == f"cluster.{HOST}.upstream_rq_2xx: 20\n"
    metrics = http(f"{admin}/metrics").body.decode()
    assert f'destination_service_name="{HOST}"' in metrics
    graph = until(lambda: (found := mesh.ask("/api/topology").json()).get("outside") and found)
    assert graph["outside"] == [HOST]
    assert ["shop", HOST] in graph["calls"]


def test_a_document_of_the_host_acts(mesh: RealMesh, servers: tuple[Outside, Outside]) -> None:
    """A VirtualService that adds a key; `mesh get` knows the kind by its short word."""
    route = {"destination": {"host": HOST}, "headers": {"request": {"set": {"x-key": "secret"}}}}
    put(mesh, document("VirtualService", {"hosts": [HOST], "http": [{"route": [route]}]}))
    assert ask(mesh) == 200
    assert any(head.get("x-key") == "secret" for server in servers for head in server.heads)
    assert HOST in mesh.ok("get", "se")
    mesh.ok("delete", "vs/api")


def test_one_of_its_endpoints_dies(mesh: RealMesh, servers: tuple[Outside, Outside]) -> None:
    """Nobody sees it: another endpoint answers, the dead one's breaker opens."""
    with outside() as third:
        put(mesh, entry(servers[0].server_port, third.server_port))
        for _ in range(6):
            assert ask(mesh) == 200
        dead = f"127.0.0.1:{third.server_port}"

    def is_open() -> bool:
        assert ask(mesh) == 200
        found = mesh.endpoint("shop-1", dead)
        return found is not None and found["breaker"] == "open"

    until(is_open, 20)


def test_tls_that_the_sidecar_begins(mesh: RealMesh) -> None:
    """The app calls by plain http; a certificate of somebody else's gets no request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem", TLS / "server.key")
    with outside(tls=context) as secure:
        for ca, status in (("ca.pem", 200), ("other.pem", 500)):
            tls = {"mode": "SIMPLE", "caCertificates": str(TLS / ca)}
            rule = document("DestinationRule", {"host": HOST, "trafficPolicy": {"tls": tls}})
            put(mesh, entry(secure.server_port), rule)
            before = len(secure.heads)
            answer = http(mesh.status()["entrypoint"])
            assert (answer.status == 200) is (status == 200), answer.body
            assert len(secure.heads) - before == (status == 200)
    mesh.ok("delete", "dr/api")


def test_a_host_that_nobody_knows(mesh: RealMesh) -> None:
    """Goes where it says, for this topology wants that; this machine by a name, and the registry, do not."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: it only chooses a route
        own = str(probe.getsockname()[0])
    proxy = f"http://127.0.0.1:{mesh.instance('shop-1')['ports']['outbound']}"
    with outside(own) as server:
        found = http(f"{proxy}/", headers={"Host": f"{own}:{server.server_port}"})
        assert found.json() == {"from": "outside"}
        assert mesh.snapshot("shop-1")["upstreams"]["PassthroughCluster"]["requests"] == 1
    for host in (f"localhost:{mesh.instance('shop-1')['ports']['admin']}", "consul", "consul.mesh:8500"):
        refused = http(f"{proxy}/", headers={"Host": host})
        assert refused.status == 503
    entrypoint = http(mesh.status()["entrypoint"], headers={"Host": "some.example.net"})
    assert entrypoint.json()["service"] == "shop"  # a stranger's Host names nothing
