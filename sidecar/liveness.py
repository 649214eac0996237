"""Is an endpoint that answers nobody slow, or dead? Its own sidecar knows: a caller asks it.

The callee's sidecar answers GET `PATH` at its inbound listener itself: `working`, or `stopped` when every
process of its app is (SIGSTOP). A sidecar does nothing that takes long, so one that says nothing for
`ANSWER_S` is stopped itself, or gone. Whoever answers in another way is no sidecar of ours and is not asked
again: of such an endpoint nothing is known, and no attempt there is given up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from .errors import Flag, MeshError
from .io.deadlines import Timer
from .io.pool import Pool
from .io.upstream import UpstreamConnection
from .wire.events import Body, Header, ProtocolError, RequestHead, ResponseHead

if TYPE_CHECKING:
    from .balance.endpoints import Endpoint
    from .proxy import Proxy

PATH: Final = b"/.well-known/mesh/liveness"
FIELD: Final = b"x-mesh-liveness"
WORKING: Final = b"working"
STOPPED: Final = b"stopped"
# A sidecar answers within a millisecond; a process of a busy laptop may be paused for 300.
ANSWER_S: Final = 0.5
# What a sidecar said holds for this long: a hundred slow requests are one question a second.
FRESH_S: Final = 1.0

_GET: Final = RequestHead(b"GET", PATH, b"mesh", True, [], {}, Body.NONE, 0, True, b"")
_REQUEST: Final = b"GET %b HTTP/1.1\r\nhost: mesh\r\nuser-agent: mesh-sidecar\r\n\r\n" % PATH

Told = Callable[[bool], None]
"""Hears whether the app lives, or may; at once, or later."""


class Question:
    """What the sidecar of one endpoint is asked, and who waits for its answer."""

    __slots__ = (
        "_alive_until", "_busy", "_connection", "_endpoint", "_mute", "_pool", "_proxy", "_timer", "_waiting",
    )  # fmt: skip

    def __init__(self, proxy: Proxy, endpoint: Endpoint, pool: Pool) -> None:
        self._proxy = proxy
        self._endpoint = endpoint
        self._pool = pool
        self._connection: UpstreamConnection | None = None
        self._waiting: list[Told] = []
        self._alive_until = 0.0
        self._busy = False
        self._mute = False  # nobody there who knows
        self._timer = Timer(self._late)

    def ask(self, told: Told) -> None:
        """Whether the app at the endpoint lives."""
        if self._mute or self._proxy.clock() < self._alive_until or not has_sidecar(self._endpoint):
            told(True)
            return
        self._waiting.append(told)
        if self._busy:
            return
        self._busy = True
        self._proxy.deadlines.arm(self._timer, self._proxy.clock() + ANSWER_S)
        try:
            connection = self._pool.acquire(self)
        except MeshError:  # our own queue is full, which says nothing about the endpoint
            self._end(True)
            return
        if connection is not None:
            self.connected(connection)

    def connected(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        connection.begin(self, _GET)
        connection.request_done = True
        connection.write([_REQUEST])

    def connect_failed(self, error: MeshError) -> None:
        self._end(error.flag is not Flag.UF)

    def upstream_failed(self, connection: UpstreamConnection, error: ProtocolError | None) -> None:
        """The race of two timeouts, a restart, or nothing that we understand: no proof of anything."""
        self._end(True)

    def response_head(self, head: ResponseHead) -> None:
        word = head.fields.get(FIELD)
        if head.interim:
            return
        if head.status != 200 or word not in (WORKING, STOPPED):
            self._mute = True
        self._tell(word != STOPPED)

    def response_body(self, data: bytes) -> None: ...

    def response_trailers(self, fields: list[Header]) -> None: ...

    def response_flush(self) -> None: ...

    def response_end(self) -> None:
        connection = self._connection
        self._end(True)
        if connection is not None:
            self._pool.release(connection)

    def upstream_writable(self, writable: bool) -> None: ...

    def crashed(self) -> None:
        self._end(True)

    def _late(self) -> None:
        connection = self._connection
        if connection is not None:
            connection.abort()
        else:
            self._pool.cancel(self)
        self._end(False)

    def _end(self, lives: bool) -> None:
        """Nothing more will come; who was not told yet hears this."""
        self._timer.cancel()
        self._connection = None
        self._busy = False
        self._tell(lives)

    def _tell(self, lives: bool) -> None:
        if lives and self._waiting:
            self._alive_until = self._proxy.clock() + FRESH_S
        waiting, self._waiting = self._waiting, []
        for told in waiting:
            told(lives)


def has_sidecar(endpoint: Endpoint) -> bool:
    """Whether a sidecar of this mesh stands there: by its registration, or by what it has answered."""
    return endpoint.report is not None or "app_address" in endpoint.meta
