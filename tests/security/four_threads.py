"""An app of four threads: each reads a request to its end before it answers, as gunicorn's and Puma's do."""

import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

THREADS = 4


class Handler(BaseHTTPRequestHandler):
    """Answers `read N`, where N is the size of the body."""

    def do_GET(self) -> None:
        read = 0
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                read += len(self.rfile.read(size + 2)) - 2
        else:
            read = len(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
        answer = b"read %d" % read
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


class FourThreads(HTTPServer):
    """Takes connections in the order in which they come, four at a time."""

    request_queue_size = 1024
    pool = ThreadPoolExecutor(THREADS)

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        self.pool.submit(self.serve, request, client_address)

    def serve(self, request: socket.socket, client_address: object) -> None:
        try:
            self.finish_request(request, client_address)
        except (OSError, ValueError):  # the caller has gone
            pass
        finally:
            self.shutdown_request(request)


if __name__ == "__main__":
    with FourThreads(("127.0.0.1", 0), Handler) as server:
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()
