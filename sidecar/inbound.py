"""Requests from the mesh to the app behind this sidecar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from .balance.endpoints import Endpoint, EndpointSpec
from .entry import Entry
from .faults import Faults
from .holding import MAX_LATE_UPLOADS
from .io.pool import Pool
from .load_report import LoadReport
from .observe.lengths import NAME
from .observe.metrics import Peer, RequestSeries
from .policy.concurrency import BulkheadPolicy
from .policy.outcome import Outcome, classify_status
from .policy.retry import Refusal, Retry, RetryPolicy
from .policy.settings import ConnectionPolicy, UpstreamPolicy
from .protection import Protection
from .proxy import Proxy, timeout_field
from .stack import Pick, Rejection
from .wire.forward import DROP_RESPONSE_OF_APP
from .wire.limits import Limits

if TYPE_CHECKING:
    from .attempt import Target
    from .direct import DirectAnswer
    from .errors import MeshError
    from .exchange import Exchange
    from .exchange_state import ExchangeState
    from .routing.compiled import Inbound as InboundRules
    from .wire.events import RequestHead, ResponseHead

# One listener feeds one app: past what one caller may have under way, waiting only makes all of them late.
# Where a rule says how many that are, this limit of ours gives way: the listener's own is left.
UNRULED = BulkheadPolicy()
RULED = BulkheadPolicy(max_active=1_000_000)
RETRIES_ARE_THE_CALLERS = Refusal("callers_retry")


class LocalApp:
    """The app as a target: one endpoint, no breaker (its callers have those), no retry of its answers."""

    __slots__ = ("_clock", "_endpoint", "_refused", "in_flight", "late_places", "name", "policy")

    def __init__(
        self,
        spec: EndpointSpec,
        connection: ConnectionPolicy,
        refused: Callable[[], None],
        clock: Callable[[], float],
        late_places: int = MAX_LATE_UPLOADS,
    ) -> None:
        self.name = spec.id
        self.late_places = late_places
        self.policy = UpstreamPolicy(retry=RetryPolicy(max_attempts=1), connection=connection)
        self.in_flight = 0
        self._endpoint = Endpoint(spec, None, clock())  # type: ignore[arg-type]  # nothing here asks its breaker
        self._refused = refused
        self._clock = clock

    def start(self) -> Rejection | None:
        if self.in_flight >= (limit := self.policy.bulkhead.max_active):
            return Rejection("UO", f"{limit} requests are under way to the app", overloaded=True)
        self.in_flight += 1
        return None

    def promote(self) -> bool:
        """Nobody waits here."""
        return False

    def abandon_wait(self) -> None:
        """Nobody waits here."""

    def finish(self) -> None:
        self.in_flight -= 1

    def pick(
        self, tried: Sequence[Endpoint], key: int | None = None, probe_ok: bool = True
    ) -> Pick | Rejection:
        return Pick(self._endpoint, 0, False, self._clock())

    def settle(
        self,
        pick: Pick,
        outcome: Outcome,
        elapsed_s: float,
        retry_after_s: float | None = None,
        status: int = 0,
    ) -> None:
        if outcome is Outcome.CONNECT_FAILURE:
            self._refused()

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
        policy: RetryPolicy | None = None,
    ) -> Retry | Refusal:
        return RETRIES_ARE_THE_CALLERS

    def per_try_timeout(self, remaining_s: float, policy: RetryPolicy | None = None) -> float:
        return remaining_s

    def hedge_after(self, remaining_s: float) -> float | None:
        return None

    def hedge_delay(self, remaining_s: float) -> float | None:
        return None

    def may_hedge(self, pick: Pick) -> bool:
        return False

    def reconsider(self, pick: Pick) -> float | None:
        return None

    def lives(self, pick: Pick) -> None:
        """Nobody asks."""

    def report(self, endpoint: Endpoint, header: bytes) -> None:
        """What an app says in the mesh's own header is not believed."""

    @property
    def pool(self) -> Pool | None:
        pool: Any = self._endpoint.pool
        return pool if isinstance(pool, Pool) else None


