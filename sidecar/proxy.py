"""What the exchanges of one listener share: which headers pass, what is counted, how a failure is read.

`Outbound` routes to services, `Inbound` to the one app behind it; the exchange is the same.
"""

from __future__ import annotations

import logging
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .copies import ROOM_BYTES, Room
from .direct import Fields, pairs
from .header_values import resolved
from .holding import Holding
from .io.deadlines import Deadlines
from .io.outbox import AT_ONCE, Outbox
from .io.pool import Pool, Spawn
from .io.timeouts import DEFAULT_TIMEOUTS, Timeouts
from .io.tls import Contexts, Files, Tls
from .io.tunnel import RawPeer, Tunnel
from .liveness import Question
from .observe import trace_context
from .observe.metrics import RequestSeries
from .observe.trace_context import TraceContext
from .observe.window import Window
from .policy.deadline import parse_remaining
from .policy.outcome import Outcome, classify_status
from .waiting import Waiting
from .wire.events import RequestHead, ResponseHead
from .wire.forward import DROP_REQUEST, DROP_RESPONSE_AT_EDGE, request_lines
from .wire.headers import is_safe_value
from .wire.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from .attempt import Target
    from .balance.endpoints import Endpoint
    from .direct import DirectAnswer
    from .errors import Flag, MeshError
    from .exchange import Exchange
    from .exchange_state import ExchangeState
    from .observe.access_log import AccessLog
    from .observe.events import EventLog
    from .observe.explain import Explain
    from .observe.metrics import Metrics
    from .observe.tracing import Tracer
    from .policy.retry import RetryPolicy
    from .policy.settings import ConnectionPolicy
    from .policy.tls import TlsPolicy
    from .routing.route import Route
    from .side_try import Mirror
    from .stack import Upstream

log = logging.getLogger(__name__)

# A route whose copies cannot be sent may have thousands of such requests: one word a minute is enough.
WARN_OF_COPIES_S = 60.0
# A request id from outside is passed on only up to this size; the usual one, a UUID, has 36.
MAX_REQUEST_ID = 128


