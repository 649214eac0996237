"""A callee's answer to `liveness.py`: its sidecar speaks for itself, and the app is not asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from .io.pool import Spawn
from .liveness import FIELD, STOPPED, WORKING
from .wire.events import Body, Header, ProtocolError, RequestHead
from .wire.serialize import direct_answer

if TYPE_CHECKING:
    from .io.downstream import Downstream


class LivenessAnswer:
    """One question of a caller; `stopped` says how the app is, and may block: it runs in a thread."""

    __slots__ = ("_client", "_head", "_over", "_spawn", "_stopped")

    def __init__(
        self, client: Downstream, head: RequestHead, stopped: Callable[[], bool], spawn: Spawn
    ) -> None:
        self._client = client
        self._head = head
        self._stopped = stopped
        self._spawn = spawn
        self._over = False

    def start(self) -> None:
        self._spawn(self._answer(), "liveness")

    async def _answer(self) -> None:
        word = STOPPED if await asyncio.to_thread(self._stopped) else WORKING
        if self._over:
            return
        self._over = True
        # a question has no body; who sends one nevertheless is not read to its end
        keep = self._head.keep_alive and self._head.body is Body.NONE
        fields = [(FIELD, word), (b"content-type", b"text/plain")]
        head_request = self._head.method == b"HEAD"
        self._client.write([direct_answer(200, fields, word + b"\n", not keep, head_request)])
        self._client.finished(keep)

    def _give_up(self) -> None:
        if not self._over:
            self._over = True
            self._client.abort()

    def request_body(self, data: bytes) -> None: ...

    def request_trailers(self, fields: list[Header]) -> None: ...

    def request_end(self) -> None: ...

    def request_broken(self, error: ProtocolError) -> None:
        self._give_up()

    def request_slow(self) -> None:
        self._give_up()

    def client_gone(self) -> None:
        self._over = True

    def drained(self) -> None:
        self._give_up()

    def client_writable(self, writable: bool) -> None: ...

    def timer_fired(self) -> None: ...

    def crashed(self) -> None:
        self._give_up()
