"""`make images` against a registry: the digest is the one that the registry names, by way of the engine."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mesh.errors import MeshError
from mesh.export.renew import ask_registry

pytestmark = pytest.mark.docker

INDEX = "application/vnd.oci.image.index.v1+json"
# As of an image for two systems: the digest that is wanted is that of the list.
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": f"sha256:{letter * 64}",
                "size": 1000,
                "platform": {"architecture": architecture, "os": "linux"},
            }
            for letter, architecture in (("a", "amd64"), ("b", "arm64"))
        ],
    }
).encode()
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"


class Registry(BaseHTTPRequestHandler):
    """`/v2/` and the manifest of one tag."""

    def do_GET(self) -> None:
        known = ("11.6.16", DIGEST)
        if self.path == "/v2/":
            self._answer(200, b"{}", "application/json")
        elif self.path in [f"/v2/grafana/grafana/manifests/{each}" for each in known]:
            self._answer(200, MANIFEST, INDEX)
        else:
            self._answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}', "application/json")

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == 200 and kind == INDEX:
            self.send_header("Docker-Content-Digest", DIGEST)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture
def registry() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_digest_is_the_registrys(engine: None, registry: str) -> None:
    """Of the list for all systems."""
    assert ask_registry(f"{registry}/grafana/grafana:11.6.16") == DIGEST


def test_an_unknown_tag_and_a_silent_registry_are_one_line(engine: None, registry: str) -> None:
    """With the image's name in it."""
    for image in (f"{registry}/grafana/grafana:0.0.0", "127.0.0.1:1/grafana/grafana:11.6.16"):
        with pytest.raises(MeshError, match="cannot be asked for the digest") as error:
            ask_registry(image)
        assert image in str(error.value)
        assert "\n" not in str(error.value)
