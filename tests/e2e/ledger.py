"""A program of somebody's own behind a sidecar: `python ledger.py PORT`. Standard library only.

It writes down every request that it begins (`GET /receipts` tells them) and then answers, or, by its path:
/cut closes the connection without an answer, /busy answers 503, /hang answers after a minute.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

HANG_S = 60.0


class Ledger(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    receipts: ClassVar[list[dict[str, str]]] = []
    lock = threading.Lock()

    def do_GET(self) -> None:
        if self.path == "/receipts":
            with self.lock:
                self._answer(200, list(self.receipts))
        elif self.path == "/health":
            self._answer(200, "well")
        else:
            self._begin()

    def do_POST(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.lock:
            self.receipts.append({"method": self.command, "path": self.path, **headers})
        if self.path.startswith("/cut"):
            self.close_connection = True
        elif self.path.startswith("/hang"):
            time.sleep(HANG_S)
        else:
            self._answer(503 if self.path.startswith("/busy") else 200, headers)

    def _answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """The sidecar writes an access log."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Ledger)
    server.daemon_threads = True
    server.serve_forever()
