"""The life of one request: match, admit, pick, attempt, classify, retry, reply. Policy meets I/O here only.

An exchange is driven by calls from its client connection and its backend connection; it never
waits, so there is no task, and cancelling it is a call of `client_gone`. Its states:

  routing   the destination's endpoints are not known yet (`routed` is called later)
  held      the body is not whole yet (see holding.py; `late_admitted` may be called)
  queued    the destination is full; `admitted` is called when a place comes free
  waiting   for a connection, or for the backoff before a retry
  asking    the request is on its way to `_pick`'s endpoint on `_connection`
  replying  the answer is committed: from here on there is no retry
  over      `_end` ran, exactly once, and gave back everything that was taken
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .attempt import Target
from .copies import Copies
from .detour import admit, fallback, is_empty, other_arm
from .direct import DirectAnswer
from .errors import Flag, MeshError
from .exchange_state import NEVER
from .header_values import asked
from .holding import HOLD_S
from .io.downstream import Downstream
from .io.flow import Hold
from .policy.outcome import Outcome
from .stack import Rejection, Upstream
from .tries import Tries
from .wire.events import Header, ProtocolError
from .wire.forward import trailer_lines
from .wire.serialize import CONTINUE

if TYPE_CHECKING:
    from .routing.route import Route

# Timers may be a hair early.
TIMER_SLACK_S = 0.001


class Exchange(Tries):
    """One request through this sidecar: its client's half, and its end."""

    __slots__ = ()

    # -- from the client ---------------------------------------------------------------------------

    def start(self) -> None:
        """The head, and all of the body that came with it, are here."""
        if self._over:
            return
        proxy = self.proxy
        found = proxy.route(self.head, self)
        self._limit = limit = proxy.time_limit(self.head, self.route)
        if (self._complete or proxy.deadline_covers_body(self.head)) and not self._held_by_fault():
            self._deadline = self.started + limit
        if limit <= 0:
            self._fail(Flag.DT, "nothing was left of the caller's time")
            return
        if found is not None:
            self.routed(found)
        elif not self._over:
            self._arm()

    def routed(self, found: Target | DirectAnswer | MeshError) -> None:
        """The destination is known, or known not to be."""
        if self._over:
            return
        if isinstance(found, MeshError):
            self._reply(found.status, found.flag, found.detail, fields=found.fields)
            return
        if isinstance(found, DirectAnswer):
            self._direct(found)
            return
        self.target_name = found.name
        route = self.route
        retry = found.policy.retry if route is None or route.retry is None else route.retry
        self._asked_retry = self.proxy.retry_policy(self.head, retry)
        if route is not None and route.mirrors:
            self._copies = self._copies_of(route)
        upload = self._upload
        if self._complete or upload is None or upload.too_large:
            self._enter(found)
            return
        self._held_for = found
        self.proxy.holding.add(self, upload.size)
        if self._over:
            return
        now = self.proxy.clock()
        self._try_deadline = now + self.proxy.timeouts.upload_idle
        self._hold_until = now if self._expects else self.started + HOLD_S
        if now < self._hold_until:
            self._arm()
        else:
            self._come_late(found)

    def _come_late(self, target: Target) -> None:
        """The body is not whole in time: pass on what comes, if one more may be late."""
        self._hold_until = NEVER
        if self.proxy.holding.admit(self, target):
            self.late_admitted()
            return
        if self._expects:
            self._client.write([CONTINUE])
        self._arm()

    def late_admitted(self) -> None:
        """From here on it is late."""
        target = self._held_for
        assert target is not None
        self._late = target
        self._pass_on(target)

    def held_for_too_long(self) -> None:
        """Too much is held, and this request has been here longest."""
        self._reply(Flag.UO.status, Flag.UO, "too many bytes of requests are held", overloaded=True)

    def _pass_on(self, target: Target) -> None:
        """It is held no more."""
        self._held_for = None
        self._hold_until = self._try_deadline = NEVER
        self.proxy.holding.leave(self, target)
        self._enter(target)

    def _enter(self, found: Target) -> None:
        """Take a place, and try."""
        if self.entry is not None and (refused := self.entry.enter()) is not None:
            self._reply(refused.status, refused.flag, refused.detail, fields=refused.fields)
            return
        rejection = found.start()
        if rejection is None:
            self._target = found
            self._try()
            if self._copies is not None:
                self._mirror()
        elif rejection.wait_s > 0:
            self._queued = found, rejection
            self._queue_until = self.proxy.clock() + rejection.wait_s
            self.proxy.waiting.join(found, self)
            self._arm()
        elif rejection.flag == "UH" and self._other_arm_of(found):
            self._try()
            self._mirror()
        else:
            self._reject(rejection, found)

    def _other_arm_of(self, target: Target) -> bool:
        """Its breaker turned the request away: another arm may take it, if the document says so."""
        if self.route is None or not self.route.other_arm or is_empty(target):
            return False
        other = other_arm(self.route, (target.name,), self.proxy)
        if other is not None:
            self._failed_arms = (target.name,)
            self._go_to(*other)
        return other is not None

    def _copies_of(self, route: Route) -> Copies | None:
        """What the route asks for besides; a protocol other than HTTP cannot be copied."""
        keys = [] if self.head.upgrade == b"websocket" else route.mirrored(self.proxy.rng)
        return Copies(self, route, keys, self._upload) if keys else None

    def _mirror(self) -> None:
        """Send the copies, once the request is whole and has somewhere to go itself."""
        copies = self._copies
        if copies is not None and self._complete:
            self._copies = None
            copies.send(self, min(self._limit, self.proxy.timeouts.stream_idle))

    def admitted(self) -> None:
        """A place came free for this exchange, which was the first in the queue."""
        assert self._queued is not None
        self._target, _ = self._queued
        self._leave_queue()
        self._try()
        self._mirror()

    def request_body(self, data: bytes) -> None:
        self.bytes_in += len(data)
        upload = self._upload
        if self._over or upload is None:
            return
        if self._copies is not None:
            self._copies.add(data)
        connection = self._connection
        if connection is not None and self._sent:
            connection.write([upload.frame(data)])
            timeouts = self.proxy.timeouts
            # Once the answer is on its way the client may pause for as long as the app may.
            idle_s = timeouts.stream_idle if self.answer.committed else timeouts.upload_idle
            self._try_deadline = self.proxy.clock() + idle_s
            if self._kept:
                upload.add(data)
                if upload.too_large:  # from here on no other try can follow
                    self._kept = False
                    upload.forget()
                    self._no_longer_late()
            return
        upload.add(data)
        target = self._held_for
        if target is not None:
            self._try_deadline = self.proxy.clock() + self.proxy.timeouts.upload_idle
            if upload.too_large:
                self._pass_on(target)
            else:
                self.proxy.holding.add(self, len(data))
        if upload.too_large and not self._sent and not self._over:
            self._no_longer_late()
            self._client.hold(Hold.SLOW_PEER)

    def request_trailers(self, fields: list[Header]) -> None:
        if self._upload is not None:
            self._upload.trailers = trailer_lines(fields)

    def request_end(self) -> None:
        self._complete = True
        if (
            self._limit
            and self._deadline == NEVER
            and not self.answer.committed
            and not self._held_by_fault()
        ):
            self._deadline = self.proxy.clock() + self._limit
            if self.entry is not None:  # a fault may hold it, with no try under way
                self._arm()
        target = self._held_for
        if target is not None:
            self._pass_on(target)
            return
        if self._late is not None:
            self._no_longer_late()
        connection = self._connection
        if connection is not None and self._sent:
            if self._upload is not None and (end := self._upload.end()):
                connection.write(end)
            connection.request_done = True
        if self._copies is not None and self._target is not None:
            self._mirror()
        if self._pick is not None and not self.answer.committed:
            self._arm_try(self.proxy.clock())

    def request_broken(self, error: ProtocolError) -> None:
        """The body broke the protocol or a limit: what was sent of it must not look whole."""
        if self._over:
            return
        self.proxy.count_refusal(self.peer, error.status, error.reason)
        self._abandon(Outcome.CANCELLED)
        self.answer.keep_alive = False
        if self.answer.committed:
            self._end(Flag.DPE, error.reason, cut=True)
        else:
            self._reply(error.status, Flag.DPE, error.reason)

    def request_slow(self) -> None:
        """It came at less than the minimum rate; an answer that has begun is none of our business."""
        if self._over or self.answer.head is not None:
            return
        reason = "request body too slow"
        self.proxy.count_refusal(self.peer, Flag.SI.status, reason)
        self._abandon(Outcome.CANCELLED)
        self._reply(Flag.SI.status, Flag.SI, reason)

    def client_gone(self) -> None:
        if not self._over:
            self._abandon(Outcome.CANCELLED)
            self.status = self.status or Flag.DC.status
            self._end(Flag.DC, "", cut=False)

    def drained(self) -> None:
        """A drain's time is over: the client hears that it was us, as far as it can still be told."""
        if self._over:
            return
        self._abandon(Outcome.CANCELLED)
        self.answer.keep_alive = False
        detail = "a drain gave it no more time"
        if self.answer.committed:
            self._end(Flag.LR, detail, cut=True)
        else:
            self._reply(Flag.LR.status, Flag.LR, detail)

    def crashed(self) -> None:
        """An error of our own: give everything back and cut the client."""
        if not self._over:
            self.status = self.status or Flag.IE.status
            try:
                self._abandon(Outcome.CANCELLED)
            finally:
                self._end(Flag.IE, "", cut=True)

    def client_writable(self, writable: bool) -> None:
        self._client_slow = not writable
        connection = self._connection
        if connection is not None:
            if writable:
                connection.resume_reading()
            else:
                connection.pause_reading()

    def timer_fired(self) -> None:
        """A time has come: to hold nothing back, the deadline, the queue's, the backoff's or a fault's, the
        try's, the hedge's.
        """
        if self._over:
            return
        now = self.proxy.clock() + TIMER_SLACK_S
        if now >= self._hold_until:
            self._hold_until = NEVER
            if self._held_for is not None:
                self._come_late(self._held_for)
            else:
                self._held_long_enough()
        elif now >= self._deadline:
            self._abandon(Outcome.TIMEOUT_TOTAL)
            if self.answer.committed:
                self._end(Flag.UT, "the deadline passed while the answer was on its way", cut=True)
            else:
                self._fail(Flag.UT, "no answer within the request's time limit")
        elif now >= self._queue_until and self._queued is not None:
            self._reject(self._queued[1], self._queued[0])
        elif now >= self._retry_at:
            self._retry_at = NEVER
            if self.entry is not None:
                self.entry.go_on()
            else:
                self.try_again()
        elif now >= self._try_deadline:
            self._try_due()
        elif now >= self._hedge_at:
            self._hedge_due(now)
        else:
            self._arm()

    # -- for a fault -------------------------------------------------------------------------------

    def try_again(self) -> None:
        """The backoff is over."""
        self._try()

    def time_begins(self) -> None:
        """A fault of the caller's held the request: a route's time begins behind it, as in Envoy."""
        if self._deadline == NEVER and (self._complete or self.proxy.deadline_covers_body(self.head)):
            self._deadline = self.proxy.clock() + self._limit

    def _held_by_fault(self) -> bool:
        """Whether the time of the route has not begun; that of who waits for us has."""
        entry = self.entry
        return entry is not None and entry.holds and b"x-envoy-expected-rq-timeout-ms" not in self.head.fields

    @property
    def client(self) -> Downstream:
        """The client's connection, to write the answer to."""
        return self._client

    def wake(self, at: float) -> None:
        """Have `entry.go_on` called then; an inbound exchange, which has no retries, has this timer free."""
        self._retry_at = at
        self._arm()

    def cut(self, detail: str, *, reset: bool) -> None:
        """A fault ends the exchange here, whatever was sent: by RST, or by closing the connection."""
        self._abandon(Outcome.CANCELLED)
        self.status = self.status or Flag.FI.status
        self.answer.keep_alive = False
        self._end(Flag.FI, detail, cut=reset)

    def passed_on(self) -> None:
        """The last piece of a slowed answer, complete long since, is written."""
        self._end(None, "", cut=False)

    # -- the end -----------------------------------------------------------------------------------

    def _reject(self, rejection: Rejection, target: Target | None = None) -> None:
        if rejection.flag == "UH" and self._fallback(target or self._target):
            return
        flag = Flag[rejection.flag]
        words = rejection.reason.removeprefix(f"{rejection.flag} ")
        self._reply(rejection.status, flag, words, rejection.retry_after, overloaded=rejection.overloaded)

    def _fail(self, flag: Flag, detail: str) -> None:
        target = self._target
        if isinstance(target, Upstream) and target.service.watching and self._fallback(target):
            return
        self._reply(flag.status, flag, detail)

    def _fallback(self, target: Target | None) -> bool:
        """Whether something stands in for a destination that is open: it has answered, or is being asked."""
        if target is None or target.policy.fallback is None or self._fell_back:
            return False
        found = fallback(target, self.head)
        if isinstance(found, DirectAnswer):
            self._direct(found)
            return True
        if found is None or not self._kept or (self.attempts and not self._idempotent):
            return False
        if self._remaining(self.proxy.clock()) < TIMER_SLACK_S:  # nobody would wait for the answer
            return False
        other = admit(found, self.proxy)
        if other is None:
            return False
        self._fell_back = found
        self.flag, self.detail = None, ""
        self._go_to(None, other)
        self._try()
        self._mirror()
        return True

    def _direct(self, answer: DirectAnswer) -> None:
        self.status = answer.status
        if not self._complete:
            self.answer.keep_alive = False
        self.answer.direct(answer)
        self._end(None, answer.detail, cut=False)

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
        self.status, self.flag = status, flag
        if not self._complete:
            self.answer.keep_alive = False
        text = f"{self.flags}: {self._explained(detail) or flag.words}"
        fields = (*fields, *self.proxy.own_fields())
        if self.route is not None and self.route.response_headers:
            fields = (*fields, *asked(self.route.response_headers, self, status, flag, detail))
        self.answer.own(status, text, retry_after_s, overloaded, fields)
        self._end(flag, detail, cut=False)

    def _end(self, flag: Flag | None, detail: str, *, cut: bool) -> None:
        """Give back everything, once, whatever happened before."""
        if self._over:
            return
        self._over = True
        self.flag, self.detail = flag, self._explained(detail)
        if self._held_for is not None:
            self.proxy.holding.leave(self, self._held_for)
            self._held_for = None
        if self._late is not None:
            self._no_longer_late()
        if self._side is not None:
            self._side.over(Outcome.CANCELLED)
        if self._copies is not None:
            self._copies.forget()
            self._copies = None
        if self._pick is not None:
            self._settle(Outcome.CANCELLED)
        if self._queued is not None:
            self.proxy.waiting.leave(self._queued[0], self)
            self._leave_queue()
        target, self._target = self._target, None
        if target is not None:
            target.finish()
            if self.proxy.waiting.queues:
                self.proxy.waiting.promote(target)
        if self.entry is not None:
            self.entry.over()
        if cut:
            self._client.abort()
        elif flag is not Flag.DC and self.status != 101:
            self._client.finished(self.answer.keep_alive)
        self.proxy.ended(self)
        self.entry = None

    def _explained(self, detail: str) -> str:
        return detail if self.entry is None else self.entry.explain(detail)

    def _leave_queue(self) -> None:
        self._queued = None
        self._queue_until = NEVER
