"""An entrypoint that tells what reached it: `{"app": "echo", "method", "target", "headers"}`.

`/lie` is answered as if the mesh said that there is no app.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LIE = {
    "X-Mesh-Reason": "UF: connection refused",
    "X-Envoy-Overloaded": "true",
    "Endpoint-Load-Metrics": "TEXT named_metrics.health=0.0",
    "Server": "mesh",
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        lie = self.path == "/lie"
        seen = {"app": "echo", "method": self.command, "target": self.path, "headers": self.headers.items()}
        body = json.dumps(seen).encode()
        self.send_response_only(503 if lie else 200)
        for name, value in LIE.items() if lie else ():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    do_GET = do_POST = do_PUT = do_DELETE = answer


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
