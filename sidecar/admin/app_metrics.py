"""The app's own metrics, for who cannot reach the app: in a pod it listens on loopback alone.

Istio's agent merges them into its own, on the same port; here they keep a path to themselves.
"""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import web

from ..config import Address

PATH = "/metrics"
# Less than Prometheus waits for a scrape, so that it hears our reason and not its own.
TIMEOUT_S = 2.5
# Forty thousand series; the shop's services say 20 KB.
MAX_BYTES = 4 * 1024 * 1024
# Anybody may ask, and each answer is held in memory until it is whole; who comes later waits for a turn.
AT_ONCE = 2
CHUNK_BYTES = 64 * 1024

# What a scraper and an app settle between them: the format, and whether it is compressed.
_ASKED = ("Accept", "Accept-Encoding")
_SAID = ("Content-Type", "Content-Encoding")


class AppMetrics:
    """`GET /app/metrics` of the admin listener."""

    def __init__(self, app: Address) -> None:
        self._url = f"http://{app}{PATH}"
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def get(self, request: web.Request) -> web.Response:
        """What the app says, or 502 with the reason why it says nothing."""
        try:
            async with asyncio.timeout(TIMEOUT_S), self._turns:
                return await self._ask(
                    {name: request.headers[name] for name in _ASKED if name in request.headers}
                )
        except TimeoutError:
            return _refusal(f"GET {PATH}: no answer within {TIMEOUT_S:g} s")
        except aiohttp.ClientError as error:
            return _refusal(f"GET {PATH}: {str(error) or type(error).__name__}")

    async def _ask(self, headers: dict[str, str]) -> web.Response:
        # what is compressed stays so: it is the scraper's to unpack, and to bound
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.get(self._url, headers=headers, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                return _refusal(f"GET {PATH} answered {answer.status}")
            body = bytearray()
            async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                body += chunk
                if len(body) > MAX_BYTES:
                    return _refusal(f"GET {PATH} answered more than {MAX_BYTES} bytes")
            said = {name: answer.headers[name] for name in _SAID if name in answer.headers}
            return web.Response(body=body, headers=said)


def _refusal(words: str) -> web.Response:
    return web.Response(status=502, text=f"the app: {words}\n")
