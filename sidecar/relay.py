"""The answer's way through an exchange: from the backend's events to what the client gets."""

from __future__ import annotations

from abc import abstractmethod

from .direct import pairs
from .errors import Flag
from .exchange_state import NEVER, ExchangeState
from .header_values import Answered, resolved
from .holding import HOLD_S
from .io.flow import Hold
from .policy.outcome import Outcome
from .stack import Upstream
from .wire.events import Body, Header, ResponseHead


class Relay(ExchangeState):
    """What the backend's connection calls while it answers; whether an answer is taken, `tries.py` says."""

    __slots__ = ()

    @abstractmethod
    def _refused(self, head: ResponseHead, *, complete: bool) -> bool:
        """Whether this answer is a failure that another try may better; if so, that try is under way."""

    @abstractmethod
    def _try_failed(self, outcome: Outcome, flag: Flag, detail: str) -> None:
        """This try is lost: settle it, then once more or an error to the client."""

    def response_head(self, head: ResponseHead) -> None:
        answer = self.answer
        if head.interim:
            answer.interim(head)
            return
        if self._late is not None:
            self._no_longer_late()
        attempt = self.attempts[-1]
        attempt.status = head.status
        self.upstream_s = self.proxy.clock() - attempt.started
        report = head.fields.get(b"endpoint-load-metrics")
        if report is not None and self._target is not None:
            self._target.report(attempt.endpoint, report)
        if head.body is Body.TUNNEL:
            self._upgrade(head)
            return
        answer.begin(head)
        if not answer.held and not self._refused(head, complete=False):
            self._commit(head)

    def response_body(self, data: bytes) -> None:
        self.answer.body(data)

    def response_trailers(self, fields: list[Header]) -> None:
        self.answer.trailers(fields)

    def response_flush(self) -> None:
        answer = self.answer
        if answer.committed:
            answer.flush()
            self._try_deadline = self.proxy.clock() + self.proxy.timeouts.stream_idle
            self._arm()
        elif answer.held and self._hold_until == NEVER:
            self._hold_until = min(self.proxy.clock() + HOLD_S, self._deadline, self._try_deadline)
            self._arm()

    def _held_long_enough(self) -> None:
        """The answer has begun, but is not whole in time: what there is of it goes to the client."""
        answer = self.answer
        head = answer.head
        if answer.held and head is not None:
            answer.held = False
            if not self._refused(head, complete=False):
                self._commit(head)
                self.response_flush()
        else:  # that attempt is lost, and so its answer
            self._arm()

    def response_end(self) -> None:
        answer = self.answer
        head = answer.head
        assert head is not None
        if answer.held:
            if self._refused(head, complete=True):
                return
            self._keep(head)
            self._commit(head)
        whole = answer.end()
        if not self._complete:
            answer.keep_alive = False  # an early answer: the rest of the upload is not read
        self._settle(self.proxy.classify(head))
        connection, self._connection = self._connection, None
        if connection is not None and self._pool is not None:
            self._pool.release(connection)
        if whole:
            self._end(None, "", cut=False)
        else:  # the fault that slows it down sends the rest, and then calls `passed_on`
            self._try_deadline = NEVER
            self._arm()

    def upstream_writable(self, writable: bool) -> None:
        self._upstream_slow = not writable
        if writable:
            self._client.release(Hold.SLOW_PEER)
        else:
            self._client.hold(Hold.SLOW_PEER)

    def _keep(self, head: ResponseHead) -> None:
        """A good answer may have to stand in for a later one, if a policy says so."""
        target = self._target
        if isinstance(target, Upstream) and target.last_good is not None and self.head.method == b"GET":
            fields = self.proxy.drop_response.pairs(head.headers)
            host = self.head.host.decode("latin-1")
            target.last_good.keep(host, self.head.target, head.status, fields, self.answer.kept())

    def _commit(self, head: ResponseHead) -> None:
        """From here on the answer belongs to the client."""
        self.status = head.status
        route, fields = self.route, self.proxy.response_fields(self)
        if self._fell_back:
            fields.append(b"x-mesh-fallback: %b\r\n" % self._fell_back.encode())
        if self.cookie:
            fields.append(b"set-cookie: %b\r\n" % self.cookie)
        if route is None:
            self.answer.commit(fields, self._complete)
        else:
            cors = [] if route.cors is None else route.cors.answer(pairs(self.head))
            operations = route.response_headers
            if operations.formatted:
                sent = [(name, value) for name, _, value in head.headers]
                operations = resolved(operations, self, Answered(head.status, sent, "via_upstream"))
            self.answer.commit(fields, self._complete, operations, cors)
        if not self.proxy.deadline_covers_body(self.head) and (route is None or route.timeout_s is None):
            self._deadline = NEVER
        self._hedge_at = NEVER
        if self._side is not None:
            self._side.over(Outcome.CANCELLED)

    def _upgrade(self, head: ResponseHead) -> None:
        """101: check that the protocol is the one asked for, then relay bytes both ways."""
        connection, client, pool = self._connection, self._client, self._pool
        assert connection is not None
        assert pool is not None
        asked = self.head.upgrade
        if asked != b"websocket" or head.fields.get(b"upgrade", b"").strip(b" \t").lower() != asked:
            self._try_failed(Outcome.APP_FAILURE, Flag.UPE, "upgraded to a protocol that was not asked for")
            return
        self.status = 101
        self._settle(Outcome.SUCCESS)
        self._connection = None
        pool.keep_out(connection)
        tunnel = self.proxy.tunnel(client, connection, lambda _: pool.tunnel_over())
        self.answer.upgrade(head, self.proxy.response_fields(self), connection.tunnel_through(tunnel))
        if early := client.tunnel_through(tunnel):
            connection.write([early])
        self._end(None, "", cut=False)
