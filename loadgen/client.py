"""Steers and reads a running generator over its control API, from another process."""

import json
from collections.abc import Mapping
from typing import Any

import aiohttp

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""A status is some 20 kB; the reports of a thousand changes are less than this."""

TIMEOUT_S = 5.0
"""The generator answers in a millisecond; later than this it hangs or is frozen."""


class LoadError(Exception):
    """The generator could not be read or steered."""


class LoadUnavailable(LoadError):
    """No answer: it is not running, or hangs."""


class LoadRefused(LoadError):
    """It answered that it will not do this; the text says why, `status` is the HTTP status."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def check(rate: object, pattern: str | Mapping[str, Any]) -> None:
    """Raises LoadRefused for what a generator would refuse to do, in its words."""
    from loadgen.patterns import PatternError, pattern_of
    from loadgen.settings import SettingError, check_rate

    try:
        check_rate(rate, pattern_of(pattern))
    except (PatternError, SettingError) as error:
        raise LoadRefused(400, str(error)) from error


class LoadClient:
    """One generator at `base_url` ("http://host:port" or "host:port"), over a session that the caller owns.

    Every call raises LoadUnavailable when there is no answer and LoadRefused when it is a refusal.
    """

    def __init__(self, base_url: str, session: aiohttp.ClientSession) -> None:
        self._base = (base_url if "://" in base_url else f"http://{base_url}").rstrip("/")
        self._session = session

    async def status(self) -> dict[str, Any]:
        """All numbers so far: the document of `GET /status`."""
        return await self._call("GET", "/status")

    async def set_rate(self, rate: float) -> dict[str, Any]:
        """From now on plan this many requests/s; answers rate and pattern in force."""
        return await self._call("PUT", "/rate", {"rate": rate})

    async def set_pattern(self, pattern: str | Mapping[str, Any]) -> dict[str, Any]:
        """From now on use `"sine:period=30s"` or `{"pattern": "sine", "period": "30s"}`; it begins anew."""
        return await self._call(
            "PUT", "/pattern", {"pattern": pattern} if isinstance(pattern, str) else pattern
        )

    async def steer(self, change: Mapping[str, Any]) -> dict[str, Any]:
        """`rate`, `pattern` (text or mapping) or both, all or nothing; answers rate and pattern in force."""
        return await self._call("PUT", "/load", change)

    async def reset(self) -> dict[str, Any]:
        """Start a new measuring window: counts and latencies begin at 0, the traffic goes on."""
        return await self._call("POST", "/reset")

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            async with self._session.request(
                method, self._base + path, json=body, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)
            ) as answer:
                document, code = json.loads(await _read(answer)), answer.status
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            words = str(error) or type(error).__name__
            raise LoadUnavailable(f"load generator at {self._base}: {words}") from error
        if code >= 400 or not isinstance(document, dict):
            given = document.get("error") if isinstance(document, dict) else None
            raise LoadRefused(code, str(given or f"{method} {path} answered {code}"))
        return document


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            raise ValueError(f"it answers more than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)
