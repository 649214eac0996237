"""Pick by cost: all of up to four endpoints, else the better of two distinct random ones.

    cost = max(latency, band) x (pending / share + 1)

latency is the peak EWMA, projected to now; share is weight x health, relative to the largest. Departures from
the textbook's `latency x (pending + 1) / (weight x health x ramp)`, all needed where traffic is thin:
- Latencies within the band (twice the pool's median) are equal. Without it, two replicas at 2.0 and 2.1 ms
  and a few requests a second send everything to the first.
- With no attempt in flight the share does not divide the cost, it is the chance to be drawn among equals.
  Dividing gives weight 1 beside weight 2 nothing at all at low concurrency. With attempts in flight both
  forms agree: pending per share is levelled.
- A ramp is a gate: the endpoint is a candidate with that probability, so it gets at most that part of the
  traffic whatever the others' load. As a divisor it is 0 % while the others are idle, and as a share among
  equals it is everything while the others are busy (measured: 28 % of two where 2.5 % was meant).
Equals (within 25 %) are drawn at random by share, so no endpoint is first because it stands first.

An endpoint with attempts in flight that has answered nobody for longer than `stall_s` is *stalled*: it is
passed over while others are not. That is what keeps a frozen process from being fed until the first timeout
fires.
"""

import math
import random
from collections.abc import Sequence
from typing import Final

from .endpoints import Endpoint
from .reference import Reference

FULL_SCAN_MAX: Final = 4
EQUAL: Final = 1.25
DRAWS: Final = 6  # random draws for a candidate that is not tried, not stalled and accepted by its share

_exp = math.exp


def cost_of(endpoint: Endpoint, reference: Reference, now: float) -> float:
    """The cost as above, seconds; what `explain` prints (the scan has it inline)."""
    latency = endpoint.ewma
    if latency > reference.band_s:
        latency *= _exp((endpoint.ewma_at - now) * reference.inverse_decay)
    return max(latency, reference.band_s) * (endpoint.pending / endpoint.share + 1.0)


def is_stalled(endpoint: Endpoint, reference: Reference, now: float) -> bool:
    """Attempts in flight, and no answer to anyone for longer than is normal."""
    return endpoint.pending > 0 and now - endpoint.silent_since > reference.stall_s


def pick_by_cost(
    ready: Sequence[Endpoint], tried: Sequence[Endpoint], reference: Reference, now: float, rng: random.Random
) -> Endpoint | None:
    """The endpoint for the next attempt, none of `tried`; None if no other is there. `ready` have a share >
    0.
    """
    if len(ready) > FULL_SCAN_MAX:
        found = _better_of_two(ready, tried, reference, now, rng)
        if found is not None:
            return found
    found = _scan(ready, tried, reference, now, reference.stall_s, True, rng)
    if found is None:  # all gates stayed shut, or all are stalled
        found = _scan(ready, tried, reference, now, reference.stall_s, False, rng)
    return found if found is not None else _scan(ready, tried, reference, now, math.inf, False, rng)


def _scan(
    ready: Sequence[Endpoint],
    tried: Sequence[Endpoint],
    reference: Reference,
    now: float,
    stall_s: float,
    gated: bool,
    rng: random.Random,
) -> Endpoint | None:
    band = reference.band_s
    random01 = rng.random
    lowest = math.inf
    candidates = []
    costs = []
    for endpoint in ready:
        pending = endpoint.pending
        if pending and now - endpoint.silent_since > stall_s:
            continue
        if gated and endpoint.gate < 1.0 and random01() >= endpoint.gate:
            continue
        if tried and endpoint in tried:
            continue
        cost = endpoint.ewma
        if cost > band:
            cost *= _exp((endpoint.ewma_at - now) * reference.inverse_decay)
        if cost < band:
            cost = band
        if pending:
            cost *= pending / endpoint.share + 1.0
        if cost < lowest:
            lowest = cost
        candidates.append(endpoint)
        costs.append(cost)
    if not candidates:
        return None
    limit = lowest * EQUAL
    total = 0.0
    chosen = candidates[0]
    for endpoint, cost in zip(candidates, costs, strict=True):
        if cost <= limit:
            share = endpoint.share
            total += share
            # one pass: each equal replaces the one before it with its part of the shares seen so far
            if total == share or random01() * total < share:
                chosen = endpoint
    return chosen


def _better_of_two(
    ready: Sequence[Endpoint], tried: Sequence[Endpoint], reference: Reference, now: float, rng: random.Random
) -> Endpoint | None:
    count = len(ready)
    random01 = rng.random
    first = None
    for _ in range(2 * DRAWS):
        endpoint = ready[int(random01() * count)]
        accepted = endpoint.share * endpoint.gate
        if endpoint is first or (accepted < 1.0 and random01() >= accepted):
            continue
        if is_stalled(endpoint, reference, now) or (tried and endpoint in tried):
            continue
        if first is None:
            first = endpoint
        elif cost_of(endpoint, reference, now) < cost_of(first, reference, now):
            return endpoint
        else:
            return first
    return first
