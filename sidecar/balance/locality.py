"""Prefer the own zone, and spill over as it gets ill: Envoy's formula with the overprovisioning factor 1.4.

    share kept local = min(1, 1.4 x ready local / all local)

So a zone of three serves itself with two (1.4 x 2/3 = 0.93, nearly), and sends half away with one. No
endpoint there, or no zone known: no preference at all.
"""

from collections.abc import Sequence
from typing import Final

from .endpoints import Endpoint

OVERPROVISIONING: Final = 1.4


def split(
    zone: str, everyone: Sequence[Endpoint], ready: Sequence[Endpoint]
) -> tuple[list[Endpoint], list[Endpoint], float]:
    """(ready here, ready elsewhere, share of requests that stays here)."""
    all_here = sum(endpoint.zone == zone for endpoint in everyone)
    here = [endpoint for endpoint in ready if endpoint.zone == zone]
    away = [endpoint for endpoint in ready if endpoint.zone != zone]
    if not zone or not all_here or not here:
        return [], list(ready), 0.0
    if not away:
        return here, [], 1.0
    return here, away, min(1.0, OVERPROVISIONING * len(here) / all_here)
