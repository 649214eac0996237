"""Lines that containers wrote, each with Docker's time stamp, so that what is new can be asked for. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

STAMP_LENGTH = len("2026-11-21T10:00:00.000000000Z")


@dataclass(frozen=True, slots=True, order=True)
class LogLine:
    """`at` is RFC 3339 with nine digits of a second, in UTC: texts in the order of time."""

    at: str
    part: str
    text: str


def stamped(part: str, written: Iterable[str], after: str) -> list[LogLine]:
    """The lines of `docker logs --timestamps` that are later than `after` ("" = all)."""
    lines = []
    for line in written:
        at, _, text = line.partition(" ")
        if len(at) == STAMP_LENGTH and at > after:
            lines.append(LogLine(at, part, text))
    return lines


def stamp(at: float) -> str:
    """Seconds since the epoch as Docker writes them."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"


def seconds(stamp: str) -> float:
    """Seconds since the epoch, a little early: the engine is asked from there, and `stamped` is exact."""
    return datetime.fromisoformat(f"{stamp[:26]}+00:00").timestamp() - 0.001
