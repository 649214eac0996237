"""An application that is written straight on http.server: see tests/security/app_servers.py.

It speaks HTTP/1.1 and knows no better than many of its kind: it reads a body only where it expects one, and
answers HEAD, 204 and 304 with a body, a moment behind the head.
"""

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO
from urllib.parse import parse_qs, urlsplit

POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
# Longer than the next request of a test takes to come.
LATE_S = 0.05


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    log: IO[str]

    def answer(self) -> None:
        self.log.write(f"{self.command} {self.path}\n")
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        if self.command in ("POST", "PUT", "PATCH"):
            self._read()
        body = POISON if "poison" in query else self.path.encode()
        self.send_response(int(query.get("status", ["200"])[0]))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if "poison" in query:
            self.wfile.flush()
            time.sleep(LATE_S)
        self.wfile.write(body)

    def _read(self) -> None:
        if self.headers.get("Transfer-Encoding") is None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            return
        while size := int(self.rfile.readline().split(b";")[0], 16):
            self.rfile.read(size + 2)
        self.rfile.readline()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = answer


if __name__ == "__main__":
    with open(sys.argv[2], "a", buffering=1, encoding="utf-8") as log:
        Handler.log = log
        ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
