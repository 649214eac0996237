"""The life of one request: match, admit, pick, attempt, classify, retry, reply. Policy meets I/O here only.

An exchange is driven by calls from its client connection and its backend connection; it never
waits, so there is no task, and cancelling it is a call of `client_gone`. The states are few:

  routing   the destination's endpoints are not known yet (`Router` calls `routed` later)
  waiting   for a connection, or for the backoff before a retry
  asking    the request is on its way to `_pick`'s endpoint on `_connection`
  replying  the answer's head went to the client: from here on there is no retry
  over      `_end` ran, exactly once, and gave back everything that was taken

The client's answer is held back while a retry is still possible and costs nothing: until the end of
a short body of known length. So a replica that dies in the middle of a small answer is no error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from .errors import Flag, MeshError
from .io.downstream import Downstream
from .io.flow import Hold
from .io.pool import Pool
from .io.upstream import UpstreamConnection
from .observe.trace_context import TraceContext, new_span_id
from .policy.outcome import Outcome
from .policy.retry import Refusal, Retry
from .stack import Pick, Rejection
from .wire.events import Body, ProtocolError, RequestHead, ResponseHead
from .wire.forward import request_lines, response_framing_out, response_lines
from .wire.serialize import LAST_CHUNK, chunk, join_head, own_answer

if TYPE_CHECKING:
    from .balance.endpoints import Endpoint
    from .policy.settings import UpstreamPolicy
    from .proxy import Proxy

# A request body up to this size is kept for a retry (Linkerd's bound); beyond it there is none.
REPLAY_BYTES = 64 * 1024
# A response of known length up to this size reaches the client only when it is complete.
HOLD_BYTES = 16 * 1024
# No byte in either direction for this long ends a stream (Envoy's stream_idle_timeout).
STREAM_IDLE_S = 300.0
NEVER = float("inf")

# RFC 9110 section 9.2.2.
IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))


# What an attempt that ended this way is called in logs.
FLAG_OF: dict[Outcome, Flag] = {
    Outcome.CONNECT_FAILURE: Flag.UF,
    Outcome.RESET: Flag.UC,
    Outcome.TIMEOUT_TRY: Flag.UT,
    Outcome.SHED: Flag.UO,
    Outcome.RATE_LIMITED: Flag.RL,
    Outcome.APP_FAILURE: Flag.URX,
}


def retry_after(head: ResponseHead) -> float | None:
    """Seconds that the callee asks to wait; its other form, a date, is not used between services."""
    value = head.fields.get(b"retry-after")
    return float(value) if value is not None and value.isdigit() and len(value) < 6 else None


class Routed(Protocol):
    """Who asked for a route and is told later."""

    def routed(self, found: Target | MeshError) -> None: ...


class Target(Protocol):
    """Where exchanges go: `stack.Upstream`, or the one app behind an inbound listener."""

    name: str
    policy: UpstreamPolicy

    def start(self) -> Rejection | None: ...
    def abandon_wait(self) -> None: ...
    def finish(self) -> None: ...
    def pick(
        self, tried: Sequence[Endpoint], key: int | None = None, probe_ok: bool = True
    ) -> Pick | Rejection: ...
    def settle(
        self, pick: Pick, outcome: Outcome, elapsed_s: float, retry_after_s: float | None = None
    ) -> None: ...
    def may_retry(
        self,
        outcome: Outcome,
        attempts: int,
        idempotent: bool,
        replayable: bool,
        response_started: bool,
        remaining_s: float,
        retry_after_s: float | None = None,
        *,
        status: int = 0,
    ) -> Retry | Refusal: ...
    def per_try_timeout(self, remaining_s: float, last: bool = False) -> float: ...
    def hedge_after(self, remaining_s: float) -> float | None: ...
    def reconsider(self, pick: Pick) -> float | None: ...


class Attempt:
    """One try, as the access log and the trace tell it."""

    __slots__ = (
        "connected",
        "ended",
        "endpoint",
        "number",
        "outcome",
        "reason",
        "span_id",
        "started",
        "status",
    )

    def __init__(self, number: int, endpoint: Endpoint, started: float, span_id: bytes, reason: str) -> None:
        self.number = number
        self.endpoint = endpoint
        self.started = started
        self.connected = 0.0
        self.ended = 0.0
        self.span_id = span_id
        self.reason = reason  # why there is this try; empty for the first
        self.outcome = Outcome.CANCELLED
        self.status = 0

    @property
    def failed(self) -> bool:
        return self.outcome not in (Outcome.SUCCESS, Outcome.CLIENT_ERROR, Outcome.CANCELLED)


class Exchange:
    """One request through this sidecar; `proxy` has everything that outlives it."""

    __slots__ = (
        "_attempt_span",
        "_body",
        "_buffered",
        "_client_paused",
        "_committed",
        "_connection",
        "_deadline",
        "_downstream",
        "_drop_unsent",
        "_framing",
        "_hedge_at",
        "_holding",
        "_idempotent",
        "_keep_alive",
        "_lines",
        "_out",
        "_over",
        "_pick",
        "_pool",
        "_replayable",
        "_request_complete",
        "_response",
        "_retry_at",
        "_retry_reason",
        "_sent",
        "_started_io",
        "_target",
        "_tried",
        "_try_deadline",
        "_upstream_paused",
        "attempts",
        "bytes_in",
        "bytes_out",
        "detail",
        "flag",
        "head",
        "proxy",
        "request_id",
        "span",
        "started",
        "status",
        "target_name",
        "upstream_s",
    )

    def __init__(self, proxy: Proxy, downstream: Downstream, head: RequestHead) -> None:
        self.proxy = proxy
        self.head = head
        self._idempotent = head.method in IDEMPOTENT or b"idempotency-key" in head.fields
        self.started = proxy.clock()
        self.span: TraceContext = proxy.trace(head)
        self.request_id = proxy.request_id(head)
        self.target_name = ""
        self.status = 0
        self.flag: Flag | None = None
        self.detail = ""
        self.bytes_in = 0
        self.bytes_out = 0
        self.upstream_s = 0.0
        self.attempts: list[Attempt] = []
        self._downstream = downstream
        self._target: Target | None = None
        self._pick: Pick | None = None
        self._pool: Pool | None = None
        self._connection: UpstreamConnection | None = None
        self._tried: list[Endpoint] = []
        self._lines: list[bytes] | None = None
        self._body: list[bytes] = []  # kept pieces of the request body, unframed
        self._buffered = 0
        self._replayable = head.upgrade != b"websocket"
        self._request_complete = False
        self._sent = False  # the head of the current attempt is on its way
        self._started_io = False
        self._response: ResponseHead | None = None
        self._framing = Body.NONE
        self._out: list[bytes] = []
        self._holding = False
        self._committed = False
        self._keep_alive = True
        self._client_paused = False
        self._upstream_paused = False
        self._deadline = NEVER
        self._try_deadline = NEVER
        self._hedge_at = NEVER
        self._retry_at = NEVER
        self._retry_reason = ""
        self._over = False

    # -- from the client ---------------------------------------------------------------------------

    @property
    def peer(self) -> str:
        """The client's address."""
        return self._downstream.peer

    def start(self) -> None:
        """The head, and all of the body that came with it, are here."""
        if self._over or self._started_io:
            return
        self._started_io = True
        proxy = self.proxy
        remaining = proxy.time_limit(self.head)
        self._deadline = self.started + remaining
        if remaining <= 0:
            self._fail(Flag.DT, "none of the caller's time was left")
            return
        found = proxy.route(self.head, self)
        if found is not None:
            self.routed(found)
        else:
            self._arm()

    def routed(self, found: Target | MeshError) -> None:
        """The destination is known, or known not to be."""
        if self._over:
            return
        if isinstance(found, MeshError):
            self._fail(found.flag, str(found))
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
        connection = self._connection
        if connection is not None and self._sent:
            connection.write([chunk(data) if self.head.body is Body.CHUNKED else data])
            self._try_deadline = self.proxy.clock() + STREAM_IDLE_S
            if not self._replayable:
                return
        self._body.append(data)
        self._buffered += len(data)
        if self._buffered > REPLAY_BYTES:
            if self._sent:
                self._forget_body()
            else:
                self._downstream.hold(Hold.SLOW_PEER)

    def request_end(self) -> None:
        self._request_complete = True
        connection = self._connection
        if connection is not None and self._sent:
            if self.head.body is Body.CHUNKED:
                connection.write([LAST_CHUNK])
            connection.request_done = True
            self._arm_try(self.proxy.clock())

    def request_broken(self, error: ProtocolError) -> None:
        """The body broke the protocol or a limit: what was sent of it must not look whole."""
        self._abandon(Outcome.CANCELLED)
        self._keep_alive = False
        if self._committed:
            self._end(Flag.DPE, error.reason, cut=True)
        else:
            self._reply(error.status, Flag.DPE, error.reason)

    def client_gone(self) -> None:
        if not self._over:
            self._abandon(Outcome.CANCELLED)
            self._end(Flag.DC, "", cut=False)

    def client_writable(self, writable: bool) -> None:
        self._client_paused = not writable
        connection = self._connection
        if connection is not None:
            if writable:
                connection.resume_reading()
            else:
                connection.pause_reading()

    def timer_fired(self) -> None:
        """A deadline has passed: the retry's backoff, the try's limit, or the request's."""
        if self._over:
            return
        now = self.proxy.clock() + 0.001
        if now >= self._deadline:
            self._abandon(Outcome.TIMEOUT_TOTAL)
            if self._committed:
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
        pick = target.pick(self._tried, None, self._repeatable)
        if isinstance(pick, Rejection):
            if self._tried and self.flag is not None:
                self._fail(self.flag, self.detail)  # the first failure says more than 'nobody is left'
            else:
                self._reject(pick)
            return
        endpoint = pick.endpoint
        self._pick = pick
        self._sent = False
        now = self.proxy.clock()
        span = self.span
        span_id = new_span_id(self.proxy.rng) if span.sampled and self.proxy.recording else span.span_id
        self.attempts.append(Attempt(len(self.attempts) + 1, endpoint, now, span_id, self._retry_reason))
        self._arm_try(now)
        pool = self._pool = self.proxy.pool(endpoint)
        connection = pool.acquire(self, fresh=fresh)
        if connection is not None:
            self.connected(connection)

    def connected(self, connection: UpstreamConnection) -> None:
        """A connection to the picked endpoint: send the head and what there is of the body."""
        self._connection = connection
        head = self.head
        attempt = self.attempts[-1]
        now = attempt.connected = self.proxy.clock()
        connection.begin(self, head.method)
        if self._client_paused:
            connection.pause_reading()
        if self._lines is None:
            self._lines = request_lines(head, self.proxy.drop_request, head.host or self._target_host())
            self._lines += self.proxy.request_fields(self)
        pieces = [
            join_head(
                [
                    *self._lines,
                    b"traceparent: %b\r\n" % self.span.traceparent(attempt.span_id),
                    *self.proxy.attempt_fields(attempt.number, self._deadline - now),
                ]
            )
        ]
        if self._body:
            if head.body is Body.CHUNKED:
                pieces += [chunk(piece) for piece in self._body]
            else:
                pieces += self._body
        if self._request_complete:
            if head.body is Body.CHUNKED:
                pieces.append(LAST_CHUNK)
            connection.request_done = True
        self._sent = True
        connection.write(pieces)
        if self._buffered > REPLAY_BYTES:
            self._forget_body()
            if not self._upstream_paused:
                self._downstream.release(Hold.SLOW_PEER)

    def connect_failed(self, error: MeshError) -> None:
        self._try_failed(Outcome.CONNECT_FAILURE, Flag.UF, str(error))

    def upstream_failed(self, connection: UpstreamConnection, error: ProtocolError | None) -> None:
        """The connection was lost or the response is broken."""
        if error is not None:
            self._try_failed(Outcome.APP_FAILURE, Flag.UPE, error.reason)
            return
        if connection.reused and self._response is None and not self._committed:
            # A kept-alive connection that dies before an answer is the race of two timeouts, not the
            # endpoint's fault: once more on a fresh one, charging nobody.
            if self._repeatable:
                self._settle(Outcome.REUSED_RESET)
                self._connection = None
                self._retry_reason = "the kept-alive connection was closed"
                if self.attempts[-1].reason != self._retry_reason:
                    self._try(fresh=True)
                    return
        self._try_failed(Outcome.RESET, Flag.UC, "the connection was closed before the answer was complete")

    def _try_failed(self, outcome: Outcome, flag: Flag, detail: str) -> None:
        """This try is lost: settle it, then once more or an error to the client."""
        endpoint = self._pick.endpoint if self._pick is not None else None
        self._abandon(outcome)
        if self._committed:
            self._end(flag, detail, cut=True)
            return
        if endpoint is not None:
            self._tried.append(endpoint)
            detail = f"{endpoint.id}: {detail}"
        self._response = None
        self._out.clear()
        self._holding = False
        if not self._retry(outcome, flag, detail):
            self._fail(flag, detail)

    def _retry(
        self, outcome: Outcome, flag: Flag, detail: str, retry_after_s: float | None = None, status: int = 0
    ) -> bool:
        """Whether there will be another try; it is under way or its backoff runs when this says yes."""
        target = self._target
        assert target is not None
        now = self.proxy.clock()
        verdict = target.may_retry(
            outcome,
            len(self.attempts),
            self._idempotent,
            self._replayable,
            self._committed,
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
        if head.interim:
            if self.head.http11 and not self._committed:
                self._downstream.write(
                    [join_head(response_lines(head, self.proxy.drop_response, Body.NONE, False))]
                )
            return
        now = self.proxy.clock()
        attempt = self.attempts[-1]
        attempt.status = head.status
        self.upstream_s = now - attempt.started
        self._response = head
        if head.body is Body.TUNNEL:
            self._upgrade(head)
            return
        self._holding = head.body is Body.NONE or (head.body is Body.LENGTH and head.length <= HOLD_BYTES)
        if not self._holding:
            if self._refused_by(head, complete=False):
                return
            self._commit(head)

    def response_body(self, data: bytes) -> None:
        self.bytes_out += len(data)
        self._out.append(chunk(data) if self._framing is Body.CHUNKED else data)

    def response_flush(self) -> None:
        if not self._holding and self._out:
            self._downstream.write(self._out)
            self._out = []
            if self._deadline == NEVER:
                self._try_deadline = self.proxy.clock() + STREAM_IDLE_S
                self._arm()

    def response_end(self) -> None:
        head = self._response
        assert head is not None
        if self._holding:
            if self._refused_by(head, complete=True):
                return
            self._commit(head)
        elif self._framing is Body.CHUNKED:
            self._out.append(LAST_CHUNK)
        self._downstream.write(self._out)
        if not self._request_complete:
            self._keep_alive = False  # an early answer: the rest of the upload is not read
        self._settle(self.proxy.classify(head))
        self._give_back()
        self._end(None, "", cut=False)

    def upstream_writable(self, writable: bool) -> None:
        self._upstream_paused = not writable
        if writable:
            self._downstream.release(Hold.SLOW_PEER)
        else:
            self._downstream.hold(Hold.SLOW_PEER)

    def _refused_by(self, head: ResponseHead, *, complete: bool) -> bool:
        """Whether this answer is a failure that another try may better; if so, that try is under way."""
        if head.status < 500 and head.status != 429:
            return False
        outcome = self.proxy.classify(head)
        endpoint = self.attempts[-1].endpoint
        self._settle(outcome)
        if endpoint not in self._tried:
            self._tried.append(endpoint)
        # Another try would overwrite what this one holds, so it is put aside until that is decided.
        kept = self._connection, self._pool, self._out
        self._connection, self._response, self._out = None, None, []
        detail = f"{endpoint.id}: answered {head.status}"
        if not self._retry(outcome, FLAG_OF[outcome], detail, retry_after(head), head.status):
            self._connection, self._pool, self._out = kept
            self._response = head
            return False
        connection, pool, _ = kept
        if connection is not None and pool is not None:
            if complete:
                pool.release(connection)
            else:
                connection.abort()
        return True

    def _commit(self, head: ResponseHead) -> None:
        """From here on the answer belongs to the client."""
        request = self.head
        self._committed = True
        self.status = head.status
        self._framing = response_framing_out(head, request.http11)
        self._keep_alive = (
            self._keep_alive
            and request.keep_alive
            and self._framing is not Body.UNTIL_CLOSE
            and not self.proxy.draining
        )
        lines = response_lines(head, self.proxy.drop_response, self._framing, request.method == b"HEAD")
        lines += self.proxy.response_fields(self)
        if not self._keep_alive or not self._request_complete:
            lines.append(b"connection: close\r\n")
        elif not request.http11:
            lines.append(b"connection: keep-alive\r\n")
        self._out.insert(0, join_head(lines))
        self._holding = False
        if not self.proxy.deadline_covers_body(request):
            self._deadline = NEVER
        self._try_deadline = self.proxy.clock() + STREAM_IDLE_S
        self._hedge_at = NEVER
        self._arm()

    def _upgrade(self, head: ResponseHead) -> None:
        """101: check that the protocol is the one asked for, then relay bytes both ways."""
        connection = self._connection
        assert connection is not None
        if head.fields.get(b"upgrade", b"").lower() != self.head.upgrade or self.head.upgrade != b"websocket":
            self._try_failed(Outcome.APP_FAILURE, Flag.UPE, "upgraded to a protocol that was not asked for")
            return
        self.status = 101
        self._committed = True
        self._framing = Body.TUNNEL
        lines = response_lines(head, self.proxy.drop_response, Body.TUNNEL, False)
        first = [join_head(lines + self.proxy.response_fields(self))]
        downstream = self._downstream
        to_client = connection.tunnel_to(downstream)
        to_upstream = downstream.tunnel_to(connection)
        if to_client:
            first.append(to_client)
        downstream.write(first)
        if to_upstream:
            connection.write([to_upstream])
        self._settle(Outcome.SUCCESS)
        self._connection = None
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
        """Answer for ourselves."""
        self.status = status
        self._committed = True
        self._out.clear()
        if not self._request_complete:
            self._keep_alive = False
        self._keep_alive = self._keep_alive and self.head.keep_alive and not self.proxy.draining
        reason = f"{flag.name}: {detail or flag.words}".encode("latin-1", "replace").replace(b"\n", b" ")
        fields = [(b"x-mesh-reason", reason.replace(b"\r", b" ").replace(b"\0", b" "))]
        if overloaded:
            fields.append((b"x-envoy-overloaded", b"true"))
        if retry_after_s is not None:
            fields.append((b"retry-after", b"%d" % max(1, round(retry_after_s))))
        self._downstream.write(
            [
                own_answer(
                    status,
                    reason + b"\n",
                    fields,
                    close=not self._keep_alive,
                    head_request=self.head.method == b"HEAD",
                )
            ]
        )
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
        if self._framing is not Body.TUNNEL:
            if cut:
                self._downstream.abort()
            elif flag is not Flag.DC:
                self._downstream.finished(self._keep_alive)
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
        elapsed = self.upstream_s if self._response is not None else attempt.ended - attempt.started
        self._target.settle(pick, outcome, elapsed)

    def _give_back(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and self._pool is not None:
            self._pool.release(connection)

    def _forget_body(self) -> None:
        self._replayable = False
        self._body.clear()
        self._buffered = 0

    @property
    def _repeatable(self) -> bool:
        return self._idempotent and self._replayable

    def _target_host(self) -> bytes:
        return self.target_name.encode("latin-1")

    def _arm_try(self, now: float) -> None:
        target = self._target
        assert target is not None
        self._hedge_at = NEVER
        if self._request_complete:
            remaining = self._deadline - now
            last = not self._repeatable or len(self.attempts) >= target.policy.retry.max_attempts
            self._try_deadline = now + target.per_try_timeout(remaining, last)
            if not last and (hedge := target.hedge_after(remaining)) is not None:
                self._hedge_at = now + hedge
        else:
            self._try_deadline = now + STREAM_IDLE_S
        self._arm()

    def _hedge_due(self, now: float) -> None:
        """No head yet, and later than usual: give the attempt up early if its endpoint seems to be dead."""
        self._hedge_at = NEVER
        if self._pick is not None and self._response is None and self._target is not None:
            again = self._target.reconsider(self._pick)
            if again == 0.0:
                self._try_failed(Outcome.TIMEOUT_TRY, Flag.UT, "silent for longer than it ever was")
                return
            if again is not None:
                self._hedge_at = now + again
        self._arm()

    def _arm(self) -> None:
        self._downstream.arm(min(self._deadline, self._try_deadline, self._retry_at, self._hedge_at))
