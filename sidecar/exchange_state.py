"""What one request holds and when it must move: the part of an exchange that both of its halves use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .answer import Answer
from .attempt import IDEMPOTENT, Attempt, Target, retry_after
from .errors import Flag, MeshError
from .io.downstream import Downstream
from .io.flow import Hold
from .io.pool import Pool
from .io.upstream import UpstreamConnection
from .observe.trace_context import TraceContext, new_span_id
from .policy.outcome import Outcome
from .side_try import Hedge
from .stack import Pick, Rejection
from .upload import Upload
from .wire.events import Body, RequestHead

if TYPE_CHECKING:
    from .balance.endpoints import Endpoint
    from .caller_fault import CallerFault
    from .copies import Copies
    from .direct import DirectAnswer
    from .entry import Entry
    from .policy.retry import RetryPolicy
    from .proxy import Proxy
    from .routing.route import Route

NEVER = float("inf")


class ExchangeState(ABC):
    """The state of one request and its tries; `proxy` has everything that outlives it."""

    __slots__ = (
        "_asked_retry", "_client", "_client_slow", "_complete", "_connection", "_copies", "_deadline",
        "_failed_arms", "_fell_back", "_free_tries", "_hedge_at", "_held_for", "_hold_until",
        "_idempotent", "_kept", "_late", "_limit", "_lines", "_over", "_pick", "_pool", "_queue_until",
        "_queued",
        "_retry_at", "_retry_reason", "_sent", "_side", "_target", "_tried", "_try_deadline", "_upload",
        "_upstream_slow", "answer", "attempts", "bytes_in", "cookie", "detail", "entry", "flag", "head",
        "peer", "proxy", "request_id", "route", "span", "started", "status", "target_name", "upstream_s",
    )  # fmt: skip

    def __init__(self, proxy: Proxy, client: Downstream, head: RequestHead) -> None:
        proxy.in_flight += 1
        self.proxy = proxy
        self.head = head
        self.peer = client.peer  # the client's address; behind trusted proxies the one that they tell
        self.started = proxy.clock()
        self.request_id = proxy.request_id(head)
        self.span: TraceContext = proxy.trace(head, self.request_id)
        self.answer = Answer(proxy, client, head)
        self.attempts: list[Attempt] = []
        self.route: Route | None = None  # None: nothing but a destination
        self.target_name = ""
        self.status = 0
        self.flag: Flag | None = None
        self.detail = ""
        self.entry: Entry | CallerFault | None = None  # set while a policy of either side has it in its hands
        self.bytes_in = 0
        self.upstream_s = 0.0  # from the last attempt's start to its answer's head
        self._client = client
        self._target: Target | None = None  # set while a place there is held
        self._held_for: Target | None = None  # set while the request is held back (see holding.py)
        self._late: Target | None = None  # set while it is passed on, but neither whole nor answered
        self._queued: tuple[Target, Rejection] | None = None
        self._tried: list[Endpoint] = []
        # the request
        self._lines: list[bytes] | None = None
        self._complete = False  # all of the request is here
        self._kept = head.upgrade != b"websocket"  # the request can be sent once more
        self._upload = None if head.body is Body.NONE else Upload(head.body is Body.CHUNKED)
        self._copies: Copies | None = None  # that are still to be sent
        self.cookie = b""  # of a consistent hash, made for a client that has none
        self._idempotent = head.method in IDEMPOTENT or b"idempotency-key" in head.fields
        # the current attempt
        self._pick: Pick | None = None
        self._pool: Pool | None = None
        self._connection: UpstreamConnection | None = None
        self._sent = False  # its head is on the way
        self._asked_retry: RetryPolicy | None = None  # by the request itself
        self._retry_reason = ""
        self._free_tries = 0
        self._side: Hedge | None = None  # a second attempt beside it
        self._failed_arms: tuple[str, ...] = ()  # of the route's split
        self._fell_back = ""  # the destination that stands in
        # back-pressure and time
        self._client_slow = False
        self._upstream_slow = False
        self._limit = 0.0  # seconds from the end of the request to the begin of the answer
        self._deadline = NEVER
        self._queue_until = NEVER
        self._try_deadline = NEVER
        self._hedge_at = NEVER
        self._hold_until = NEVER  # the request before it is passed on, or a short answer before it is whole
        self._retry_at = NEVER
        self._over = False

    @property
    def route_name(self) -> str:
        """The rule that decided."""
        return self.route.name if self.route is not None else f"default/{self.target_name}"

    def time_left(self, now: float) -> tuple[float, float]:
        """(seconds that the answer could take, what is left of them)."""
        end = self.started + self._limit if self._deadline == NEVER else self._deadline
        return self._limit, max(0.0, end - now)

    @property
    def _expects(self) -> bool:
        """The client waits to be asked for its body (an expectation in HTTP/1.0 is none)."""
        return b"expect" in self.head.fields and self.head.http11 and not self.bytes_in

    @property
    def remote(self) -> str:
        """The address at the other end of the connection."""
        return self._client.peer

    def client_end(self, name: str) -> tuple[str, int] | None:
        """(host, port) of the client's connection: our end (`sockname`) or its own (`peername`)."""
        return self._client.end_of(name)

    def upstream_end(self, name: str) -> tuple[str, int] | None:
        """The same of the connection to the backend, while there is one."""
        return None if self._connection is None else self._connection.end_of(name)

    @property
    def flags(self) -> str:
        """The response flags as logs and metrics have them: `-`, or one or more joined by commas."""
        own = "-" if self.flag is None else self.flag.name
        return own if self.entry is None else self.entry.flags(own)

    @abstractmethod
    def routed(self, found: Target | DirectAnswer | MeshError) -> None:
        """The destination is known, or known not to be."""

    @abstractmethod
    def connected(self, connection: UpstreamConnection) -> None:
        """A connection to the picked endpoint."""

    @abstractmethod
    def connect_failed(self, error: MeshError) -> None:
        """There will be none."""

    @abstractmethod
    def crashed(self) -> None:
        """An error of our own: give everything back and cut the client."""

    @abstractmethod
    def _reject(self, rejection: Rejection) -> None:
        """Answer that no try can be made."""

    @abstractmethod
    def _fail(self, flag: Flag, detail: str) -> None:
        """Answer that the last try failed."""

    @abstractmethod
    def _reply(
        self,
        status: int,
        flag: Flag,
        detail: str,
        retry_after_s: float | None = None,
        *,
        overloaded: bool = False,
        fields: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        """Answer for ourselves."""

    @abstractmethod
    def _end(self, flag: Flag | None, detail: str, *, cut: bool) -> None:
        """Give back everything, once."""

    # -- letting go --------------------------------------------------------------------------------

    def _no_longer_late(self) -> None:
        """The body is whole or long, or its answer has begun."""
        target, self._late = self._late, None
        if target is not None:
            self.proxy.holding.done(target)

    def _span_id(self) -> bytes:
        span = self.span
        return new_span_id(self.proxy.rng) if span.sampled and self.proxy.attempt_spans else span.span_id

    def _abandon(self, outcome: Outcome) -> None:
        """Let go of the current attempt: its connection cannot be used for another exchange."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        elif self._pool is not None:
            self._pool.cancel(self)
        if self._upstream_slow:
            self._upstream_slow = False
            self._client.release(Hold.SLOW_PEER)
        self._settle(outcome)

    def _settle(self, outcome: Outcome) -> None:
        pick, self._pick = self._pick, None
        if pick is None or self._target is None:
            return
        attempt = self.attempts[-1]
        attempt.outcome = outcome
        attempt.ended = self.proxy.clock()
        head = self.answer.head
        if head is None:
            self._target.settle(pick, outcome, attempt.ended - attempt.started)
        else:
            self._target.settle(pick, outcome, self.upstream_s, retry_after(head), head.status)

    def _remaining(self, now: float) -> float:
        """Seconds until the answer must have begun; all of the limit while the request is still coming."""
        return self._limit if self._deadline == NEVER else self._deadline - now

    def _arm(self) -> None:
        self._client.arm(
            min(
                self._deadline,
                self._queue_until,
                self._try_deadline,
                self._retry_at,
                self._hedge_at,
                self._hold_until,
            )
        )
