"""No attempt can be made: what to answer, and why, in words that name the service and the numbers."""

from typing import Final

from .concurrency import BulkheadPolicy


class Rejection:
    """`flag` is the response flag, `reason` = flag and words (for `x-mesh-reason`).

    `overloaded`: answer with `x-envoy-overloaded`, so that callers do not retry. `wait_s` > 0: the request
    may wait this long for a place (it is already counted as pending).
    """

    __slots__ = ("flag", "overloaded", "reason", "retry_after", "status", "wait_s")

    def __init__(
        self,
        flag: str,
        words: str,
        status: int = 503,
        retry_after: float | None = None,
        overloaded: bool = False,
        wait_s: float = 0.0,
    ) -> None:
        self.flag = flag
        self.reason = f"{flag} {words}"
        self.status = status
        self.retry_after = retry_after
        self.overloaded = overloaded
        self.wait_s = wait_s

    def __repr__(self) -> str:
        return f"<Rejection {self.status} {self.reason}>"


RETRY_AFTER_S: Final = 1.0  # all of these pass by themselves, or by the next probe


def service_open(name: str, reason: str) -> Rejection:
    """The service's own breaker turned the request away."""
    words = f"the breaker of {name} is open: {reason}"
    return Rejection("UH", words, retry_after=RETRY_AFTER_S, overloaded=True)


def nobody(name: str, states: str | None) -> Rejection:
    """No endpoint can be picked; `states` counts them by breaker state, None = there are none."""
    words = f"no healthy endpoint of {name} is known"
    if states is not None:
        words = f"no endpoint of {name} may be used ({states})"
    return Rejection("UH", words, retry_after=RETRY_AFTER_S)


def overflow(name: str, limits: BulkheadPolicy, pending: int, full: bool) -> Rejection:
    """The bulkhead is full, or (with `wait_s`) the request may wait for a place."""
    if full:
        words = f"{limits.max_active} requests to {name} are active and {pending} wait"
        return Rejection("UO", words, retry_after=RETRY_AFTER_S, overloaded=True)
    words = f"no place at {name} within {limits.max_wait_s:g} s"
    return Rejection("UO", words, retry_after=RETRY_AFTER_S, overloaded=True, wait_s=limits.max_wait_s)
