"""Plain requests for the contract tests: what was answered, and when."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from tests.contract.servers import Running


@dataclass
class Answer:
    """Status, headers, body and how long it took, in seconds."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def index(self) -> int:
        """X-Consul-Index."""
        return int(self.headers["x-consul-index"])


class Http:
    """Requests below /v1 of one registry."""

    def __init__(self, session: aiohttp.ClientSession, registry: Running) -> None:
        self.session = session
        self.registry = registry

    async def __call__(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request; a body that is neither bytes nor text is sent as JSON."""
        data = body if body is None or isinstance(body, bytes | str) else json.dumps(body)
        clock = asyncio.get_running_loop().time
        began = clock()
        url = URL(f"{self.registry.url}/v1/{path}", encoded=True)
        async with self.session.request(method, url, data=data, headers=headers) as answer:
            content = await answer.read()
            lower = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, lower, content, clock() - began)

    async def get(self, path: str) -> Answer:
        """GET."""
        return await self("GET", path)

    async def put(self, path: str, body: Any = None) -> Answer:
        """PUT; anything but 200 fails the test with what was said."""
        answer = await self("PUT", path, body)
        assert answer.status == 200, f"{path}: {answer.status} {answer.text}"
        return answer

    async def settled(self, path: str, true: Any, within: float = 5.0) -> Answer:
        """GET until `true(json)`: Consul's agent tells its catalog a moment later."""
        async with asyncio.timeout(within):
            while True:
                answer = await self.get(path)
                if true(answer.json):
                    return answer
                await asyncio.sleep(0.02)
