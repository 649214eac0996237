"""A sidecar's outbound listener as the services see it: an HTTP proxy that answers by service name."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.test_utils import TestServer
from multidict import CIMultiDictProxy

# None breaks the connection off.
Answerer = Callable[["Seen"], Awaitable[web.StreamResponse | None]]


@dataclass(frozen=True)
class Seen:
    """One request as it arrived; `target` is the request line's."""

    method: str
    target: str
    service: str
    headers: CIMultiDictProxy[str]
    body: bytes


class FakeOutbound:
    """Async context manager; `address` is host:port, `seen` what came, `answer(name, …)` what is said."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.connections = 0
        self._answers: dict[str, Answerer] = {}
        self._peers: set[object] = set()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._server = TestServer(app)

    async def __aenter__(self) -> Self:
        await self._server.start_server(access_log=None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """From now on connections are refused; may be called again."""
        await self._server.close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.port}"

    def answer(self, service: str, answerer: Answerer) -> None:
        self._answers[service] = answerer

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self._peers.add(request.transport.get_extra_info("peername"))
        self.connections = len(self._peers)
        target = str(request.raw_path)
        seen = Seen(request.method, target, request.host, request.headers, await request.read())
        self.seen.append(seen)
        answerer = self._answers.get(request.host)
        if answerer is None:
            return web.json_response({"service": request.host, "status": 200, "calls": []})
        answer = await answerer(seen)
        if answer is None:
            request.transport.abort()
        return answer or web.Response()
