"""Who may be picked, and for what share, after anything about endpoints has changed."""

from collections.abc import Callable, Sequence

from ..policy.breaker import Breaker
from ..policy.machine import State
from .endpoints import Endpoint
from .p2c import FULL_SCAN_MAX


def assign(
    everyone: Sequence[Endpoint],
    gate_of: Callable[[Breaker], float],
    warning_factor: float,
    ramp_weighs: bool = False,
) -> tuple[list[Endpoint], list[Endpoint]]:
    """Sets `share` and `gate` of all; (ready, held: closed, but dead as far as we know).

    Both are relative to the best: if all are new, or all warn, there is nobody to spare them for.
    """
    ready: list[Endpoint] = []
    held: list[Endpoint] = []
    largest = widest = 0.0
    for endpoint in everyone:
        gate = gate_of(endpoint.breaker)
        share = 0.0
        if gate > 0.0:
            share = endpoint.weight * endpoint.reported
            if endpoint.health != "passing":
                share *= warning_factor
            ready.append(endpoint)
            largest = max(largest, share)
            widest = max(widest, gate)
        elif endpoint.breaker.state is State.CLOSED:
            held.append(endpoint)
        endpoint.share = share
        endpoint.gate = gate
    for endpoint in ready:
        endpoint.share /= largest
        endpoint.gate /= widest
    if ramp_weighs and 0 < len(ready) <= FULL_SCAN_MAX:
        # whose gate is open for a part p of the scans gets p of an N-th; as a weight it would be p of all
        # weights, as it is with turns and draws
        scale = len(ready) / sum(endpoint.gate for endpoint in ready)
        for endpoint in ready:
            if endpoint.gate < 1.0:
                endpoint.gate = min(1.0, endpoint.gate * scale)
    return ready, held
