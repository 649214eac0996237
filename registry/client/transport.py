"""One aiohttp session for everything: py-consul's calls, and the plain ones it has no words for.

py-consul's API layer is sound; its own asyncio session is not: it caps connections at 100, so the
hundredth watch would starve the heartbeats, cuts every call at 300 s, hands aiohttp options that are
deprecated, and loads the system's certificates even for plain HTTP. So its `HTTPClient` is given our
session, and errors become ours before its callbacks see them.
"""

from __future__ import annotations

import ssl as tls
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import consul.aio
import consul.base

from registry.codec.fields import DecodeError, loads
from registry.errors import BadRequest, NotFound, PermissionDenied, RegistryError, RegistryUnavailable

CALL_TIMEOUT: Final = 3.0
"""Seconds for a call that does not block: the registry answers in milliseconds, or it is not there. Below
a TTL of 5 s, so that one report lost on a connection that hangs leaves time for another."""

CONNECT_TIMEOUT: Final = 2.0

MAX_ANSWER: Final = 64 * 1024 * 1024
"""Bytes of one answer: 20,000 instances. More is no registry's answer."""

_NOT_OPEN: Final = "the client is not open: use `async with RegistryClient(…)`"
_UNAVAILABLE: Final = frozenset({429, 502, 503, 504})


class Target:
    """Where the registry is: "http://host:port", "https://…" or "host:port"."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address if "//" in address else f"http://{address}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"registry address {address!r} is not http(s)://HOST:PORT")
        self.scheme = parts.scheme
        self.host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.port = parts.port or (8501 if parts.scheme == "https" else 8500)

    @property
    def url(self) -> str:
        """scheme://host:port"""
        return f"{self.scheme}://{self.host}:{self.port}"


class NewConnection(RegistryUnavailable):
    """A query that may only go where the last one went would have needed a new connection."""


class _OnlyReuse(aiohttp.ClientError):
    """Raised where aiohttp would connect."""


async def _refuse_to_connect(session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
    if context.trace_request_ctx is _OnlyReuse:
        raise _OnlyReuse("the connection is gone")


class Transport:
    """Sends, and turns everything that can go wrong into our errors."""

    def __init__(
        self,
        address: str,
        *,
        token: str | Callable[[], str] | None,
        datacenter: str | None,
        namespace: str | None,
        ssl: tls.SSLContext | bool = True,
    ) -> None:
        self.target = Target(address)
        self._token = token
        self._datacenter = datacenter
        self._namespace = namespace
        self._ssl = ssl
        self._session: aiohttp.ClientSession | None = None
        self._lines: set[aiohttp.ClientSession] = set()
        self.consul: Any = None

    async def open(self) -> None:
        """Open the session; needs a running loop."""
        # No cap: a heartbeat never queues behind anything.
        self._session = self._new_session(limit=0)
        self.consul = _Consul(self)

    def _new_session(
        self, *, limit: int, traces: list[aiohttp.TraceConfig] | None = None
    ) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=limit, ssl=self._ssl),
            timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT, sock_connect=CONNECT_TIMEOUT),
            headers={"User-Agent": "local-mesh"},
            trace_configs=traces,
        )

    async def close(self) -> None:
        """Close the session and every line, with the connections in them."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        for line in list(self._lines):
            await line.close()
        self._lines.clear()

    @asynccontextmanager
    async def line(self) -> AsyncIterator[Line]:
        """One connection of its own, for a watch."""
        if self._session is None:
            raise RegistryError(_NOT_OPEN)
        traces = aiohttp.TraceConfig()
        traces.on_connection_create_start.append(_refuse_to_connect)
        session = self._new_session(limit=1, traces=[traces])
        self._lines.add(session)
        try:
            yield Line(self, session)
        finally:
            self._lines.discard(session)
            await session.close()

    def headers(self, token: str | None = None) -> dict[str, str]:
        """Token and namespace as headers, so that neither ends in somebody's access log."""
        headers: dict[str, str] = {}
        word = token or (self._token() if callable(self._token) else self._token)
        if word:
            headers["X-Consul-Token"] = word
        if self._namespace:
            headers["X-Consul-Namespace"] = self._namespace
        return headers

    @property
    def datacenter(self) -> str | None:
        """The datacenter every query names, if any."""
        return self._datacenter

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        data: bytes | str | None = None,
        timeout: float = CALL_TIMEOUT,
        session: aiohttp.ClientSession | None = None,
        only_reuse: bool = False,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """One exchange: (status, headers, body); 2xx and 404 come back, the rest is raised."""
        session = session or self._session
        if session is None:
            raise RegistryError(_NOT_OPEN)
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_TIMEOUT)
        try:
            async with session.request(
                method,
                url,
                headers=headers or self.headers(),
                params=params,
                data=data,
                timeout=limits,
                trace_request_ctx=_OnlyReuse if only_reuse else None,
            ) as answer:
                body = await _body_of(answer)
                status, answered = answer.status, answer.headers
        except _OnlyReuse as gone:
            raise NewConnection(f"registry {self.target.url}: {gone}") from gone
        except (aiohttp.ClientError, OSError, TimeoutError) as lost:
            words = str(lost) or type(lost).__name__
            raise RegistryUnavailable(f"registry {self.target.url}: {words}") from lost
        if status >= 400 and status != 404:
            raise _refusal(status, body)
        return status, answered, body

    async def get(
        self,
        path: str,
        params: Mapping[str, str],
        *,
        timeout: float = CALL_TIMEOUT,
        session: aiohttp.ClientSession | None = None,
        only_reuse: bool = False,
    ) -> tuple[int, int, Any]:
        """A query: (status, index, JSON or None on 404)."""
        query = dict(params)
        if self._datacenter:
            query["dc"] = self._datacenter
        status, headers, body = await self.send(
            "GET",
            self.target.url + path,
            params=query,
            timeout=timeout,
            session=session,
            only_reuse=only_reuse,
        )
        try:
            index = int(headers.get("X-Consul-Index", "0"))
            return status, index, None if status == 404 else loads(body)
        except (ValueError, DecodeError) as bad:
            raise RegistryUnavailable(f"registry {self.target.url}: {path} answered nonsense: {bad}") from bad

    async def put(self, path: str, body: bytes) -> None:
        """A write whose answer carries nothing; NotFound on 404."""
        status, _, answer = await self.send("PUT", self.target.url + path, data=body)
        if status == 404:
            raise NotFound(answer.decode("utf-8", "replace"), status=404)


