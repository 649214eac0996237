"""One try of a request, and where tries go (`Target`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from .errors import Flag, MeshError
from .policy.machine import State
from .policy.outcome import Outcome
from .policy.retry import Refusal, Retry, RetryPolicy
from .stack import Pick, Rejection
from .wire.events import ResponseHead

if TYPE_CHECKING:
    from .balance.endpoints import Endpoint
    from .policy.settings import UpstreamPolicy

# RFC 9110 section 9.2.2.
IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))
STALE_CONNECTION = "the kept-alive connection was closed"

# What an attempt that ended this way is called in logs.
FLAG_OF: dict[Outcome, Flag] = {
    Outcome.CONNECT_FAILURE: Flag.UF,
    Outcome.RESET: Flag.UC,
    Outcome.TIMEOUT_TRY: Flag.UT,
    Outcome.SHED: Flag.UO,
    Outcome.RATE_LIMITED: Flag.RL,
    Outcome.APP_FAILURE: Flag.URX,
}
_FINE = frozenset((Outcome.SUCCESS, Outcome.CLIENT_ERROR, Outcome.CANCELLED))


class Routed(Protocol):
    """Who asked for a route and is told later."""

    def routed(self, found: Target | MeshError) -> None: ...


class Target(Protocol):
    """Where exchanges go: `stack.Upstream`, or the one app behind an inbound listener."""

    name: str
    policy: UpstreamPolicy

    @property
    def late_places(self) -> int:
        """How many requests may be passed on before they are whole (see holding.py)."""

    def start(self) -> Rejection | None: ...
    def promote(self) -> bool: ...
    def abandon_wait(self) -> None: ...
    def finish(self) -> None: ...
    def pick(
        self, tried: Sequence[Endpoint], key: int | None = None, probe_ok: bool = True
    ) -> Pick | Rejection: ...
    def settle(
        self,
        pick: Pick,
        outcome: Outcome,
        elapsed_s: float,
        retry_after_s: float | None = None,
        status: int = 0,
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
        policy: RetryPolicy | None = None,
    ) -> Retry | Refusal: ...
    def per_try_timeout(self, remaining_s: float, policy: RetryPolicy | None = None) -> float: ...
    def hedge_after(self, remaining_s: float) -> float | None: ...
    def hedge_delay(self, remaining_s: float) -> float | None: ...
    def may_hedge(self, pick: Pick) -> bool: ...
    def reconsider(self, pick: Pick) -> float | None: ...
    def lives(self, pick: Pick) -> None: ...
    def report(self, endpoint: Endpoint, header: bytes) -> None: ...


class Attempt:
    """One try, as the access log and the trace tell it. Times are of the data path's clock; 0 = not yet."""

    __slots__ = (
        "breaker", "connected", "ended", "endpoint", "number", "outcome", "probe", "reason", "span_id",
        "started", "status",
    )  # fmt: skip

    def __init__(self, number: int, pick: Pick, started: float, span_id: bytes, reason: str) -> None:
        self.number = number
        self.endpoint = endpoint = pick.endpoint
        breaker = endpoint.breaker  # the app behind an inbound listener has none
        self.breaker = State.CLOSED if breaker is None else breaker.state  # type: ignore[redundant-expr]  # its type says it cannot be None
        self.probe = pick.probe
        self.started = started
        self.connected = 0.0
        self.ended = 0.0
        self.span_id = span_id
        self.reason = reason  # why there is this try; empty for the first
        self.outcome = Outcome.CANCELLED
        self.status = 0

    @property
    def failed(self) -> bool:
        return self.outcome not in _FINE


def retry_after(head: ResponseHead) -> float | None:
    """Seconds that the callee asks to wait; its other form, a date, is not used between services."""
    value = head.fields.get(b"retry-after")
    return float(value) if value is not None and value.isdigit() and len(value) < 6 else None
