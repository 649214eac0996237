"""Two lamps that say whether the numbers may be believed: one for the generator, one for the system."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.tally import IN_FLIGHT_CAP, Tally

LATENESS_P99_US = 10_000
"""A generator that starts its requests later than this measures itself."""
SENT_SHARE = 0.99
"""Below this share of the plan, the load was not the load that was asked for."""
CPU_SHARE = 0.90
"""Of one core: above it, answers wait for the generator, and service time holds its own queueing."""
SYSTEM_SECONDS = 5
COMPLETED_SHARE = 0.95
MIN_DEFICIT = 10
"""Requests: at a few per second, one that is still on its way is no sign of saturation."""


@dataclass(frozen=True, slots=True)
class Lamp:
    """Green when `ok`; otherwise `reason` is one line in words with numbers."""

    ok: bool = True
    reason: str = ""


def generator_lamp(tally: Tally, cpu_share: float = 0.0) -> Lamp:
    """Whether the generator kept its own schedule in this stretch; all that failed is named."""
    reasons = []
    late = tally.lateness.percentile(0.99)
    if late is not None and late > LATENESS_P99_US:
        reasons.append(f"start lateness p99 {late / 1000:.1f} ms is above {LATENESS_P99_US // 1000} ms")
    if tally.planned and tally.sent < SENT_SHARE * tally.planned:
        why = ", ".join(f"{reason} {n}" for reason, n in sorted(tally.dropped_reasons.items()))
        reasons.append(f"sent {tally.sent} of {tally.planned} planned ({why})")
    if cpu_share > CPU_SHARE:
        reasons.append(f"the generator used {cpu_share:.0%} of a core")
    return Lamp(not reasons, "; ".join(reasons))


def system_lamp(seconds: Sequence[Tally]) -> Lamp:
    """Whether the system keeps up, from whole seconds: work that arrives but does not leave is saturation.

    Fast failures complete, so a refusing system is not saturated; the error rate tells that.
    """
    recent = seconds[-SYSTEM_SECONDS:]
    if len(recent) < SYSTEM_SECONDS:
        return Lamp()
    planned = sum(t.planned for t in recent)
    completed = sum(t.completed for t in recent)
    capped = sum(t.dropped_reasons.get(IN_FLIGHT_CAP, 0) for t in recent)
    # in flight grows by what was sent and did not complete; at the cap it cannot grow, then drops show it
    rising = sum(t.sent for t in recent) - completed > 0 or capped > 0
    if rising and completed < COMPLETED_SHARE * planned and planned - completed >= MIN_DEFICIT:
        return Lamp(
            False, f"completed {completed} of {planned} offered in {SYSTEM_SECONDS} s, the rest piles up"
        )
    return Lamp()