class Line:
    """A connection of its own. It tells whether a query reached the same registry as the one before.

    On a shared pool nobody could tell: another call may have connected to a registry that was born
    meanwhile, and an index from the old one would let a blocking query wait there for nothing.
    """

    def __init__(self, transport: Transport, session: aiohttp.ClientSession) -> None:
        self._transport = transport
        self._session = session

    async def get(
        self, path: str, params: Mapping[str, str], *, timeout: float, only_reuse: bool
    ) -> tuple[int, Any]:
        """(index, JSON or None on 404). `only_reuse`: NewConnection rather than reach out anew."""
        _, index, value = await self._transport.get(
            path, params, timeout=timeout, session=self._session, only_reuse=only_reuse
        )
        return index, value


async def _body_of(answer: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in answer.content.iter_any():
        size += len(part)
        if size > MAX_ANSWER:
            raise RegistryError(f"{answer.method} {answer.url}: an answer of more than {MAX_ANSWER} bytes")
        parts.append(part)
    return b"".join(parts)


def _refusal(status: int, body: bytes) -> RegistryError:
    words = body.decode("utf-8", "replace").strip() or f"HTTP {status}"
    if status == 400:
        return BadRequest(words, status=status)
    if status in (401, 403):
        return PermissionDenied(words, status=status)
    # Consul up to 1.10 says 500 for a check it does not know, and only the words tell; later ones say 404.
    if status == 500 and ("does not have associated TTL" in words or "Unknown check" in words):
        return NotFound(words, status=status)
    if status in _UNAVAILABLE or (status == 500 and "No cluster leader" in words):
        return RegistryUnavailable(words, status=status)
    return RegistryError(words, status=status)


class _Http(consul.aio.HTTPClient):  # type: ignore[misc]  # py-consul is untyped
    """py-consul's HTTP layer on our session; its own __init__ would open another."""

    def __init__(self, transport: Transport) -> None:
        target = transport.target
        consul.base.HTTPClient.__init__(self, target.host, target.port, target.scheme)
        self._transport = transport

    async def _request(
        self,
        callback: Callable[[Any], Any],
        method: str,
        uri: str,
        headers: dict[str, str] | None,
        data: Any = None,
        connections_timeout: float | None = None,
        raw: bool = False,
    ) -> Any:
        status, answered, body = await self._transport.send(
            method, uri, headers=headers, data=data or None, timeout=connections_timeout or CALL_TIMEOUT
        )
        return callback(
            consul.base.Response(status, answered, body if raw else body.decode("utf-8", "replace"))
        )

    async def close(self) -> None:
        """The session is the transport's to close."""


class _Consul(consul.base.Consul):  # type: ignore[misc]  # py-consul is untyped
    """py-consul's client with our transport; environment variables do not override what we were told."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        target = transport.target
        super().__init__(
            target.host, target.port, scheme=target.scheme, dc=transport.datacenter, verify=False
        )

    def http_connect(self, host: str, port: int, scheme: str, verify: Any = True, cert: Any = None) -> _Http:
        """Called by the base class."""
        return _Http(self._transport)

    def prepare_headers(self, token: str | None = None) -> dict[str, str]:
        """Token and namespace."""
        return self._transport.headers(token)
