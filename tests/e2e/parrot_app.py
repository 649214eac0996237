"""A program that says what it was asked, and answers as it is asked to: `python parrot_app.py PORT NAME`.

    x-answer: 503             this status, of every replica
    x-answer: 503@store-2     of this replica alone
    x-answer: 503<3           as long as the sidecar counts fewer attempts than 3
    x-answer: cut             no answer, the end of the connection
    x-pause: 0.5              so many seconds later; 0.5@store-2, 0.5<3

Else 200. The body is a JSON of who answers and of what came; `GET /heard` tells all that came.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

ATTEMPT = "x-envoy-attempt-count"


class Parrot(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    name: ClassVar[str]
    heard: ClassVar[list[dict[str, str]]] = []
    lock = threading.Lock()

    def do_GET(self) -> None:
        if self.path == "/heard":
            with self.lock:
                return self._say(200, list(self.heard))
        if self.path == "/health":
            return self._say(200, "well")
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): ", ".join(self.headers.get_all(name) or ()) for name in self.headers}
        what = {"instance": self.name, "method": self.command, "path": self.path, **headers}
        with self.lock:
            self.heard.append(what)
        time.sleep(float(self._meant(headers, "x-pause") or 0))
        answer = self._meant(headers, "x-answer") or "200"
        if answer == "cut":
            self.close_connection = True
            return None
        return self._say(int(answer), what)

    do_POST = do_PUT = do_DELETE = do_OPTIONS = do_GET

    def _meant(self, headers: dict[str, str], name: str) -> str:
        """What is asked for, if it is asked of this replica and for this attempt; else nothing."""
        asked, _, who = headers.get(name, "").partition("@")
        asked, _, attempt = asked.partition("<")
        spared = (who and who != self.name) or (attempt and int(headers.get(ATTEMPT, 1)) >= int(attempt))
        return "" if spared else asked

    def _say(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-app", "parrot")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """The sidecar writes an access log."""


if __name__ == "__main__":
    Parrot.name = sys.argv[2]
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Parrot)
    server.daemon_threads = True
    server.serve_forever()
