"""A try beside the exchange's own: a copy whose answer nobody reads (`Mirror`), or a hedge (`Hedge`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .attempt import Attempt, Target
from .errors import MeshError
from .io.deadlines import Timer
from .io.pool import Pool
from .io.upstream import UpstreamConnection
from .policy.outcome import Outcome
from .stack import Pick
from .wire.events import Header, ProtocolError, RequestHead, ResponseHead

if TYPE_CHECKING:
    from .exchange_state import ExchangeState
    from .observe.trace_context import TraceContext
    from .proxy import Proxy
    from .tries import Tries


class SideTry:
    """One attempt of its own: a pick, a connection, the whole request, and one settlement."""

    __slots__ = ("_pieces", "_started", "attempt", "connection", "head", "pick", "pool", "proxy", "target")

    def __init__(self, proxy: Proxy, target: Target, pick: Pick, attempt: Attempt, head: RequestHead) -> None:
        self.proxy = proxy
        self.target = target
        self.pick: Pick | None = pick
        self.attempt = attempt
        self.head = head
        self.pool: Pool = proxy.pool(pick.endpoint, target.policy.connection)
        self.connection: UpstreamConnection | None = None
        self._started = proxy.clock()
        self._pieces: list[bytes] = []

    def send(self, pieces: list[bytes]) -> None:
        """Send the whole request as soon as there is a connection."""
        self._pieces = pieces
        try:
            connection = self.pool.acquire(self)
        except MeshError as error:
            self.connect_failed(error)
            return
        if connection is not None:
            self.connected(connection)

    def connected(self, connection: UpstreamConnection) -> None:
        self.connection = connection
        self.attempt.connected = self.proxy.clock()
        connection.begin(self, self.head)
        connection.request_done = True
        connection.write(self._pieces)
        self._pieces = []

    def connect_failed(self, error: MeshError) -> None:
        self.over(Outcome.CONNECT_FAILURE)

    def upstream_failed(self, connection: UpstreamConnection, error: ProtocolError | None) -> None:
        self.over(Outcome.RESET if error is None else Outcome.APP_FAILURE)

    def crashed(self) -> None:
        self.over(Outcome.CANCELLED)

    def response_head(self, head: ResponseHead) -> None: ...

    def response_body(self, data: bytes) -> None: ...

    def response_trailers(self, fields: list[Header]) -> None: ...

    def response_flush(self) -> None: ...

    def response_end(self) -> None: ...

    def upstream_writable(self, writable: bool) -> None: ...

    def over(self, outcome: Outcome) -> bool:
        """Let go of what is held and settle; False if that was done before."""
        pick, self.pick = self.pick, None
        if pick is None:
            return False
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abort()
        else:
            self.pool.cancel(self)
        attempt = self.attempt
        attempt.outcome = outcome
        attempt.ended = self.proxy.clock()
        self.target.settle(pick, outcome, attempt.ended - self._started, None, attempt.status)
        return True


class Mirror(SideTry):
    """A copy of a request for another destination. It holds a place there, is counted by its outcome, and
    its failures are the destination's, never the request's.
    """

    __slots__ = ("_size", "_timer", "of", "request_id", "span")

    def __init__(
        self,
        exchange: ExchangeState,
        span: TraceContext,
        target: Target,
        pick: Pick,
        attempt: Attempt,
        size: int,
        until: float,
    ) -> None:
        proxy = exchange.proxy
        super().__init__(proxy, target, pick, attempt, exchange.head)
        self.request_id = exchange.request_id
        self.span = span
        self._size = size  # of the body, in the proxy's room
        self.of = exchange.span  # the request that it is a copy of
        self._timer = Timer(self._late)
        proxy.deadlines.arm(self._timer, until)

    def response_head(self, head: ResponseHead) -> None:
        if not head.interim:
            self.attempt.status = head.status
            self.attempt.outcome = self.proxy.classify(head)

    def response_end(self) -> None:
        connection, self.connection, pick = self.connection, None, self.pick
        self.pick = None
        assert connection is not None
        assert pick is not None
        attempt = self.attempt
        attempt.ended = self.proxy.clock()
        self.target.settle(pick, attempt.outcome, attempt.ended - self._started, None, attempt.status)
        self.pool.release(connection)
        self._done(str(attempt.status))

    def _late(self) -> None:
        self.over(Outcome.TIMEOUT_TOTAL)

    def over(self, outcome: Outcome) -> bool:
        done = super().over(outcome)
        if done:
            self._done(outcome.name.lower())
        return done

    def _done(self, result: str) -> None:
        self._timer.retire()
        self.proxy.copies_room.give(self._size)
        self.target.finish()
        if self.proxy.waiting.queues:
            self.proxy.waiting.promote(self.target)
        self.proxy.mirror_ended(self, result)


class Hedge(SideTry):
    """A second attempt of the same request; who answers first wins. Once it has won it only passes on.

    A failure wins nothing while the other attempt may still do better.
    """

    __slots__ = ("_exchange", "_won")

    def __init__(self, exchange: Tries, target: Target, pick: Pick, attempt: Attempt) -> None:
        super().__init__(exchange.proxy, target, pick, attempt, exchange.head)
        self._exchange = exchange
        self._won = False

    def response_head(self, head: ResponseHead) -> None:
        if not self._won:
            if head.interim:
                return
            if self._exchange.better_than(head):
                self.attempt.status = head.status
                self.over(self.proxy.classify(head))
                return
            self.take_over()
        self._exchange.response_head(head)

    def take_over(self) -> None:
        """From here on this is the exchange's own attempt."""
        self._won = True
        self._exchange.hedge_won(self)

    def response_body(self, data: bytes) -> None:
        self._exchange.response_body(data)

    def response_trailers(self, fields: list[Header]) -> None:
        self._exchange.response_trailers(fields)

    def response_flush(self) -> None:
        if self._won:
            self._exchange.response_flush()

    def response_end(self) -> None:
        self._exchange.response_end()

    def upstream_writable(self, writable: bool) -> None:
        if self._won:
            self._exchange.upstream_writable(writable)

    def upstream_failed(self, connection: UpstreamConnection, error: ProtocolError | None) -> None:
        if self._won:
            self._exchange.upstream_failed(connection, error)
        else:
            super().upstream_failed(connection, error)

    def crashed(self) -> None:
        self._exchange.crashed()

    def over(self, outcome: Outcome) -> bool:
        done = super().over(outcome)
        if done:
            self._exchange.hedge_lost(self)
        return done
