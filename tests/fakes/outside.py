"""A server that is no part of a mesh, in a thread of its own, and the document that says where it is."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOST = "api.example.com"


class Outside(ThreadingHTTPServer):
    """Answers, and remembers the heads that it saw."""

    daemon_threads = True

    def __init__(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        super().__init__((host, 0), Handler)
        self.heads: list[dict[str, str]] = []
        self.connections: list[socket.socket] = []
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        assert isinstance(self.server, Outside)
        self.server.connections.append(self.connection)
        self.server.heads.append({name.lower(): value for name, value in self.headers.items()})
        body = b'{"from": "outside"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def outside(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[Outside]:
    server = Outside(host, tls)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        for connection in server.connections:  # it is gone, and so is what it kept alive
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def entry(*ports: int) -> dict[str, Any]:
    endpoints = [{"address": "127.0.0.1", "ports": {"http": port}} for port in ports]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "api"},
        "spec": {
            "hosts": [HOST],
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "location": "MESH_EXTERNAL",
            "resolution": "STATIC",
            "endpoints": endpoints,
        },
    }
