"""The tries of an exchange: pick, attempt, retry, hedge; `relay.py` has the answer, `exchange.py` the rest.

One object, for each of its events comes ten thousand times a second; three files, because no part needs the
others' details: from here an answer of our own goes out by `_reply` and everything ends by `_end`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .answer import Answer
from .attempt import FLAG_OF, STALE_CONNECTION, Attempt, Target, retry_after
from .detour import is_empty, other_arm
from .direct import pairs
from .errors import Flag, MeshError
from .exchange_state import NEVER
from .io.flow import Hold
from .io.upstream import UpstreamConnection
from .liveness import FRESH_S
from .policy.hash_key import hash_of
from .policy.outcome import Outcome
from .policy.retry import Refusal, RetryPolicy
from .relay import Relay
from .side_try import Hedge
from .stack import Pick, Rejection
from .wire.events import ProtocolError, ResponseHead
from .wire.serialize import join_head

if TYPE_CHECKING:
    from .balance.endpoints import Endpoint
    from .policy.hash_key import HashKey
    from .routing.route import Route


def may_better(head: ResponseHead) -> bool:
    """Whether the answer is of the kind that another try may better."""
    return head.status >= 500 or head.status == 429


def _lost(connection: UpstreamConnection) -> str:
    """Who ended the connection, and when. It was never we: who ends one lets go of its exchange first."""
    words = "the endpoint reset the connection" if connection.reset else "the endpoint closed the connection"
    if connection.parser.started:
        return f"{words} before the answer was complete"
    if connection.reused:  # two timeouts of the same length, or a process that was stopped
        return f"{words}, which was kept alive, as the request came: it may have been acted on or not"
    return f"{words} before it answered"


class Tries(Relay):
    """From the pick to the verdict on its answer."""

    __slots__ = ()

    # -- an attempt --------------------------------------------------------------------------------

    def _try(self, *, stale: Endpoint | None = None) -> None:
        target, route = self._target, self.route
        assert target is not None
        key = None if route is None or route.hash_key is None else self._hash(route.hash_key)
        pick = target.pick(self._tried, key, self._idempotent and self._kept)
        if isinstance(pick, Rejection):
            if self._take_other_arm():
                self._try()
            elif self.flag is not None:
                self._fail(self.flag, self.detail)  # the first failure says more than 'nobody is left'
            else:
                self._reject(pick)
            return
        self._pick = pick
        self._sent = False
        now = self.proxy.clock()
        number = len(self.attempts) + 1
        self.attempts.append(Attempt(number, pick, now, self._span_id(), self._retry_reason))
        self._arm_try(now)
        pool = self._pool = self.proxy.pool(pick.endpoint, target.policy.connection)
        try:
            if self.head.upgrade == b"websocket" and pool.tunnels >= target.policy.bulkhead.max_active:
                raise MeshError(Flag.UO, f"{pool.tunnels} tunnels to {pick.endpoint.id} are open")
            connection = pool.acquire(self, fresh=pick.endpoint is stale)
        except MeshError as error:
            self.connect_failed(error)
            return
        if connection is not None:
            self._connection = connection
            self.connected(connection)

    def connected(self, connection: UpstreamConnection) -> None:
        """A connection to the picked endpoint: send the head and what there is of the body."""
        head, proxy, attempt, upload = self.head, self.proxy, self.attempts[-1], self._upload
        self._connection = connection
        connection.begin(self, head)
        attempt.connected = now = proxy.clock()
        if self._client_slow:
            connection.pause_reading()
        pieces = [self._head_of(attempt, now)]
        if upload is not None:
            pieces += upload.framed(self._complete)
        self._sent = True
        connection.request_done = self._complete
        connection.write(pieces)
        if upload is not None and upload.too_large:
            self._kept = False
            upload.forget()
            if not self._upstream_slow:
                self._client.release(Hold.SLOW_PEER)

    def _head_of(self, attempt: Attempt, now: float) -> bytes:
        """The request's head as one attempt sends it."""
        lines = self._lines
        if lines is None:
            lines = self._lines = self.proxy.request_lines(self, self.route)
        return join_head(
            [
                *lines,
                *self.span.lines(attempt.span_id),
                *self.proxy.attempt_fields(attempt.number, self._stated(now)),
            ]
        )

    def _stated(self, now: float) -> float:
        """What the callee is told of the time: a deadline of a document or of the caller, for that covers the
        whole answer; our own limit is over when the answer begins, and would cut a stream there.
        """
        route = self.route
        if (route is None or route.timeout_s is None) and not self.proxy.deadline_covers_body(self.head):
            return NEVER
        return self._remaining(now)

    def _hash(self, key: HashKey) -> int | None:
        found = key.of(self.head.target, pairs(self.head), self.peer)
        if found is not None or key.new is None:
            return found
        # the same for all requests of a connection, of which several may be under way (Envoy's rule)
        ends = self.client_end("peername"), self.client_end("sockname")
        value = b"%016x" % hash_of(repr(ends).encode())
        self.cookie = key.new.field(key.name, value)
        return hash_of(value)

    def connect_failed(self, error: MeshError) -> None:
        if error.flag is Flag.UO:  # our own queue is full or slow, which says nothing about the endpoint
            self._abandon(Outcome.CANCELLED)
            self._reply(Flag.UO.status, Flag.UO, error.detail, 1.0, overloaded=True)
        else:
            self._try_failed(Outcome.CONNECT_FAILURE, error.flag, error.detail)

    def upstream_failed(self, connection: UpstreamConnection, error: ProtocolError | None) -> None:
        """The connection was lost or the response is broken."""
        if connection is not self._connection:
            return
        if error is not None:
            self._try_failed(Outcome.APP_FAILURE, Flag.UPE, error.reason)
        elif (
            connection.reused
            and not connection.parser.started
            and self._idempotent
            and self._kept
            and self._retry_reason != STALE_CONNECTION
        ):
            # A kept-alive connection that dies before an answer is the race of two timeouts, not the
            # endpoint's fault: once more, charging nobody and counting as no try. Elsewhere if there is
            # an elsewhere, for it may also be the first sign of a process that was killed; else on a
            # fresh connection.
            endpoint = self.attempts[-1].endpoint
            self._abandon(Outcome.REUSED_RESET)
            self._tried.append(endpoint)
            self._free_tries += 1
            if self._hedge_takes_over():
                return
            self._retry_reason = STALE_CONNECTION
            self._try(stale=endpoint)
        else:
            self._try_failed(Outcome.RESET, Flag.UC, _lost(connection))

    def _try_failed(self, outcome: Outcome, flag: Flag, detail: str) -> None:
        """This try is lost: settle it, then once more or an error to the client."""
        endpoint = self.attempts[-1].endpoint
        self._abandon(outcome)
        if self.answer.committed:
            self._end(flag, detail, cut=True)
            return
        self._tried.append(endpoint)
        self.answer.drop()
        if self._hedge_takes_over():
            return
        detail = f"{endpoint.id}: {detail}"
        if not self._retry(outcome, flag, detail):
            self._fail(flag, detail)

    def _refused(self, head: ResponseHead, *, complete: bool) -> bool:
        """Whether this answer is a failure that another try may better; if so, that try is under way."""
        if not may_better(head) and not (head.status >= 400 and self._retry_policy().names(head.status)):
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
        hedged = self._side is not None and self._covers(outcome, head.status)
        if not (hedged and self._hedge_takes_over()) and not self._retry(
            outcome, FLAG_OF.get(outcome, Flag.URX), detail, retry_after(head), head.status
        ):
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
        target, route = self._target, self.route
        assert target is not None
        now = self.proxy.clock()
        other = None
        if route is not None and route.other_arm:  # who gets the next try pays for it
            other = other_arm(route, (*self._failed_arms, target.name), self.proxy)
        verdict = (target if other is None else other[1]).may_retry(
            outcome,
            len(self.attempts) - self._free_tries,
            self._idempotent,
            self._kept,
            False,
            self._remaining(now),
            retry_after_s,
            status=status,
            policy=self._retry_policy(),
        )
        if isinstance(verdict, Refusal):
            if other is not None:
                other[1].finish()
            return False
        if other is not None:
            self._go_to(*other)
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

    def _covers(self, outcome: Outcome, status: int) -> bool:
        """Whether the policy calls this a failure."""
        return self._retry_policy().covers(outcome, status)

    def _take_other_arm(self) -> bool:
        """The destination has nobody to ask: is there another one in the split, and may it be taken?"""
        route, target = self.route, self._target
        if route is None or not route.other_arm or target is None or is_empty(target):
            return False
        other = other_arm(route, (*self._failed_arms, target.name), self.proxy)
        if other is not None:
            self._go_to(*other)
        return other is not None

    def _go_to(self, route: Route | None, target: Target) -> None:
        """From here on tries go to another destination, where a place is held already."""
        old, self._target = self._target, target
        if old is not None:
            self._failed_arms = (*self._failed_arms, old.name)
            old.finish()
            if self.proxy.waiting.queues:
                self.proxy.waiting.promote(old)
        self.route = route
        self.target_name = target.name
        self._lines = None
        self._tried = []

    # -- time ------------------------------------------------------------------------

    def _try_due(self) -> None:
        """Nothing came for too long: from whom?"""
        committed, complete = self.answer.committed, self._complete
        if committed and self._client_slow:
            self._abandon(Outcome.CANCELLED)
            self._end(Flag.SI, "the client did not take the answer", cut=True)
        elif committed:
            self._abandon(Outcome.TIMEOUT_TRY)
            self._end(Flag.SI, "no more of the answer came", cut=True)
        elif complete and self._retry_policy().per_try_s > self.proxy.timeouts.stream_idle:
            self._abandon(Outcome.TIMEOUT_TOTAL)
            words = f"no answer for {self.proxy.timeouts.stream_idle:g} s"
            self._reply(Flag.UT.status, Flag.SI, words)  # 504, as Envoy's: no client has stopped
        elif complete:
            self._try_failed(Outcome.TIMEOUT_TRY, Flag.UT, "no answer within the time of one try")
        elif self._upstream_slow or (self._expects and self._pick is not None):
            self._try_failed(Outcome.TIMEOUT_TRY, Flag.UT, "the request body was not taken")
        else:
            self._abandon(Outcome.CANCELLED)
            self._fail(Flag.SI, "the request body did not arrive in time")

    def _hedge_due(self, now: float) -> None:
        """No head yet, and later than usual: a second attempt beside this one, if a policy wants hedges; else
        ask whether its endpoint is dead, if that seems so.
        """
        self._hedge_at = NEVER
        target = self._target
        if self._pick is not None and self.answer.head is None and target is not None:
            if target.policy.hedge.enabled:
                self._hedge(target, self._pick, now)
                self._arm()
                return
            pick, again = self._pick, target.reconsider(self._pick)
            if again == 0.0:
                question = self.proxy.question(pick.endpoint, target.policy.connection)
                question.ask(lambda lives: self._lives(pick, lives))
                return
            if again is not None:
                self._hedge_at = now + again
        self._arm()

    def _lives(self, pick: Pick, lives: bool) -> None:
        """Its endpoint's sidecar says that the app lives; or it does not, or says nothing either."""
        target = self._target
        if self._pick is not pick or self.answer.head is not None or target is None:
            return
        now = self.proxy.clock()
        if lives:
            target.lives(pick)
            self._hedge_at = now + FRESH_S
        elif self._last_try():  # a probe: its breaker hears of it by the probe's own time
            self._hedge_at = NEVER
        elif again := target.reconsider(pick):  # meanwhile nobody else can take it
            self._hedge_at = now + again
        else:
            self._try_failed(Outcome.TIMEOUT_TRY, Flag.UT, "silent, and not at work as far as can be known")
            return
        self._arm()

    def _retry_policy(self) -> RetryPolicy:
        """The request's own, else the route's, else the destination's."""
        if self._asked_retry is not None:
            return self._asked_retry
        target, route = self._target, self.route
        assert target is not None
        return target.policy.retry if route is None or route.retry is None else route.retry

    def _last_try(self) -> bool:
        """Whether no other try can follow this one."""
        tries = len(self.attempts) - self._free_tries
        return not (self._idempotent and self._kept) or tries >= self._retry_policy().max_attempts

    def _hedge(self, target: Target, first: Pick, now: float) -> None:
        """Ask another endpoint too; who answers first wins."""
        if not target.may_hedge(first):
            return
        pick = target.pick((first.endpoint,), None, False)
        if isinstance(pick, Rejection):
            return
        number, span_id = len(self.attempts) + 1, self._span_id()
        self._side = Hedge(self, target, pick, Attempt(number, pick, now, span_id, "hedge"))
        self.proxy.retried(self)
        body = [] if self._upload is None else self._upload.framed(complete=True)
        self._side.send([self._head_of(self._side.attempt, now), *body])

    def better_than(self, head: ResponseHead) -> bool:
        """Whether the exchange's own attempt still promises more than this answer to its hedge."""
        own = self.answer.head
        return may_better(head) or (own is not None and not may_better(own))

    def _hedge_takes_over(self) -> bool:
        """The exchange's own attempt is lost: whether its hedge, on its way already, is in its place now.

        One that still waits for a connection ends with it: the next try begins from nothing, as any other.
        """
        side = self._side
        if side is None:
            return False
        if side.connection is None:
            side.over(Outcome.CANCELLED)
            return False
        side.take_over()
        self._arm_try(self.proxy.clock())
        return True

    def hedge_won(self, side: Hedge) -> None:
        """It answered first, or is the only one left: its attempt is the exchange's own from here on."""
        if self._pick is not None:
            self._abandon(Outcome.CANCELLED)
            self.answer.drop()
        self.attempts.append(side.attempt)
        self._pick, side.pick = side.pick, None
        self._connection, side.connection = side.connection, None
        self._pool, self._sent, self._side = side.pool, True, None

    def hedge_lost(self, side: Hedge) -> None:
        """It failed, or was too late: only the record of it stays."""
        self._side = None
        self.attempts.insert(len(self.attempts) - 1, side.attempt)

    def _arm_try(self, now: float) -> None:
        target = self._target
        assert target is not None
        self._hedge_at = NEVER
        if self._complete:
            remaining, pick = self._remaining(now), self._pick
            limit = target.per_try_timeout(remaining, self._retry_policy())
            self._try_deadline = now + min(limit, self.proxy.timeouts.stream_idle)
            if self._last_try() and not (pick is not None and pick.probe):
                delay = None
            elif target.policy.hedge.enabled:
                delay = target.hedge_delay(remaining) if len(self.attempts) == 1 else None
            else:
                delay = target.hedge_after(remaining)
            if delay is not None:
                self._hedge_at = now + delay
        else:
            self._try_deadline = now + self.proxy.timeouts.upload_idle
        self._arm()
