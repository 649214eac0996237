"""Any program under a sidecar: Python's http.server and Node as services, curl as a caller."""

import json
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.real_mesh import RealMesh, http, real_mesh, until

pytestmark = pytest.mark.e2e

NODE = """\
const http = require('http');
http.createServer((request, response) => {
  if (request.url === '/healthz') return response.end('fine');
  // as a Node program that honours HTTP_PROXY does: the absolute URL goes to the proxy
  const proxy = new URL(process.env.HTTP_PROXY);
  http.get({host: proxy.hostname, port: proxy.port, path: 'http://files/hello.txt'}, (answer) => {
    let text = '';
    answer.on('data', (data) => { text += data; });
    answer.on('end', () => response.end(`${process.env.INSTANCE} read ${text}`));
  });
}).listen(process.env.PORT, '127.0.0.1');
"""

TOPOLOGY = """\
services:
- name: front
  isEntrypoint: true
  script:
  - call: {service: reader, path: /read}
  - call: {service: files, path: /hello.txt}
- name: files
  numReplicas: 2
  command: [python3, -m, http.server, "{port}", --bind, 127.0.0.1, --directory, DIRECTORY]
- name: reader
  command: [node, DIRECTORY/reader.js]
  health: {path: /healthz}
load: {rate: 20}
"""


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    directory = tmp_path_factory.mktemp("programs")
    (directory / "hello.txt").write_text("hello")
    (directory / "reader.js").write_text(NODE)
    topology = directory / "mixed.yaml"
    topology.write_text(TOPOLOGY.replace("DIRECTORY", str(directory)))
    with real_mesh(directory, str(topology)) as mesh:
        yield mesh


def curl(mesh: RealMesh, through: str, url: str) -> str:
    port = mesh.instance(through)["ports"]["outbound"]
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail", url],
        env={"http_proxy": f"http://127.0.0.1:{port}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return done.stdout


def test_programs_of_others_are_healthy_members(mixed: RealMesh) -> None:
    """One is asked on its health path, the other by a connection."""
    assert {one["name"]: one["state"] for one in mixed.status()["instances"]} == {
        "front-1": "healthy",
        "files-1": "healthy",
        "files-2": "healthy",
        "reader-1": "healthy",
    }


def test_they_are_called_and_call_through_their_sidecars(mixed: RealMesh) -> None:
    """The Node program asks http.server, by name, through HTTP_PROXY."""
    port = mixed.instance("reader-1")["ports"]["inbound"]
    assert http(f"http://127.0.0.1:{port}/read").body == b"reader-1 read hello"
    until(lambda: mixed.load()["ok"] > 40)
    assert mixed.load()["failed"] == 0
    seen = mixed.snapshot("reader-1")["upstreams"]["files"]
    assert seen["requests"] > 0
    assert seen["failed"] == 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_reaches_a_service_by_its_name(mixed: RealMesh) -> None:
    """`http_proxy=<outbound of any sidecar> curl http://files/`."""
    assert curl(mixed, "front-1", "http://files/hello.txt") == "hello"
    tree = json.loads(curl(mixed, "reader-1", "http://front/"))
    assert tree["instance"] == "front-1"


def test_a_program_comes_back_on_its_port(mixed: RealMesh) -> None:
    """A killed http.server finds its port free when it is healed; its twin served meanwhile."""
    before = mixed.instance("files-1")
    mixed.ok("kill", "files-1", "--part", "app")
    until(lambda: mixed.instance("files-1")["state"] == "down")
    mixed.ok("heal", "files-1")
    until(lambda: mixed.instance("files-1")["healthy"], 15)
    after = mixed.instance("files-1")
    assert after["ports"] == before["ports"]
    assert after["pids"]["app"] != before["pids"]["app"]
    assert mixed.load()["failed"] == 0
