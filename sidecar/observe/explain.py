"""Why a request went where it went: a bounded ring of what failed, was slow or retried, and a sample.

An ordinary request pays for three comparisons; one that is kept some 50 us. So at most `PER_SECOND` of each
kind are kept: when everything fails, the first ones of each second say why.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..policy.machine import WORDS
from .lengths import AUTHORITY, PATH
from .lengths import WORDS as MAX_WORDS
from .ring import Ring

if TYPE_CHECKING:
    from ..exchange import Exchange
    from ..stack import Upstream

# Some minutes at PER_SECOND kept. As text they take 1.5 KB each, a sixth of what the objects would.
RING: Final = 600
RING_BYTES: Final = 2 * 1024 * 1024
KINDS: Final = ("failed", "retried", "slow", "sample")
PER_SECOND: Final = 4
# One in this many of the ordinary ones.
SAMPLE: Final = 100
# Slow is this many times the running mean (over about MEAN_OF requests), and no less than SLOW_S.
SLOW_FACTOR: Final = 5.0
SLOW_S: Final = 0.005
MEAN_OF: Final = 200.0
# Of a service with more endpoints than this, these are shown.
CANDIDATES: Final = 16


class Explain:
    """Keeps what `/explain` tells.

    Args:
        version: of the policies in force. clock: the data path's. wall_clock: seconds since the epoch.
    """

    __slots__ = (
        "_clock", "_instance", "_kept", "_mean", "_offset", "_second", "_skipped", "_taken", "_version",
    )  # fmt: skip

    def __init__(
        self,
        instance: str,
        version: Callable[[], str],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self._instance = instance
        self._version = version
        self._kept: Ring[tuple[bytes, bytes]] = Ring(RING, RING_BYTES)  # trace id, JSON
        self._mean = 0.0
        self._skipped = 0
        self._second = -1
        self._taken = dict.fromkeys(KINDS, 0)
        self._clock = clock
        self._offset = wall_clock() - clock()

    def consider(self, exchange: Exchange, direction: str, seconds: float, upstream: Upstream | None) -> None:
        """An exchange is over: keep it if it is of interest."""
        mean = self._mean
        self._mean = mean + (seconds - mean) / MEAN_OF
        if exchange.status >= 500 or exchange.flag is not None:
            kind = "failed"
        elif len(exchange.attempts) > 1:
            kind = "retried"
        elif seconds > SLOW_FACTOR * mean and seconds > SLOW_S:
            kind = "slow"
        else:
            self._skipped += 1
            if self._skipped < SAMPLE:
                return
            self._skipped = 0
            kind = "sample"
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._taken = dict.fromkeys(KINDS, 0)
        if self._taken[kind] < PER_SECOND:
            self._taken[kind] += 1
            record = json.dumps(self._record(exchange, direction, seconds, upstream, kind)).encode()
            self._kept.append((exchange.span.trace_id, record), len(record))

    def find(self, trace_id: str = "") -> list[dict[str, Any]]:
        """The kept exchanges of a trace, or all, newest first."""
        wanted = trace_id.encode("latin-1", "replace")
        return [json.loads(text) for kept, text in reversed(self._kept) if not wanted or kept == wanted]

    def _record(
        self, exchange: Exchange, direction: str, seconds: float, upstream: Upstream | None, kind: str
    ) -> dict[str, Any]:
        head, started = exchange.head, exchange.started
        limit, remaining = exchange.time_left(started + seconds)

        def ms(moment: float) -> float | None:
            return round((moment - started) * 1000, 3) if moment else None

        return {
            "trace_id": exchange.span.trace_id.decode(),
            "span_id": exchange.span.span_id.decode(),
            "request_id": exchange.request_id.decode("latin-1"),
            "at": round(started + self._offset, 6),
            "instance": self._instance,
            "direction": direction,
            "method": head.method.decode("latin-1"),
            "path": head.target[:PATH].decode("latin-1"),
            "host": head.host[:AUTHORITY].decode("latin-1"),
            "route": exchange.route_name,
            "policy_version": self._version(),
            "upstream": exchange.target_name,
            "status": exchange.status,
            "flag": exchange.flags,
            "detail": exchange.detail[:MAX_WORDS],
            "duration_ms": round(seconds * 1000, 3),
            "limit_ms": _limited(limit),
            "remaining_ms": _limited(remaining),
            "budget": None if upstream is None else upstream.budget.snapshot(),
            "kept": kind,
            "candidates": [] if upstream is None else upstream.explain(CANDIDATES),
            "attempts": [
                {
                    "number": attempt.number,
                    "endpoint": attempt.endpoint.id,
                    "address": attempt.endpoint.address,
                    "reason": attempt.reason[:MAX_WORDS],
                    "start_ms": ms(attempt.started),
                    "connected_ms": ms(attempt.connected),
                    "duration_ms": round(((attempt.ended or started + seconds) - attempt.started) * 1000, 3),
                    "status": attempt.status,
                    "outcome": attempt.outcome.name.lower(),
                    "breaker": WORDS[attempt.breaker],
                    "probe": attempt.probe,
                }
                for attempt in exchange.attempts
            ],
        }


def _limited(seconds: float) -> float | None:
    """Milliseconds; None where nobody set a limit."""
    return None if seconds == math.inf else round(seconds * 1000, 3)
