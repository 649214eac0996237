"""One request: its query, its body under a cap, blocking, and the answer with Consul's headers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, unquote, urlencode

from aiohttp import web

from registry.codec.encode import dumps
from registry.codec.fields import loads
from registry.durations import parse_duration
from registry.filters import Filter
from registry.filters.fields import Struct
from registry.store.state import State
from registry.watchers import Watchers

DEFAULT_WAIT: Final = 300.0
MAX_WAIT: Final = 600.0
WAIT_JITTER: Final = 16
"""A wait is lengthened by up to 1/16 of itself, so that watchers that began together part."""

MAX_BODY: Final = 512 * 1024
"""Bytes; Consul's cap of a KV value and of a transaction, and more than any registration needs."""

BODY_TIMEOUT: Final = 10.0
"""Seconds a client may take to send a body; slower ones are cut."""

TEXT: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json"


class HttpError(Exception):
    """An answer that is no success: status, Consul's text, maybe headers."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers or {}


class Malformed(HttpError):
    """A question that was refused before it was asked: 500, and no index or word of the leader with it."""

    def __init__(self, text: str) -> None:
        super().__init__(500, text)


class Settings(Protocol):
    """What an endpoint may ask of the server it runs in."""

    datacenter: str
    watchers: Watchers
    rng: random.Random
    clock: Callable[[], float]
    stopping: bool


class Call:
    """One request of one endpoint."""

    __slots__ = ("_query", "method", "path", "request", "rest", "server")

    def __init__(self, request: web.BaseRequest, server: Settings) -> None:
        raw, _, query = request.raw_path.partition("?")
        self.request = request
        self.server = server
        self.method = request.method
        self.path = unquote(raw) if "%" in raw else raw
        self.rest = ""
        self._query: list[tuple[str, str]] = parse_qsl(query, keep_blank_values=True) if query else []

    # Query

    def has(self, name: str) -> bool:
        """Whether the parameter stands in the query, with or without a value."""
        return any(key == name for key, _ in self._query)

    def get(self, name: str, default: str = "") -> str:
        """The first value of a parameter."""
        return next((value for key, value in self._query if key == name), default)

    def all(self, name: str) -> list[str]:
        """Every value of a parameter."""
        return [value for key, value in self._query if key == name]

    def flag(self, name: str) -> bool:
        """A switch: there, and not "false" or "0"."""
        return self.has(name) and self.get(name).lower() not in ("0", "false", "f")

    def number(self, name: str) -> int:
        """A parameter that counts; 0 when absent, 500 with Go's words when it is no number."""
        value = self.get(name)
        if not value and not self.has(name):
            return 0
        if not value.isascii() or not value.isdecimal():
            raise HttpError(500, f'strconv.ParseUint: parsing "{value}": invalid syntax')
        number = uint64(value)
        if number is None:
            raise HttpError(500, f'strconv.ParseUint: parsing "{value}": value out of range')
        return number

    def named(self, what: str) -> str:
        """What stands behind the endpoint's path; 400 when nothing does."""
        if not self.rest:
            raise HttpError(400, f"Missing {what}")
        return self.rest

    def query_text(self) -> str:
        """The query, sorted by name, as Consul repeats it in a refusal."""
        return urlencode(sorted(self._query))

    def node_meta(self) -> dict[str, str]:
        """The `node-meta=key:value` parameters."""
        pairs = self.all("node-meta")
        return {key: value for key, _, value in (pair.partition(":") for pair in pairs)} if pairs else {}

    def keep(self, rows: Iterable[dict[str, Any]], shape: Struct) -> list[dict[str, Any]]:
        """The rows that the `filter` parameter leaves."""
        expression = self.get("filter")
        if not expression:
            return list(rows)
        wanted = Filter(expression, shape)
        return [row for row in rows if wanted.keeps(row)]

    def check_common(self) -> None:
        """Refuse what Consul refuses on every endpoint that reads or writes the cluster's state."""
        if not self._query:
            return
        if self.has("stale") and self.has("consistent"):
            raise HttpError(400, "Cannot specify ?stale with ?consistent, conflicting semantics.")
        datacenter = self.get("dc")
        if datacenter and datacenter != self.server.datacenter:
            raise HttpError(500, "No path to datacenter")

    def refuse_namespace(self) -> None:
        """As Consul without the enterprise's features: better than writing into another place than meant."""
        named = 'query parameter: "ns"' if self.has("ns") else 'header: "X-Consul-Namespace"'
        if self.has("ns") or "X-Consul-Namespace" in self.request.headers:
            raise HttpError(400, f"Bad request: Invalid {named} - Namespaces are a Consul Enterprise feature")

    # Body

    async def body(self, *, limit: int = MAX_BODY, hint: str = "") -> bytes:
        """The whole body, at most `limit` bytes; 413 with Consul's words when it is longer."""
        request = self.request
        length = request.content_length
        if length is not None and length > limit:
            raise _too_large(length, limit, hint)
        if not request.body_exists:
            return b""
        if request.headers.get("Expect", "").lower() == "100-continue":
            # curl waits a second for this before it sends a large body.
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                async for chunk in request.content.iter_any():
                    size += len(chunk)
                    if size > limit:
                        raise _too_large(size, limit, hint)
                    chunks.append(chunk)
        except TimeoutError:
            request.protocol.force_close()
            raise HttpError(408, "the body did not arrive in time") from None
        return b"".join(chunks)

    async def json(self) -> Any:
        """The body as JSON; DecodeError when it is none, which the server answers with 400."""
        return loads(await self.body())

    # Answers

    def respond(self, value: Any, *, index: int | None = None, status: int = 200) -> web.Response:
        """A JSON answer; with an index, the headers of a query."""
        body = value if isinstance(value, bytes) else dumps(value, pretty=self.has("pretty"))
        headers = {"Content-Type": JSON}
        if index is not None:
            headers.update(self.query_headers(index))
        return web.Response(body=body, status=status, headers=headers)

    def query_headers(self, index: int) -> dict[str, str]:
        """What every read of the catalog carries; an index is never 0, since 0 means "do not block"."""
        return {
            "X-Consul-Index": str(index or 1),
            "X-Consul-KnownLeader": "true",
            "X-Consul-LastContact": "0",
            "X-Consul-Effective-Consistency": "stale" if self.has("stale") else "leader",
        }

    # Blocking

    def wait_seconds(self) -> float:
        """How long this query may block: `wait` or its default, capped, with jitter."""
        wait = DEFAULT_WAIT
        if wait_text := self.get("wait"):
            try:
                wait = parse_duration(wait_text)
            except ValueError as bad:
                raise HttpError(400, "Invalid wait time") from bad
        wait = min(wait if wait > 0 else DEFAULT_WAIT, MAX_WAIT)
        return wait + self.server.rng.random() * wait / WAIT_JITTER

    def block_until(self) -> tuple[int, float]:
        """(index to get past, seconds to wait); (0, 0) = answer now."""
        wait = self.wait_seconds()
        index_text = self.get("index")
        if not index_text:
            return 0, 0.0
        index = uint64(index_text) if index_text.isascii() and index_text.isdecimal() else None
        if index is None:
            raise HttpError(400, "Invalid index")
        return (index, wait) if index else (0, 0.0)

    async def past(self, state: State, name: str, *, topic: str = "") -> int:
        """`blocking` on one index of the state; `topic` when it wakes by another name."""
        return await self.blocking((topic or name,), lambda: state.index_of(name))

    async def blocking(self, topics: Sequence[str], index: Callable[[], int]) -> int:
        """Wait until `index()` is past the caller's or the wait is over; the index to answer with.

        An index ahead of ours waits the whole time too, and then shows the true, lower one: that is
        how a client learns that the registry began anew.
        """
        seen, wait = self.block_until()
        now = index() or 1
        if not seen or now > seen:
            return now
        deadline = self.server.clock() + wait
        while now <= seen and not self.server.stopping:
            left = deadline - self.server.clock()
            if left <= 0 or not await self.server.watchers.wait(topics, left):
                break
            now = index() or 1
        return index() or 1


def uint64(digits: str) -> int | None:
    """The number that these digits are; None when 64 bits do not hold it, however many there are."""
    digits = digits.lstrip("0")
    number = int(digits or "0") if len(digits) <= 20 else 2**64
    return number if number < 2**64 else None


def _too_large(size: int, limit: int, hint: str) -> HttpError:
    return HttpError(413, f"Request body({size} bytes) too large, max size: {limit} bytes. {hint}".rstrip())


def text(status: int, body: str, headers: dict[str, str] | None = None) -> web.Response:
    """A plain answer."""
    return web.Response(body=body.encode(), status=status, headers={"Content-Type": TEXT, **(headers or {})})


def done() -> web.Response:
    """200 with nothing in it, as the agent's writes answer."""
    return web.Response(status=200, headers={"Content-Type": TEXT})
