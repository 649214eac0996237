"""What to answer when a service is open: a static answer, another destination, or the last good answer.

Asked for only when the stack itself says no (`Rejection`), or when every attempt failed on a service all of
whose endpoints are bad; an answer that the service made is never replaced.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from .errors import PolicyError, check_range

Headers = Sequence[tuple[bytes, bytes]]
ENTRIES_MAX: Final = 512
BODY_MAX: Final = 64 * 1024  # as much as is kept for a retry
TOTAL_MAX: Final = 4 * 1024 * 1024  # per upstream
STALE_MARK: Final = (b"warning", b'110 - "Response is Stale"')


@dataclass(frozen=True, slots=True)
class StaticAnswer:
    """Sent as it is, marked by `x-mesh-fallback: static`."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"

    def __post_init__(self) -> None:
        check_range("fallback.status", self.status, 200, 599)
        if len(self.body) > BODY_MAX:
            raise PolicyError("fallback.body", f"must be at most {BODY_MAX} bytes")


@dataclass(frozen=True, slots=True)
class FallbackPolicy:
    """Exactly one way. `upstream` is the key of another destination; it has no fallback of its own in
    turn.
    """

    static: StaticAnswer | None = None
    upstream: str | None = None
    last_good_s: float | None = None  # GET only: how old the last good answer may be

    def __post_init__(self) -> None:
        given = [value for value in (self.static, self.upstream, self.last_good_s) if value is not None]
        if len(given) != 1:
            raise PolicyError("fallback", "needs exactly one of static, upstream, lastGood")
        if self.last_good_s is not None:
            check_range("fallback.lastGood", self.last_good_s, 0.1, 86_400.0)


@dataclass(frozen=True, slots=True)
class Kept:
    """A good answer as it was."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    at: float


class LastGood:
    """The last good answer by request (host, path and query): bounded in entries and bytes, oldest first
    out.
    """

    __slots__ = ("_bytes", "_clock", "_kept", "max_age_s")

    def __init__(self, max_age_s: float, clock: Callable[[], float]) -> None:
        self.max_age_s = max_age_s
        self._kept: OrderedDict[tuple[str, bytes], Kept] = OrderedDict()
        self._bytes = 0
        self._clock = clock

    def keep(self, host: str, path: bytes, status: int, headers: Headers, body: bytes) -> bool:
        """Remember a 200 to a GET; False if it is too big, or says `no-store` or `private`."""
        if status != 200 or len(body) > BODY_MAX:
            return False
        for name, value in headers:
            if name.lower() == b"cache-control" and (
                b"no-store" in value.lower() or b"private" in value.lower()
            ):
                return False
        self._drop((host, path))
        kept = self._kept[(host, path)] = Kept(status, tuple(headers), body, self._clock())
        self._bytes += _size(host, path, kept)
        while len(self._kept) > ENTRIES_MAX or self._bytes > TOTAL_MAX:
            self._drop(next(iter(self._kept)))
        return True

    def get(self, host: str, path: bytes) -> tuple[Kept, Headers] | None:
        """(answer, headers to add: its age and that it is stale), if one is there and not too old."""
        kept = self._kept.get((host, path))
        if kept is None:
            return None
        age = self._clock() - kept.at
        if age > self.max_age_s:
            self._drop((host, path))
            return None
        return kept, (STALE_MARK, (b"age", b"%d" % int(age)), (b"x-mesh-fallback", b"last-good"))

    def _drop(self, key: tuple[str, bytes]) -> None:
        old = self._kept.pop(key, None)
        if old is not None:
            self._bytes -= _size(*key, old)

    def __len__(self) -> int:
        return len(self._kept)


def _size(host: str, path: bytes, kept: Kept) -> int:
    """Bytes that an entry takes: its head and its name may be larger than its body."""
    return (
        len(host) + len(path) + len(kept.body) + sum(len(name) + len(value) for name, value in kept.headers)
    )


def last_good_for(policy: FallbackPolicy | None, clock: Callable[[], float]) -> LastGood | None:
    """The store that a policy needs, None if it needs none."""
    if policy is None or policy.last_good_s is None:
        return None
    return LastGood(policy.last_good_s, clock)
