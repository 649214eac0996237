"""No attempt can be made: what to answer, and why, in words that name the service and the numbers."""


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
