"""Three lanes of importance, from the header `x-mesh-criticality`; the lowest is turned away first."""

from enum import IntEnum
from typing import Final


class Lane(IntEnum):
    """Inherited along a trace: what a critical request asks for is critical too."""

    SHEDDABLE = 0
    DEFAULT = 1
    CRITICAL = 2


_BY_NAME: Final = {b"critical": Lane.CRITICAL, b"default": Lane.DEFAULT, b"sheddable": Lane.SHEDDABLE}


def lane_of(header: bytes | None, attempt: int = 1) -> Lane:
    """The lane a header names (anything else is DEFAULT); a retry goes one lane down, first tries come
    first.
    """
    lane = _BY_NAME.get(header.strip().lower(), Lane.DEFAULT) if header else Lane.DEFAULT
    if attempt > 1 and lane is not Lane.SHEDDABLE:
        return Lane(lane - 1)
    return lane
