"""One HTTP check, on a bare protocol: connect, ask, read the status and a little of the body, hang up.

A whole client (session, pool, cookies, URL objects) costs 1.5 ms per check here, measured; this costs a
tenth of it, and a thousand checks a second have to fit into one core beside the registry's own work.
"""

from __future__ import annotations

import asyncio
import ssl as tls
from dataclasses import replace
from typing import Final
from urllib.parse import urljoin, urlsplit

import httptools

from registry.model import CheckDefinition

MAX_READ: Final = 4096
"""Bytes of a body that are kept: an output holds no more. What follows is not waited for."""

MAX_HEAD: Final = 64 * 1024
"""Bytes of an answer before its body; more is no health check's answer."""

MAX_REDIRECTS: Final = 10
"""As Go's client, which Consul checks with."""


class ProbeError(Exception):
    """There was no answer, or none that is HTTP."""


class Request:
    """A check's request, built once and sent at each run."""

    def __init__(self, definition: CheckDefinition, url: str | None = None) -> None:
        self.url = url or definition.http
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ProbeError(f'unsupported protocol scheme "{parts.scheme}"')
        try:
            self.port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as bad:
            raise ProbeError(str(bad)) from bad
        self.host = parts.hostname
        self.method = definition.method or "GET"
        self.ssl = _context(verify=not definition.tls_skip_verify) if parts.scheme == "https" else None
        self.data = _render(definition, self.method, parts.netloc.rpartition("@")[2], parts.path, parts.query)


def _context(*, verify: bool) -> tls.SSLContext:
    context = tls.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = tls.CERT_NONE
    return context


def _render(definition: CheckDefinition, method: str, authority: str, path: str, query: str) -> bytes:
    headers = {name: texts for name, texts in (definition.header or {}).items() if name}
    given = {name.lower() for name in headers}
    host = next((texts[0] for name, texts in headers.items() if name.lower() == "host" and texts), authority)
    target = (path or "/") + (f"?{query}" if query else "")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    if "user-agent" not in given:
        lines.append("User-Agent: Consul Health Check")
    if "accept" not in given:
        lines.append("Accept: text/plain, text/*, */*")
    body = definition.body.encode()
    if body:
        lines.append(f"Content-Length: {len(body)}")
    skipped = ("host", "content-length", "connection", "transfer-encoding")
    lines += [
        f"{name}: {text}" for name, texts in headers.items() if name.lower() not in skipped for text in texts
    ]
    lines.append("Connection: close")
    if any("\r" in line or "\n" in line for line in lines):
        raise ProbeError("a header, method or path of the check holds a line end")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace") + body


class Answer:
    """Status, reason, the beginning of the body, and where a redirect leads."""

    def __init__(self) -> None:
        self.status = 0
        self.reason = ""
        self.location = ""
        self.body = b""


class _Exchange(asyncio.Protocol):
    """Fills `answer` and sets `done` when there is enough of it."""

    def __init__(self, request: Request, done: asyncio.Future[Answer]) -> None:
        self._request = request
        self._done = done
        self._answer = Answer()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.BaseTransport | None = None
        self._head = 0
        self._in_body = False

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        transport.write(self._request.data)  # type: ignore[attr-defined]  # uvloop's is of no asyncio class

    def data_received(self, data: bytes) -> None:
        if self._done.done():
            return
        if not self._in_body:
            self._head += len(data)
            if self._head > MAX_HEAD:
                self._fail("the answer's head is longer than 64 KiB")
                return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as bad:
            if self._answer.status and self._in_body:
                self._finish()
            else:
                self._fail(f"malformed HTTP response: {bad}")

    def connection_lost(self, error: Exception | None) -> None:
        if self._in_body and error is None:
            self._finish()
        else:
            self._fail(str(error) if error else "EOF")

    # httptools' side

    def on_status(self, reason: bytes) -> None:
        self._answer.reason = reason.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"location":
            self._answer.location = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()
        self._in_body = self._answer.status >= 200

    def on_body(self, body: bytes) -> None:
        self._answer.body += body[: MAX_READ - len(self._answer.body)]
        if len(self._answer.body) >= MAX_READ:
            self._finish()

    def on_message_complete(self) -> None:
        if self._in_body:
            self._finish()

    def _finish(self) -> None:
        if not self._done.done():
            self._done.set_result(self._answer)

    def _fail(self, why: str) -> None:
        if not self._done.done():
            self._done.set_exception(ProbeError(why))


async def ask(request: Request, definition: CheckDefinition) -> Answer:
    """Send the request, follow redirects, and hang up. ProbeError when nobody answers in HTTP."""
    for _ in range(MAX_REDIRECTS):
        answer = await _exchange(request)
        if answer.status not in (301, 302, 303, 307, 308) or not answer.location:
            return answer
        if answer.status <= 303 and request.method != "HEAD":
            definition = replace(definition, method="GET", body="")
        request = Request(definition, urljoin(request.url, answer.location))
    raise ProbeError(f"stopped after {MAX_REDIRECTS} redirects")


async def _exchange(request: Request) -> Answer:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Answer] = loop.create_future()
    try:
        transport, _ = await loop.create_connection(
            lambda: _Exchange(request, done), request.host, request.port, ssl=request.ssl
        )
    except (OSError, UnicodeError) as bad:
        # Nobody will wait for it any more; a connection that failed half-way may have failed it too.
        done.cancel()
        raise ProbeError(f"dial tcp {request.host}:{request.port}: {bad}") from bad
    try:
        return await done
    finally:
        transport.abort()
