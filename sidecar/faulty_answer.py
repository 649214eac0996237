"""Answers that a fault spoils on their way to the client: cut short, or let out drop by drop.

Neither is held back until it is complete, as a short answer otherwise is: the client must see it begin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .answer import Answer
from .io.downstream import Downstream
from .io.flow import HIGH_WATER, LOW_WATER
from .policy.fault import HELD_MAX_S
from .wire.events import Body, RequestHead, ResponseHead

if TYPE_CHECKING:
    from .exchange import Exchange
    from .proxy import Proxy

# A slow body goes out in pieces of this time's worth: even enough for a thin line, few enough timers.
PIECE_S = 0.05


class CutAnswer(Answer):
    """Passes `limit` bytes of the body; `cut(framed)` is called when there is more.

    Args:
        spoils: called when it is known that there will be more, before the head goes out.
    """

    __slots__ = ("_cut", "_limit", "_spoils")

    def __init__(
        self,
        proxy: Proxy,
        client: Downstream,
        request: RequestHead,
        limit: int,
        spoils: Callable[[], None],
        cut: Callable[[bool], None],
    ) -> None:
        super().__init__(proxy, client, request)
        self._limit = limit
        self._spoils = spoils
        self._cut = cut

    def begin(self, head: ResponseHead) -> None:
        super().begin(head)
        self.held = False
        if head.body is Body.LENGTH and head.length > self._limit:
            self._spoils()

    def body(self, data: bytes) -> None:
        room = self._limit - self.bytes_out
        if len(data) <= room:
            super().body(data)
            return
        if room > 0:
            super().body(data[:room])
        self.flush()
        self._spoils()
        self._cut(self._framing is not Body.UNTIL_CLOSE)


class SlowAnswer(Answer):
    """Passes the head at once and the rest at `rate` bytes a second, for HELD_MAX_S at most.

    What the app sends faster waits here, up to HIGH_WATER and one read; then the app's connection is paused.
    """

    __slots__ = (
        "_began", "_ends_at", "_exchange", "_over", "_queue", "_rate", "_sent", "_spoils", "_stopped",
    )  # fmt: skip

    def __init__(
        self,
        proxy: Proxy,
        client: Downstream,
        request: RequestHead,
        rate: float,
        exchange: Exchange,
        spoils: Callable[[], None],
    ) -> None:
        super().__init__(proxy, client, request)
        self._rate = rate
        self._exchange = exchange
        self._spoils = spoils
        self._queue = bytearray()
        self._began = 0.0  # when the queue was last empty and something came
        self._sent = 0  # since then
        self._ends_at = 0.0  # 0 = nothing was slowed yet
        self._stopped = False  # the app's connection is paused
        self._over = False  # the app's answer is complete

    def begin(self, head: ResponseHead) -> None:
        super().begin(head)
        self.held = False
        if head.body is not Body.NONE:
            self._spoils()

    def flush(self) -> None:
        if not self._out:
            return
        first = not self._ends_at
        now = self._proxy.clock()
        if first:
            self._client.write([self._out.pop(0)])  # the head
            self._ends_at = now + HELD_MAX_S
        was_empty = not self._queue
        self._queue += b"".join(self._out)
        self._out.clear()
        if was_empty and self._queue:
            self._began, self._sent = now, 0
            self._wait()
        if len(self._queue) > HIGH_WATER and not self._stopped:
            self._stopped = True
            self._exchange.client_writable(False)

    def end(self) -> bool:
        self._over = True
        super().end()
        return not self._queue

    def go_on(self) -> None:
        """The next piece is due."""
        now = self._proxy.clock()
        if now >= self._ends_at:
            self._exchange.cut(f"the slow body ended after {HELD_MAX_S:g} s", reset=True)
            return
        piece = bytes(self._queue[: max(1, int((now - self._began) * self._rate) - self._sent)])
        del self._queue[: len(piece)]
        self._sent += len(piece)
        self._client.write([piece])
        if self._stopped and len(self._queue) < LOW_WATER:
            self._stopped = False
            self._exchange.client_writable(True)
        if self._queue:
            self._wait()
        elif self._over:
            self._exchange.passed_on()

    def _wait(self) -> None:
        """Until a piece may go, the last one may be smaller."""
        size = min(len(self._queue), max(1, int(self._rate * PIECE_S)))
        self._exchange.wake(min(self._began + (self._sent + size) / self._rate, self._ends_at))
