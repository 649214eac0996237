"""What a DestinationRule says of localities (Istio's `localityLbSetting`), compiled."""

from dataclasses import dataclass
from typing import Final

ANY: Final = "*"
DEPTH: Final = 3  # region/zone/subzone


def place_of(locality: str) -> tuple[str, str, str]:
    """`region/zone/subzone`, of which the last ones may be missing; a bare zone is a region of its own."""
    parts = [*locality.split("/", DEPTH - 1), "", ""]
    return parts[0], parts[1], parts[2]


def fits(pattern: str, place: tuple[str, str, str]) -> bool:
    """Whether a locality is meant by `region1/zone1/*`, `region1/*`, `*` or one that says all of it."""
    for given, part in zip(pattern.split("/", DEPTH - 1), place, strict=False):
        if given == ANY:
            return True
        if given != part:
            return False
    return True


@dataclass(frozen=True, slots=True)
class LocalityPolicy:
    """Who is near comes first: by place, or by the labels of `failover_priority` if there are any.

    `failover`: (region of the caller, region that is next). `distribute`: (caller's locality, shares of
    localities); where that has an entry for the caller, nobody is near or far.
    """

    failover: tuple[tuple[str, str], ...] = ()
    failover_priority: tuple[str, ...] = ()
    distribute: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()
