"""What one worker learnt of an endpoint, told to the others; pure.

Told is what a worker found by its own traffic: a closed endpoint was condemned, or a condemned one is well
again. What it did because it was told is known to the manager (`echo`) but goes no further, so nothing goes
in a circle. A probe that failed again is nobody else's business: each worker probes by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypedDict

from ..policy.trip_rules import Verdict

ECHO = "another worker: "
# Held by the floor on evidence like this, an endpoint gets only probes: the same as open, for the others.
CERTAIN = 0.9


class News(TypedDict):
    """An endpoint of an upstream was condemned (`bad`) or is well again."""

    upstream: str
    endpoint: str
    bad: bool
    reason: str
    score: float
    echo: bool


class Condition(Protocol):
    """A breaker as it stands, as `policy.breaker.Breaker`."""

    score: float
    held: bool

    @property
    def forced(self) -> object: ...


class Hearer(Protocol):
    """As `stack.Upstream`."""

    def hear(self, endpoint_id: str, verdict: Verdict | None) -> None: ...


def news_of(event: dict[str, Any], breaker: Condition) -> News | None:
    """What others should hear of an event of `observe.events` about a breaker."""
    kind, before, after, reason = event["kind"], event["before"], event["after"], event["reason"]
    if breaker.forced is not None:
        return None  # an operator's pin is not evidence
    opened = kind == "breaker" and (before, after) == ("closed", "open")
    dead = kind == "floor" and (before, after) == ("closed", "held") and breaker.score >= CERTAIN
    well = after == "closed" and kind in ("breaker", "floor") and not breaker.held
    if not (opened or dead or well):
        return None
    return News(
        upstream=event["upstream"],
        endpoint=event["endpoint"],
        bad=not well,
        reason=reason,
        score=breaker.score,
        echo=reason.startswith(ECHO),
    )


class Ledger:
    """The manager's: who has condemned whom, for workers that come later."""

    def __init__(self) -> None:
        self._bad: dict[tuple[str, str], dict[int, News]] = {}

    def note(self, worker: int, news: News) -> bool:
        """True if the others must hear of it."""
        key = news["upstream"], news["endpoint"]
        if news["bad"]:
            self._bad.setdefault(key, {})[worker] = news
        else:
            self._drop(key, worker)
        return not news["echo"]

    def gone(self, upstream: str, endpoint: str) -> None:
        """The endpoint has left the registry."""
        self._bad.pop((upstream, endpoint), None)

    def forget(self, worker: int) -> None:
        """The worker is gone, and with it what it thought."""
        for key in list(self._bad):
            self._drop(key, worker)

    def standing(self) -> list[News]:
        """What a new worker must hear."""
        return [next(iter(holders.values())) for holders in self._bad.values()]

    def _drop(self, key: tuple[str, str], worker: int) -> None:
        holders = self._bad.get(key)
        if holders is not None:
            holders.pop(worker, None)
            if not holders:
                del self._bad[key]


class Hearsay:
    """A worker's: acts on news, also on those of endpoints that it does not know yet.

    Args:
        find: an upstream by name, None if this worker has not been asked for it.
    """

    def __init__(self, find: Callable[[str], Hearer | None]) -> None:
        self._find = find
        self._bad: dict[tuple[str, str], Verdict] = {}

    def take(self, news: News) -> None:
        key = news["upstream"], news["endpoint"]
        verdict = None
        if news["bad"]:
            reason = news["reason"].removeprefix(ECHO)
            verdict = self._bad[key] = Verdict(ECHO + reason, news["score"], False, {})
        else:
            self._bad.pop(key, None)
        self._tell(key, verdict)

    def joined(self, upstream: str, endpoint: str) -> None:
        """This worker has got to know an endpoint."""
        verdict = self._bad.get((upstream, endpoint))
        if verdict is not None:
            self._tell((upstream, endpoint), verdict)

    def gone(self, upstream: str, endpoint: str) -> None:
        """The endpoint has left."""
        self._bad.pop((upstream, endpoint), None)

    def _tell(self, key: tuple[str, str], verdict: Verdict | None) -> None:
        upstream = self._find(key[0])
        if upstream is not None:
            upstream.hear(key[1], verdict)