class Proxy(ABC):
    """Base of the two directions; everything here is bound once, before the first request."""

    direction = ""
    drop_request = DROP_REQUEST
    drop_response = DROP_RESPONSE_AT_EDGE
    trusted = True
    attempt_spans = False  # whether each try is a span of its own
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    limits: Limits = DEFAULT_LIMITS  # of answers
    outbox: Outbox = AT_ONCE
    instance = ""  # whose sidecar it is
    wall_clock: Callable[[], float] = staticmethod(lambda: datetime.now(UTC).timestamp())

    def __init__(
        self,
        spawn: Spawn,
        deadlines: Deadlines,
        metrics: Metrics,
        events: EventLog,
        access_log: AccessLog | None,
        tracer: Tracer | None,
        explain: Explain,
        timeout: float,
        trace_sample: float,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.clock = clock
        self.rng = rng
        self.metrics = metrics
        self.events = events
        self.window = Window(clock)
        self.in_flight = 0
        self.draining = False
        self.waiting = Waiting()
        self.holding = Holding()
        self.recording = tracer is not None
        self._spawn = spawn
        self.deadlines = deadlines
        self._access_log = access_log
        self._tracer = tracer
        self.explain = explain
        self._timeout = timeout
        self._trace_sample = trace_sample
        self.refusals: dict[str, int] = {}
        self.mirrored: dict[tuple[str, str], int] = {}
        self.copies_room = Room()
        self._contexts = Contexts(clock)
        self._warn_of_copies_at = 0.0

    def take_limits(self, limits: Limits) -> Limits:
        """Let these be the limits of what is not a sidecar's; returns those of this proxy's listener."""
        self.limits = limits.with_room()
        return limits

    # -- what an exchange asks ---------------------------------------------------------------------

    @abstractmethod
    def route(self, head: RequestHead, exchange: ExchangeState) -> Target | DirectAnswer | MeshError | None:
        """Where the request goes; None = `exchange.routed` is called when that is known."""

    def destination(self, key: str) -> Target | None:
        """Another destination, if its endpoints are known: for another arm, a fallback, a mirror."""
        return None

    def upstream_of(self, exchange: Exchange) -> Upstream | None:
        """What a request went to, if it is more than the app."""
        return None

    def mirror(
        self, exchange: ExchangeState, route: Route, key: str, body: list[bytes], size: int, limit: float
    ) -> None:
        """Send a copy of a request to another destination; nobody waits for it."""
        raise NotImplementedError  # only routes mirror, and an inbound listener has none

    def not_mirrored(self, route: Route, key: str, reason: str) -> None:
        """A copy that a route asks for is not sent: count it, and say so once in a while."""
        self.count_mirror(key, reason)
        now = self.clock()
        if now < self._warn_of_copies_at:
            return
        self._warn_of_copies_at = now + WARN_OF_COPIES_S
        words = f"{route.name}: a body is over {route.mirror_max_body} bytes (mesh/mirror-max-body)"
        if reason != "too_large":
            words = f"{route.name}: the bodies of other copies fill the {ROOM_BYTES} bytes that there are"
        log.warning("no copy to %s: %s", key, words)
        self.events.add("mirror", upstream=key, after="not copied", reason=words)

    def request_lines(self, exchange: ExchangeState, route: Route | None) -> list[bytes]:
        """Request line and fields that are the same for all attempts, as the route wants them."""
        head = exchange.head
        host = head.host or exchange.target_name.encode()
        if route is None:
            return request_lines(head, self.drop_request, host) + self.request_fields(exchange)
        target, operations = head.target, resolved(route.request_headers, exchange, None)
        if route.rewrite is not None:
            host, target = route.rewrite.authority or host, route.rewrite.target(target)
        lines = request_lines(head, self.drop_request, host, target, operations.gone)
        return lines + operations.lines + self.request_fields(exchange)

    def believed(self, head: RequestHead) -> Fields:
        """The fields that a rule may go by."""
        return pairs(head)

    @abstractmethod
    def request_fields(self, exchange: ExchangeState) -> list[bytes]:
        """Field lines that are the same for all attempts."""

    @abstractmethod
    def attempt_fields(self, number: int, remaining_s: float) -> list[bytes]:
        """Field lines of one attempt."""

    @abstractmethod
    def response_fields(self, exchange: ExchangeState) -> list[bytes]:
        """Field lines added to the answer."""

    def own_fields(self) -> Sequence[tuple[bytes, bytes]]:
        """Fields added to the answers that this proxy makes itself."""
        return ()

    @abstractmethod
    def series(self, exchange: Exchange) -> RequestSeries:
        """The counters that the exchange belongs to."""

    def trace(self, head: RequestHead, request_id: bytes) -> TraceContext:
        given = head.fields.get(b"traceparent")
        state = None if given is None else head.fields.get(b"tracestate")
        return trace_context.read(given, state, request_id, self._trace_sample, self.recording, self.rng)

    def request_id(self, head: RequestHead) -> bytes:
        given = head.fields.get(b"x-request-id")
        if given:  # an empty one is none, or all who send it were one trace
            given = given.strip(b" \t")
        if given and len(given) <= MAX_REQUEST_ID and is_safe_value(given):
            return given
        bits = self.rng.getrandbits(128)  # a UUID of version 4, as Envoy makes them
        return b"%08x-%04x-4%03x-%x%03x-%012x" % (
            bits >> 96,
            (bits >> 80) & 0xFFFF,
            (bits >> 64) & 0xFFF,
            8 + ((bits >> 62) & 3),
            (bits >> 48) & 0xFFF,
            bits & 0xFFFFFFFFFFFF,
        )

    def time_limit(self, head: RequestHead, route: Route | None) -> float:
        """Seconds this exchange may take: the caller's remaining time, at most the route's limit or ours."""
        limit = self._timeout if route is None or route.timeout_s is None else route.timeout_s
        if self.trusted:
            given = head.fields.get(b"x-envoy-expected-rq-timeout-ms")
            remaining = None if given is None else parse_remaining(given)
            if remaining is not None and remaining < limit:
                return remaining
        return limit

    def question(self, endpoint: Endpoint, policy: ConnectionPolicy) -> Question:
        """What the endpoint's sidecar is asked when nobody gets an answer there."""
        question: Question | None = endpoint.question
        if question is None:
            question = endpoint.question = Question(self, endpoint, self.pool(endpoint, policy))
        return question

    def retry_policy(self, head: RequestHead, base: RetryPolicy) -> RetryPolicy | None:
        """What the request itself asks for, above `base`; None = nothing."""
        return None

    def deadline_covers_body(self, head: RequestHead) -> bool:
        """A caller's deadline ends the whole answer; our own limit only waits for it to begin."""
        return self.trusted and b"x-envoy-expected-rq-timeout-ms" in head.fields

    def pool(self, endpoint: Endpoint, policy: ConnectionPolicy) -> Pool:
        pool: Pool | None = endpoint.pool
        if pool is None:
            pool = endpoint.pool = Pool(
                endpoint.host,
                endpoint.port,
                self._spawn,
                self.deadlines,
                self.clock,
                connect_timeout=policy.connect_timeout_s,
                idle_timeout=policy.idle_timeout_s,
                max_requests=policy.max_requests,
                keep_alive=policy.keep_alive,
                limits=self.limits,
                outbox=self.outbox,
                believed=not policy.outside,
                tls=None if policy.tls is None else self._secured(policy.tls),
            )
        return pool

    def _secured(self, policy: TlsPolicy) -> Tls:
        by_name = not policy.names
        files = Files(policy.ca, policy.certificate, policy.private_key, policy.crl, policy.verify, by_name)
        return Tls(self._contexts, files, policy.server_name, policy.names)

    def classify(self, head: ResponseHead) -> Outcome:
        if head.status < 500 and head.status != 429:
            return classify_status(head.status, False)
        reason = head.fields.get(b"x-mesh-reason", b"")
        if head.status == 503 and reason.startswith(b"UF"):
            return Outcome.CONNECT_FAILURE  # the endpoint's sidecar says: the app was never reached
        return classify_status(head.status, b"x-envoy-overloaded" in head.fields)

    def tunnel(self, client: RawPeer, upstream: RawPeer, over: Callable[[Tunnel], None]) -> Tunnel:
        """Couple the two sides of an accepted Upgrade."""
        return Tunnel(client, upstream, self.deadlines, self.timeouts.tunnel_idle, self.clock, over)

    # -- what an exchange tells --------------------------------------------------------------------

    @abstractmethod
    def retried(self, exchange: ExchangeState) -> None:
        """Another try is on its way; `exchange.flag` and `.detail` say what became of the last."""

    def count_mirror(self, destination: str, result: str) -> None:
        """A copy of a request is through: its status, or what became of it."""
        key = destination, result
        self.mirrored[key] = self.mirrored.get(key, 0) + 1

    def mirror_ended(self, copy: Mirror, result: str) -> None:
        """A copy of a request was answered, or failed: count it, trace it."""
        self.count_mirror(copy.target.name, result)
        if self._tracer is not None and copy.span.sampled:
            self._tracer.record_mirror(copy)

    def count_refusal(self, peer: str, status: int, reason: str) -> None:
        """A message was refused; the reasons are a fixed set of words."""
        self.refusals[reason] = self.refusals.get(reason, 0) + 1
        log.info("%s: refused %s from %s: %s", self.direction, status, peer, reason)

    def refused(self, peer: str, status: int, flag: Flag, reason: str) -> None:
        """A message or connection that never became an exchange was refused."""
        self.count_refusal(peer, status, reason)
        if self._access_log is not None:
            self._access_log.refusal(self.direction, peer, status, flag.name, reason)

    def ended(self, exchange: Exchange) -> None:
        """The exchange is over: count it, log it, trace it."""
        self.in_flight -= 1
        now = self.clock()
        seconds = now - exchange.started
        status = exchange.status
        flag = exchange.flags
        self.window.record(now, seconds, status >= 500)
        self.explain.consider(exchange, self.direction, seconds, self.upstream_of(exchange))
        series = self.series(exchange)
        series.record(status, flag, seconds, exchange.bytes_in, exchange.answer.bytes_out)
        if self._access_log is not None:
            self._access_log.exchange(exchange, self.direction, seconds, flag)
        if self._tracer is not None and exchange.span.sampled:
            series.exemplify(status, flag, seconds, exchange.span.trace_id)
            self._tracer.record(exchange, self.direction)


def timeout_field(remaining_s: float) -> list[bytes]:
    """The deadline, for who is asked; none where nobody named one."""
    if remaining_s == math.inf:
        return []
    return [b"x-envoy-expected-rq-timeout-ms: %d\r\n" % max(1, int(remaining_s * 1000))]
