"""The life of one request: match, admit, pick, attempt, classify, retry, reply. Policy meets I/O here only.

An exchange is driven by calls from its client connection and its backend connection; it never
waits, so there is no task, and cancelling it is a call of `client_gone`. Its states:

  routing   the destination's endpoints are not known yet (`routed` is called later)
  waiting   for a connection, or for the backoff before a retry
  asking    the request is on its way to `_pick`'s endpoint on `_connection`
  replying  the answer is committed: from here on there is no retry
  over      `_end` ran, exactly once, and gave back everything that was taken
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .answer import Answer
from .attempt import FLAG_OF, Attempt, KeptBody, Target, retry_after
from .errors import Flag, MeshError
from .io.downstream import Downstream
from .io.flow import Hold
from .io.pool import Pool
from .io.upstream import UpstreamConnection
from .observe.trace_context import TraceContext, new_span_id
from .policy.outcome import Outcome
from .policy.retry import Refusal
from .stack import Pick, Rejection
from .wire.events import Body, ProtocolError, RequestHead, ResponseHead
from .wire.forward import request_lines
from .wire.serialize import LAST_CHUNK, chunk, join_head

if TYPE_CHECKING:
    from .balance.endpoints import Endpoint
    from .proxy import Proxy

# No byte in either direction for this long ends a stream (Envoy's stream_idle_timeout).
STREAM_IDLE_S = 300.0
NEVER = float("inf")

# RFC 9110 section 9.2.2.
IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))
STALE_CONNECTION = "the kept-alive connection was closed"


class Exchange:
    """One request through this sidecar; `proxy` has everything that outlives it."""

    __slots__ = (
        "_body", "_client", "_client_slow", "_connection", "_deadline", "_hedge_at", "_idempotent",
        "_lines", "_over", "_pick", "_pool", "_replayable", "_request_complete", "_retry_at",
        "_retry_reason", "_sent", "_target", "_tried", "_try_deadline", "_upstream_slow", "answer",
        "attempts", "bytes_in", "detail", "flag", "head", "proxy", "request_id", "span", "started",
        "status", "target_name", "upstream_s",
    )  # fmt: skip

    def __init__(self, proxy: Proxy, client: Downstream, head: RequestHead) -> None:
        self.proxy = proxy
        self.head = head
        self.started = proxy.clock()
        self.span: TraceContext = proxy.trace(head)
        self.request_id = proxy.request_id(head)
        self.answer = Answer(proxy, client, head)
        self.attempts: list[Attempt] = []
        self.target_name = ""
        self.status = 0
        self.flag: Flag | None = None
        self.detail = ""
        self.bytes_in = 0
        self.upstream_s = 0.0  # from the last attempt's start to its answer's head
        self._client = client
        self._target: Target | None = None
        self._tried: list[Endpoint] = []
        # the request
        self._lines: list[bytes] | None = None
        self._body: KeptBody | None = None
        self._idempotent = head.method in IDEMPOTENT or b"idempotency-key" in head.fields
        self._replayable = head.upgrade != b"websocket"
        self._request_complete = False
        # the current attempt
        self._pick: Pick | None = None
        self._pool: Pool | None = None
        self._connection: UpstreamConnection | None = None
        self._sent = False  # its head is on the way
        self._retry_reason = ""
        # back-pressure and time
        self._client_slow = False
        self._upstream_slow = False
        self._deadline = NEVER
        self._try_deadline = NEVER
        self._hedge_at = NEVER
        self._retry_at = NEVER
        self._over = False

    @property
    def peer(self) -> str:
        """The client's address."""
        return self._client.peer

    # -- from the client ---------------------------------------------------------------------------

    def start(self) -> None:
        """The head, and all of the body that came with it, are here."""
        if self._over:
            return
        remaining = self.proxy.time_limit(self.head)
        self._deadline = self.started + remaining
        if remaining <= 0:
            self._fail(Flag.DT, "nothing was left of the caller's time")
            return
        found = self.proxy.route(self.head, self)
        if found is not None:
            self.routed(found)
        else:
            self._arm()

    def routed(self, found: Target | MeshError) -> None:
        """The destination is known, or known not to be."""
        if self._over:
            return
        if isinstance(found, MeshError):
            self._fail(found.flag, found.detail)
            return
        self.target_name = found.name
        rejection = found.start()
        if rejection is not None:
            if rejection.wait_s > 0:
                found.abandon_wait()
            self._reject(rejection)
            return
        self._target = found
        self._try()

    def request_body(self, data: bytes) -> None:
        self.bytes_in += len(data)
        if self._over:
            return
        if self._sent and self._connection is not None:
            self._connection.write([chunk(data) if self.head.body is Body.CHUNKED else data])
            self._try_deadline = self.proxy.clock() + STREAM_IDLE_S
            if not self._replayable:
                return
        if self._body is None:
            self._body = KeptBody(self.head.body is Body.CHUNKED)
        self._body.add(data)
        if self._body.too_large:
            if self._sent:
                self._forget_body()
            else:
                self._client.hold(Hold.SLOW_PEER)

    def request_end(self) -> None:
        self._request_complete = True
        connection = self._connection
        if connection is not None and self._sent:
            if self.head.body is Body.CHUNKED:
                connection.write([LAST_CHUNK])
            connection.request_done = True
            if not self.answer.committed:
                self._arm_try(self.proxy.clock())

    def request_broken(self, error: ProtocolError) -> None:
        """The body broke the protocol or a limit: what was sent of it must not look whole."""
        self._abandon(Outcome.CANCELLED)
        self.answer.keep_alive = False
        if self.answer.committed:
            self._end(Flag.DPE, error.reason, cut=True)
        else:
            self._reply(error.status, Flag.DPE, error.reason)

    def client_gone(self) -> None:
        if not self._over:
            self._abandon(Outcome.CANCELLED)
            self._end(Flag.DC, "", cut=False)

    def client_writable(self, writable: bool) -> None:
        self._client_slow = not writable
        connection = self._connection
        if connection is not None:
            if writable:
                connection.resume_reading()
            else:
                connection.pause_reading()

    def timer_fired(self) -> None:
        """One of the deadlines has passed: the request's, the backoff's, the attempt's, the hedge's."""
        if self._over:
            return
        now = self.proxy.clock() + 0.001  # timers may be a hair early
        if now >= self._deadline:
            self._abandon(Outcome.TIMEOUT_TOTAL)
            if self.answer.committed:
                self._end(Flag.UT, "the deadline passed while the answer was on its way", cut=True)
            else:
                self._fail(Flag.UT, "no answer within the request's time limit")
        elif now >= self._retry_at:
            self._retry_at = NEVER
            self._try()
        elif now >= self._try_deadline:
            self._try_failed(Outcome.TIMEOUT_TRY, Flag.UT, "no answer within the time of one try")
        elif now >= self._hedge_at:
            self._hedge_due(now)
        else:
            self._arm()

    # -- an attempt --------------------------------------------------------------------------------

    def _try(self, *, fresh: bool = False) -> None:
        target = self._target
        assert target is not None
        pick = target.pick(self._tried, None, self._idempotent and self._replayable)
        if isinstance(pick, Rejection):
            if self.flag is not None:
                self._fail(self.flag, self.detail)  # the first failure says more than 'nobody is left'
            else:
                self._reject(pick)
            return
        self._pick = pick
        self._sent = False
        now = self.proxy.clock()
        span = self.span
        span_id = new_span_id(self.proxy.rng) if span.sampled and self.proxy.recording else span.span_id
        self.attempts.append(Attempt(len(self.attempts) + 1, pick.endpoint, now, span_id, self._retry_reason))
        self._arm_try(now)
        pool = self._pool = self.proxy.pool(pick.endpoint)
        connection = pool.acquire(self, fresh=fresh)
        if connection is not None:
            self.connected(connection)

    def connected(self, connection: UpstreamConnection) -> None:
        """A connection to the picked endpoint: send the head and what there is of the body."""
        head, proxy, attempt = self.head, self.proxy, self.attempts[-1]
        self._connection = connection
        connection.begin(self, head.method)
        attempt.connected = now = proxy.clock()
        if self._client_slow:
            connection.pause_reading()
        if self._lines is None:
            self._lines = request_lines(head, proxy.drop_request, head.host or self.target_name.encode())
            self._lines += proxy.request_fields(self)
        lines = [
            *self._lines,
            b"traceparent: %b\r\n" % self.span.traceparent(attempt.span_id),
            *proxy.attempt_fields(attempt.number, self._deadline - now),
        ]
        pieces = [join_head(lines)]
        if self._body is not None:
            pieces += self._body.framed()
        if self._request_complete:
            if head.body is Body.CHUNKED:
                pieces.append(LAST_CHUNK)
            connection.request_done = True
        self._sent = True
        connection.write(pieces)
        if self._body is not None and self._body.too_large:
            self._forget_body()
            if not self._upstream_slow:
                self._client.release(Hold.SLOW_PEER)

    def connect_failed(self, error: MeshError) -> None:
        self._try_failed(Outcome.CONNECT_FAILURE, Flag.UF, error.detail)

    def upstream_failed(self, connection: UpstreamConnection, error: ProtocolError | None) -> None:
        """The connection was lost or the response is broken."""
        if error is not None:
            self._try_failed(Outcome.APP_FAILURE, Flag.UPE, error.reason)
        elif (
            connection.reused
            and self.answer.head is None
            and self._idempotent
            and self._replayable
            and self._retry_reason != STALE_CONNECTION
        ):
            # A kept-alive connection that dies before an answer is the race of two timeouts, not the
            # endpoint's fault: once more on a fresh one, charging nobody.
            self._connection = None
            self._settle(Outcome.REUSED_RESET)
            self._retry_reason = STALE_CONNECTION
            self._try(fresh=True)
        else:
            self._connection = None
            detail = "the connection was closed before the answer was complete"
            self._try_failed(Outcome.RESET, Flag.UC, detail)

    def _hedge_due(self, now: float) -> None:
        """No head yet, and later than usual: give the attempt up early if its endpoint seems to be dead."""
        self._hedge_at = NEVER
        if self._pick is not None and self.answer.head is None and self._target is not None:
            again = self._target.reconsider(self._pick)
            if again == 0.0:
                self._try_failed(Outcome.TIMEOUT_TRY, Flag.UT, "silent, while others answer")
                return
            if again is not None:
                self._hedge_at = now + again
        self._arm()

    def _try_failed(self, outcome: Outcome, flag: Flag, detail: str) -> None:
        """This try is lost: settle it, then once more or an error to the client."""
        endpoint = self.attempts[-1].endpoint
        self._abandon(outcome)
        if self.answer.committed:
            self._end(flag, detail, cut=True)
            return
        self._tried.append(endpoint)
        self.answer.drop()
        detail = f"{endpoint.id}: {detail}"
        if not self._retry(outcome, flag, detail):
            self._fail(flag, detail)

    def _refused(self, head: ResponseHead, *, complete: bool) -> bool:
        """Whether this answer is a failure that another try may better; if so, that try is under way."""
        if head.status < 500 and head.status != 429:
            return False
        outcome = self.proxy.classify(head)
        endpoint = self.attempts[-1].endpoint
        self._settle(outcome)
        self._tried.append(endpoint)
        connection, pool, answer = self._connection, self._pool, self.answer
        # The next try may begin, and even end, within `_retry`: what this one holds is put aside.
        self._connection = None
        self.answer = Answer(self.proxy, self._client, self.head)
        detail = f"{endpoint.id}: answered {head.status}"
        if not self._retry(outcome, FLAG_OF[outcome], detail, retry_after(head), head.status):
            self._connection, self.answer = connection, answer
            return False
        if connection is not None and pool is not None:
            if complete:
                pool.release(connection)
            else:
                connection.abort()
        return True

    def _retry(
        self,
        outcome: Outcome,
        flag: Flag,
        detail: str,
        retry_after_s: float | None = None,
        status: int = 0,
    ) -> bool:
        """Whether there will be another try; it is under way, or its backoff runs, when this says yes."""
        target = self._target
        assert target is not None
        now = self.proxy.clock()
        verdict = target.may_retry(
            outcome,
            len(self.attempts),
            self._idempotent,
            self._replayable,
            False,
            self._deadline - now,
            retry_after_s,
            status=status,
        )
        if isinstance(verdict, Refusal):
            return False
        self.flag, self.detail = flag, detail
        self._retry_reason = f"{flag.name}: {detail}"
        self.proxy.retried(self)
        if verdict.delay_s <= 0:
            self._try()
        else:
            self._retry_at = now + verdict.delay_s
            self._try_deadline = self._hedge_at = NEVER
            self._arm()
        return True

    # -- from the backend --------------------------------------------------------------------------

    def response_head(self, head: ResponseHead) -> None:
        answer = self.answer
        if head.interim:
            answer.interim(head)
            return
        attempt = self.attempts[-1]
        attempt.status = head.status
        self.upstream_s = self.proxy.clock() - attempt.started
        if head.body is Body.TUNNEL:
            self._upgrade(head)
            return
        answer.begin(head)
        if not answer.held and not self._refused(head, complete=False):
            self._commit(head)

    def response_body(self, data: bytes) -> None:
        self.answer.body(data)

    def response_flush(self) -> None:
        if not self.answer.held:
            self.answer.flush()
            self._try_deadline = self.proxy.clock() + STREAM_IDLE_S
            self._arm()

    def response_end(self) -> None:
        answer = self.answer
        head = answer.head
        assert head is not None
        if answer.held:
            if self._refused(head, complete=True):
                return
            self._commit(head)
        answer.end()
        if not self._request_complete:
            answer.keep_alive = False  # an early answer: the rest of the upload is not read
        self._settle(self.proxy.classify(head))
        connection, self._connection = self._connection, None
        if connection is not None and self._pool is not None:
            self._pool.release(connection)
        self._end(None, "", cut=False)

    def upstream_writable(self, writable: bool) -> None:
        self._upstream_slow = not writable
        if writable:
            self._client.release(Hold.SLOW_PEER)
        else:
            self._client.hold(Hold.SLOW_PEER)

    def _commit(self, head: ResponseHead) -> None:
        """From here on the answer belongs to the client."""
        self.status = head.status
        self.answer.commit(self.proxy.response_fields(self), self._request_complete)
        if not self.proxy.deadline_covers_body(self.head):
            self._deadline = NEVER
        self._hedge_at = NEVER

    def _upgrade(self, head: ResponseHead) -> None:
        """101: check that the protocol is the one asked for, then relay bytes both ways."""
        connection, client = self._connection, self._client
        assert connection is not None
        if self.head.upgrade != b"websocket" or head.fields.get(b"upgrade", b"").lower() != b"websocket":
            self._try_failed(Outcome.APP_FAILURE, Flag.UPE, "upgraded to a protocol that was not asked for")
            return
        self.status = 101
        self._settle(Outcome.SUCCESS)
        self._connection = None
        self.answer.upgrade(head, self.proxy.response_fields(self), connection.tunnel_to(client))
        early = client.tunnel_to(connection)
        if early:
            connection.write([early])
        self._end(None, "", cut=False)

    # -- the end -----------------------------------------------------------------------------------

    def _reject(self, rejection: Rejection) -> None:
        flag = Flag[rejection.flag]
        words = rejection.reason.removeprefix(f"{rejection.flag} ")
        self._reply(rejection.status, flag, words, rejection.retry_after, overloaded=rejection.overloaded)

    def _fail(self, flag: Flag, detail: str) -> None:
        self._reply(flag.status, flag, detail)

    def _reply(
        self,
        status: int,
        flag: Flag,
        detail: str,
        retry_after_s: float | None = None,
        *,
        overloaded: bool = False,
    ) -> None:
        self.status = status
        if not self._request_complete:
            self.answer.keep_alive = False
        self.answer.own(status, flag, detail, retry_after_s, overloaded)
        self._end(flag, detail, cut=False)

    def _end(self, flag: Flag | None, detail: str, *, cut: bool) -> None:
        """Give back everything, once, whatever happened before."""
        if self._over:
            return
        self._over = True
        self.flag, self.detail = flag, detail
        if self._pick is not None:
            self._settle(Outcome.CANCELLED)
        target, self._target = self._target, None
        if target is not None:
            target.finish()
        if cut:
            self._client.abort()
        elif flag is not Flag.DC and self.status != 101:
            self._client.finished(self.answer.keep_alive)
        self.proxy.ended(self)

    def _abandon(self, outcome: Outcome) -> None:
        """Let go of the current attempt: its connection cannot be used for another exchange."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        elif self._pool is not None:
            self._pool.cancel(self)
        self._settle(outcome)

    def _settle(self, outcome: Outcome) -> None:
        pick, self._pick = self._pick, None
        if pick is None or self._target is None:
            return
        attempt = self.attempts[-1]
        attempt.outcome = outcome
        attempt.ended = self.proxy.clock()
        if self.answer.head is None:
            self._target.settle(pick, outcome, attempt.ended - attempt.started)
        else:
            self._target.settle(pick, outcome, self.upstream_s, retry_after(self.answer.head))

    def _forget_body(self) -> None:
        self._replayable = False
        self._body = None

    def _arm_try(self, now: float) -> None:
        target = self._target
        assert target is not None
        self._hedge_at = NEVER
        if self._request_complete:
            remaining = self._deadline - now
            last = (
                not (self._idempotent and self._replayable)
                or len(self.attempts) >= target.policy.retry.max_attempts
            )
            self._try_deadline = now + target.per_try_timeout(remaining, last)
            if not last and (hedge := target.hedge_after(remaining)) is not None:
                self._hedge_at = now + hedge
        else:
            self._try_deadline = now + STREAM_IDLE_S
        self._arm()

    def _arm(self) -> None:
        self._client.arm(min(self._deadline, self._try_deadline, self._retry_at, self._hedge_at))
