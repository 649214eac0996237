"""Peak EWMA: an average of latency that jumps up at once and comes down with time.

    sample above the decayed value -> take the sample
    else                           -> v += (1 - e^(-dt/decay)) * (sample - v)

A read projects the decay to now without changing anything, so an endpoint that was left alone is tried again.
"""

import math
from typing import Final

SEED_S: Final = 0.010  # only while nothing in the pool was measured; after that the pool's median is the seed
SOFT_SHARE: Final = (
    0.3  # of a soft penalty that is blended in: the second failure in a row drains, not the first
)


def updated(value: float, sample: float, dt: float, decay_s: float) -> float:
    """The new average after `sample` (seconds), `dt` seconds after the last one."""
    kept = math.exp(-dt / decay_s) if dt > 0.0 else 1.0
    if sample >= value * kept:
        return sample
    return value + (1.0 - kept) * (sample - value)


def projected(value: float, dt: float, decay_s: float) -> float:
    """What is left of the average after `dt` seconds without a sample."""
    return value * math.exp(-dt / decay_s) if dt > 0.0 else value


def penalised(value: float, penalty: float, soft: bool) -> float:
    """The average after a failure worth `penalty` seconds; never better than before."""
    if penalty <= value:
        return value
    return value + SOFT_SHARE * (penalty - value) if soft else penalty
