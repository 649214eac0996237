"""Clients that go away in the middle of whatever it is: no traceback, no leftover, nobody else notices."""

import json
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.real_mesh import RealMesh, http, real_mesh, wait

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

# What never ends by itself, and what needs a body.
STREAMS = {"control": ["/api/stream"], "admin": ["/events"], "registry": ["/v1/kv/?recurse&index=1&wait=60s"]}
BODIES = {
    "control": [
        "PUT /api/load",
        "PUT /api/policies",
        "POST /v1/traces",
        "PUT /api/services/x",
        "POST /api/faults",
    ],
    "registry": ["PUT /v1/kv/x", "PUT /v1/agent/service/register", "PUT /v1/txn", "PUT /v1/session/create"],
    "load": ["PUT /rate", "PUT /pattern", "PUT /load"],
    "admin": ["POST /logging?level=info"],
    "app": ["POST /"],
    "inbound": ["POST /"],
    "entrypoint": ["POST /"],
}
ROUNDS = 3


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


ENDS = (reset, socket.socket.close)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory: Path = tmp_path_factory.mktemp("gone")
    (directory / "one.yaml").write_text("services:\n- name: web\n  isEntrypoint: true\n")
    with real_mesh(directory, "one.yaml", "--rate", "20") as found:
        yield found


def addresses(mesh: RealMesh) -> dict[str, int]:
    """The port of each kind of listener."""
    status, ports = mesh.status(), mesh.instance("web-1")["ports"]
    urls = {
        "control": status["control"],
        "registry": status["registry"],
        "load": status["load"]["url"],
        "entrypoint": status["entrypoint"],
    }
    found = {name: int(url.rpartition(":")[2]) for name, url in urls.items()}
    return found | {name: ports[name] for name in ("admin", "app", "inbound")}


def begin(port: int, line: str, *fields: str, body: bytes = b"") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    head = "\r\n".join([f"{line} HTTP/1.1", f"Host: 127.0.0.1:{port}", *fields, "", ""])
    client.sendall(head.encode() + body)
    return client


def test_a_closed_client_is_no_traceback(mesh: RealMesh) -> None:
    """Of a stream that it read, that it did not read, of half a body, of half a chunk; by FIN and by RST."""
    ports = addresses(mesh)
    failed_before = mesh.load()["failed"]
    kind = "Content-Type: application/x-protobuf"
    for end in ENDS * ROUNDS:
        clients = []
        for name, paths in STREAMS.items():
            for path in paths:
                end(begin(ports[name], f"GET {path}"))  # before it was answered
                clients.append(begin(ports[name], f"GET {path}"))
        for name, lines in BODIES.items():
            for line in lines:
                clients.append(begin(ports[name], line, kind, "Content-Length: 1000", body=b"half"))
                clients.append(begin(ports[name], line, kind, "Transfer-Encoding: chunked", body=b"5\r\nha"))
        # the page's stream and a watcher's write something while they are closed
        mesh.ok("fault", "web", "--delay", "1ms", "--for", "30s")
        mesh.ok("fault", "clear")
        for client in clients:
            end(client)
    mesh.ok("fault", "web", "--delay", "1ms", "--for", "1s")
    wait(2.0)  # what still tries to write to one of them, does it by now
    for log in sorted(mesh.state.logs.glob("*.log")):
        text = log.read_text(errors="replace")
        assert "Traceback" not in text, f"{log.name}: {text[text.index('Traceback') :][:3000]}"
        assert " ERROR " not in text, log.name
    assert mesh.load()["failed"] == failed_before, "other clients noticed"
    assert mesh.status()["phase"] == "up"


def test_watchers_that_went_away_are_not_counted(mesh: RealMesh) -> None:
    """Ten times as many as may watch at once, one after the other, while nothing happens to tell them."""
    port = addresses(mesh)["admin"]
    for number in range(640):
        client = begin(port, "GET /events")
        if number % 20 == 0:
            client.recv(1000)
        ENDS[number % 2](client)
    with begin(port, "GET /events") as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert json.loads(http(f"http://127.0.0.1:{port}/snapshot").body)["name"] == "web-1"