class Inbound(Proxy):
    """The inbound listener's side; what the app says in the mesh's own headers is not believed.

    Args:
        health: the app's, in the words of `LoadReport`.
    """

    direction = "inbound"
    drop_response = DROP_RESPONSE_OF_APP

    def __init__(self, app: LocalApp, health: Callable[[], str], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app = app
        self.faults = Faults(app.name, self.deadlines, self.events, self.clock, self.rng)
        self.protection = Protection(self.clock, self.rng)
        self.load = LoadReport(health, lambda: self.protection.shed.lag_s, self.used, self.clock)
        self._sources: dict[bytes, RequestSeries] = {}
        self._unknown = self.metrics.inbound(Peer("unknown", "unknown"))

    def apply(self, rules: InboundRules) -> None:
        """Swap what applies to requests for the app; what stays keeps its time, buckets and learnt limit."""
        self.app.policy = replace(self.app.policy, bulkhead=RULED if rules.pooled else UNRULED)
        self.faults.apply(rules.faults)
        self.protection.apply(rules.rate_limits, rules.concurrency)

    def take_limits(self, limits: Limits) -> Limits:
        self.limits = limits
        return limits.with_room()

    def used(self) -> float:
        """Part of the app's concurrency in use: of the adaptive limit, or of the fixed one."""
        adaptive = self.protection.adaptive
        return self.app.in_flight / UNRULED.max_active if adaptive is None else adaptive.utilisation()

    def route(self, head: RequestHead, exchange: ExchangeState) -> Target | DirectAnswer | MeshError | None:
        if self.faults.rules or self.protection.active:
            return Entry(self, cast("Exchange", exchange)).begin()
        return self.app

    def request_fields(self, exchange: ExchangeState) -> list[bytes]:
        lines = [b"x-request-id: %b\r\n" % exchange.request_id]
        count = exchange.head.fields.get(b"x-envoy-attempt-count")
        if count is not None:
            lines.append(b"x-envoy-attempt-count: %b\r\n" % count)
        return lines

    def attempt_fields(self, number: int, remaining_s: float) -> list[bytes]:
        return timeout_field(remaining_s)

    def response_fields(self, exchange: ExchangeState) -> list[bytes]:
        lines = [
            b"x-envoy-upstream-service-time: %d\r\n" % int(exchange.upstream_s * 1000),
            b"endpoint-load-metrics: %b\r\n" % self.load.value(),
        ]
        if exchange.entry is not None and (flags := exchange.entry.flags("-")) != "-":
            reason = f"x-mesh-reason: {flags}: {exchange.entry.explain('')}\r\n"
            lines.append(reason.encode("latin-1", "replace"))
        return lines

    def classify(self, head: ResponseHead) -> Outcome:
        """By the status alone: an app is not the mesh, whatever its answer says."""
        return classify_status(head.status, False)

    def own_fields(self) -> Sequence[tuple[bytes, bytes]]:
        return ((b"endpoint-load-metrics", self.load.value()),)

    def retried(self, exchange: ExchangeState) -> None:
        """Never happens: `LocalApp` refuses every retry."""

    def series(self, exchange: Exchange) -> RequestSeries:
        source = exchange.head.fields.get(b"x-envoy-peer-metadata-id")
        if source is None:
            return self._unknown
        series = self._sources.get(source)
        if series is None:
            parts = source.decode("latin-1").split("~")
            peer = Peer(parts[1][:NAME], parts[2][:NAME]) if len(parts) == 3 else Peer("unknown", "unknown")
            series = self.metrics.inbound(peer)
            # instances of callers; the series behind them are bounded too
            if len(self._sources) < 1024 and len(source) <= 3 * NAME:
                self._sources[source] = series
        return series
