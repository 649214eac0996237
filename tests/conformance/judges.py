"""Judges: each gives nothing for right, else a few words of what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .run import Result

Judge = Callable[["Result"], str]


def refused(result: Result) -> str:
    """One answer of 4xx or 5xx and the end of the connection; the backend saw nothing of it."""
    if result.seen.hidden:
        return "SMUGGLED"
    if result.seen.heads:
        return f"passed on ({result.status or 'no answer'})"
    if not result.responses:
        return silence(result)
    if not 400 <= result.status <= 599:
        return f"answered {result.status}"
    if len(result.responses) > 1:
        return f"{len(result.responses)} answers"
    return "" if ends(result) else f"{result.status}, kept open"


def ends(result: Result) -> bool:
    """Whether nothing more can be said on this connection; Envoy says `close` and does it a second later."""
    return result.closed or b"\r\nconnection: close" in result.responses[-1].head.lower()


def silence(result: Result) -> str:
    """What to call it that there was no answer."""
    return "cut, no answer" if result.closed else "no answer"


def misses(head: bytes, has: bytes, lacks: bytes) -> str:
    """What of a head (in lower case) should have passed the proxy and did not, or the other way round."""
    if has and has not in head:
        return "not passed on: " + has.decode("latin-1").strip()
    if lacks and lacks in head:
        return "passed on: " + lacks.decode("latin-1").strip()
    return ""


def refused_as(*statuses: int) -> Judge:
    def judge(result: Result) -> str:
        wrong = refused(result)
        return wrong or ("" if result.status in statuses else f"answered {result.status}")

    return judge


def passed(result: Result) -> str:
    """The backend saw exactly one request, and the client its answer."""
    if result.seen.hidden:
        return "SMUGGLED"
    if len(result.seen.heads) != 1:
        return f"backend saw {len(result.seen.heads)}, {result.status or 'no answer'}"
    if [(one.status, one.complete) for one in result.responses] != [(200, True)]:
        return f"answered {result.status or 'nothing'}"
    return ""


def passed_with(*, has: bytes = b"", lacks: bytes = b"", body: bytes | None = None) -> Judge:
    """Of what the backend saw: head with, head without (both in lower case), and the body."""

    def judge(result: Result) -> str:
        if wrong := passed(result):
            return wrong
        head = result.seen.heads[0].lower()
        if wrong := misses(head, has, lacks):
            return wrong
        if body is not None and result.seen.bodies[0] != body:
            return "another body"
        return ""

    return judge


def bad_gateway(result: Result) -> str:
    """A 5xx of the proxy's own, in place of what cannot be trusted."""
    if not result.responses:
        return silence(result)
    return (
        "" if 500 <= result.status <= 599 and len(result.responses) == 1 else f"passed on ({result.status})"
    )


def answered(
    status: int = 200,
    *,
    body: bytes = b"",
    has: bytes = b"",
    lacks: bytes = b"",
    interim: list[int] | None = None,
) -> Judge:
    """What the client saw."""

    def judge(result: Result) -> str:
        if len(result.responses) != 1 or not result.responses[0].complete:
            return f"{len(result.responses)} answers" if result.responses else "no answer"
        one = result.responses[0]
        if one.status != status:
            return f"answered {one.status}"
        if one.body != body:
            return "another body"
        head = one.head.lower() + b"\r\n"
        if wrong := misses(head, has, lacks):
            return wrong
        if interim is not None and result.interim != interim:
            return f"interim {result.interim}"
        return ""

    return judge


def truncated(result: Result) -> str:
    """The client can tell that this was not all: an error, or an answer that is visibly cut."""
    if not result.responses:
        return "" if result.closed else "no answer"
    one = result.responses[0]
    if one.status >= 500 or not one.complete or result.reset:
        return ""
    return "looks complete"


def chunk_refused(result: Result) -> str:
    """The head may have gone on before the fault; a complete message may not."""
    if result.seen.hidden:
        return "SMUGGLED"
    if result.seen.bodies:
        return f"passed on ({result.status or 'no answer'})"
    if not result.responses:
        return silence(result)
    return "" if 400 <= result.status <= 599 and ends(result) else f"answered {result.status}"


def no_poison(result: Result) -> str:
    """Bytes behind an answer reach nobody: each later request on this connection has its own answer."""
    if b"poison" in result.raw:
        return "POISONED"
    statuses = [one.status for one in result.responses]
    return "" if statuses == [200, 200, 200] else f"answers {statuses}"
