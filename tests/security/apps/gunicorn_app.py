"""gunicorn as an application server: see tests/security/app_servers.py for what each of them does.

A WSGI application says itself what it sends, so this one sends bodies where there must be none, and late.
"""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
# Longer than the next request of a test takes to come.
LATE_S = 0.05


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    query = parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
    target = environ["RAW_URI"]
    with open(os.environ["LOG"], "a", encoding="utf-8") as log:
        log.write(f"{environ['REQUEST_METHOD']} {target}\n")
    if "early" not in query:
        environ["wsgi.input"].read()
    body = POISON if "poison" in query else target.encode()
    fields = [] if "silent" in query else [("Content-Length", str(len(body)))]
    start_response(f"{query.get('status', ['200'])[0]} X", fields)
    if "poison" in query:
        yield b""
        time.sleep(LATE_S)
    yield body
