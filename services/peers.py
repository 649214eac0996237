"""Calls to other services, through this instance's own sidecar when it has one."""

import os
from collections.abc import Callable
from functools import lru_cache

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)
from yarl import URL

from services.context import DeadlineExceeded, pass_on
from services.topology import Call
from services.tree import MAX_ANSWER_BYTES, CallRecord, parse_tree

# A script without deadlines must still end; isotope's would wait without end.
DEFAULT_TIMEOUT_S = 30.0
# isotope's largest example calls 999 services at once; connections to a proxy are kept per service.
MAX_CONNECTIONS = 1024


class Peers:
    """Makes the calls of a script; one pooled session, to be closed by its owner.

    Args:
        outbound: `host:port` of the sidecar's outbound listener, used as HTTP proxy; None = the
            services' names are looked up and called directly.
        max_answer: bytes of an answer's body; a larger one is a failed call.
    """

    def __init__(
        self, outbound: str | None, clock: Callable[[], float], max_answer: int = MAX_ANSWER_BYTES
    ) -> None:
        self._clock = clock
        self._max_answer = max_answer
        self._session = ClientSession(
            connector=TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=30),
            cookie_jar=DummyCookieJar(),
            middlewares=[pass_on],
            proxy=f"http://{outbound}" if outbound else None,
            timeout=ClientTimeout(total=DEFAULT_TIMEOUT_S),
        )

    async def close(self) -> None:
        await self._session.close()

    async def call(self, call: Call, record: CallRecord) -> None:
        """Do it and write down what came of it; nothing is raised but cancellation."""
        begun = self._clock()
        try:
            async with self._session.request(
                call.method,
                _url(call.service, call.path),
                data=_body(call.size) if call.size else None,
                headers=call.headers,
                timeout=ClientTimeout(total=call.timeout or DEFAULT_TIMEOUT_S),
                allow_redirects=False,
            ) as response:
                body = await _read(response, self._max_answer)
                record.answer = parse_tree(body)
                record.status = response.status
                record.error = ""
                if response.status >= 400:
                    record.error = response.headers.get("x-mesh-reason", response.reason or "")
        except DeadlineExceeded as error:
            record.error = str(error)
        except TimeoutError:
            record.error = f"no answer within {call.timeout or DEFAULT_TIMEOUT_S:g} s"
        except ClientConnectorError as error:
            reason = os.strerror(error.os_error.errno) if error.os_error.errno else str(error.os_error)
            record.error = f"cannot connect to {error.host}:{error.port}: {reason}"
        except (ClientError, OSError) as error:
            record.error = f"{type(error).__name__}: {error}"
        except _TooLarge:
            record.error = f"the answer is larger than {self._max_answer:,} bytes"
        finally:
            record.duration_ms = (self._clock() - begun) * 1000


class _TooLarge(Exception):
    pass


async def _read(response: ClientResponse, limit: int) -> bytes:
    if (response.content_length or 0) > limit:
        raise _TooLarge
    chunks = []
    length = 0
    async for chunk in response.content.iter_any():
        length += len(chunk)
        if length > limit:
            raise _TooLarge
        chunks.append(chunk)
    return b"".join(chunks)


@lru_cache(maxsize=1024)
def _url(service: str, path: str) -> URL:
    return URL(f"http://{service}{path}", encoded=True)


@lru_cache(maxsize=16)
def _body(size: int) -> bytes:
    return b"x" * size
