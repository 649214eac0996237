"""Three signals of health, kept apart, and the colour that people see.

1. the registry's status (passing, warning, critical),
2. our own traffic's verdict (the breaker),
3. the callee's word about itself: `endpoint-load-metrics` on its answers (ORCA's text form), with
   `application_utilization` (part of its concurrency limit in use), `named_metrics.loop_lag_ms` and
   `named_metrics.health` (1 passing, 0.5 warning, 0 critical).
None overrules another: a passing check does not close a breaker, a closed breaker does not make a warning
green.
"""

from typing import Final

from ..policy.machine import State
from .endpoints import Endpoint, LoadReport

LAG_FREE_MS: Final = 50.0  # a loop that is this late is busy, not ill
LAG_FULL_MS: Final = 500.0
BUSY_FREE: Final = 0.8
REPORT_MIN: Final = 0.1  # the callee's word alone never takes it out: that is the breaker's part
STEPS: Final = 10  # a change of less than a tenth moves nothing
HEADER_MAX: Final = 512


def render_report(health: str, lag_s: float, utilisation: float) -> bytes:
    """The header's value; `health` is passing, warning or critical."""
    word = {"passing": 1.0, "warning": 0.5}.get(health, 0.0)
    return b"TEXT application_utilization=%.2f,named_metrics.loop_lag_ms=%.0f,named_metrics.health=%.1f" % (
        utilisation,
        lag_s * 1000.0,
        word,
    )


def parse_report(value: bytes) -> LoadReport | None:
    """None if it is not the text form or names nothing that we know; unknown metrics are passed over."""
    if not value.startswith(b"TEXT ") or len(value) > HEADER_MAX:
        return None
    found: dict[bytes, float] = {}
    for part in value[5:].split(b","):
        name, _, number = part.strip().partition(b"=")
        try:
            reading = float(number)
        except ValueError:
            continue
        if 0.0 <= reading < 1e9:  # false for NaN too
            found[name] = reading
    if not found:
        return None
    return LoadReport(
        min(1.0, found.get(b"named_metrics.health", 1.0)),
        found.get(b"named_metrics.loop_lag_ms", 0.0),
        found.get(b"application_utilization", 0.0),
    )


def factor_of(report: LoadReport) -> float:
    """What the report leaves of the endpoint's share, in steps of a tenth."""
    factor = 0.5 + 0.5 * report.health if report.health > 0.0 else REPORT_MIN
    if report.lag_ms > LAG_FREE_MS:
        factor *= 1.0 - 0.8 * min(1.0, (report.lag_ms - LAG_FREE_MS) / (LAG_FULL_MS - LAG_FREE_MS))
    if report.utilisation > BUSY_FREE:
        factor *= BUSY_FREE / report.utilisation
    return max(REPORT_MIN, round(factor * STEPS) / STEPS)


def colour_of(endpoint: Endpoint) -> tuple[str, str]:
    """('green' | 'yellow' | 'red', the reason in words)."""
    breaker = endpoint.breaker
    if breaker.state is State.OPEN or breaker.dead:
        return "red", f"breaker {'held' if breaker.held else 'open'}: {breaker.reason}"
    if endpoint.health == "critical":
        return "red", "the registry says critical"
    if endpoint.report is not None and endpoint.report.health <= 0.0:
        return "red", "it reports itself critical"
    if breaker.state is State.HALF_OPEN:
        return "yellow", f"breaker half-open: {breaker.reason}"
    if breaker.held:
        return "yellow", f"held: {breaker.reason}"
    if breaker.ramp < 1.0:
        return "yellow", f"ramp at {breaker.ramp:.0%}: {breaker.reason}"
    if endpoint.health != "passing":
        return "yellow", "the registry says warning"
    if endpoint.reported < 1.0 and endpoint.report is not None:
        report = endpoint.report
        lag, load = f"loop lag {report.lag_ms:.0f} ms", f"load {report.utilisation:.0%}"
        return "yellow", f"it reports health {report.health:g}, {lag}, {load}"
    return "green", ""
