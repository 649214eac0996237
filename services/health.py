"""The composite health of an instance: every check by name, and the worst of them as the whole.

Says only what this process can do itself. That another service fails is no check: it would take
down everyone who calls it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

State = Literal["passing", "warning", "critical"]
# Consul's convention for HTTP checks: 2xx is passing, 429 a warning, anything else critical. Best first.
STATUS_CODES: Mapping[State, int] = {"passing": 200, "warning": 429, "critical": 503}

# A turn of the event loop takes microseconds; a tenth of a second is felt by every request, a whole
# one is longer than a caller's patience.
SLOW_LOOP_S = 0.1
STUCK_LOOP_S = 1.0
# On the loopback a connection takes less than a millisecond, unless nobody accepts it.
CONNECT_TIMEOUT_S = 0.5


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found."""

    state: State
    detail: str


Probe = Callable[[], Awaitable[Check]]


class Health:
    """Named checks, asked anew for each report; `probes` may be others from one report to the next."""

    def __init__(self, probes: Mapping[str, Probe]) -> None:
        self.probes = dict(probes)

    async def report(self) -> tuple[State, dict[str, object]]:
        """The worst state, and the JSON that shows every check."""
        checks = {name: await probe() for name, probe in self.probes.items()}
        worst: State = "passing"
        for check in checks.values():
            worst = max(worst, check.state, key=list(STATUS_CODES).index)
        shown = {
            name: {"ok": check.state == "passing", "status": check.state, "detail": check.detail}
            for name, check in checks.items()
        }
        return worst, {"status": worst, "checks": shown}


def event_loop_check(clock: Callable[[], float]) -> Probe:
    """How long everyone who is ready has to wait: one turn of the event loop."""

    async def probe() -> Check:
        begun = clock()
        await asyncio.sleep(0)
        lag = clock() - begun
        state: State = "passing"
        if lag >= SLOW_LOOP_S:
            state = "critical" if lag >= STUCK_LOOP_S else "warning"
        return Check(state, f"one turn took {lag * 1000:.1f} ms")

    return probe


def connect_check(address: str, purpose: str) -> Probe:
    """Whether `host:port` accepts a connection; without it this instance cannot do its work."""
    host, _, port = address.rpartition(":")

    async def probe() -> Check:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except TimeoutError:
            return Check("critical", f"{purpose} at {address} does not accept connections")
        except OSError as error:
            return Check("critical", f"{purpose} at {address}: {error.strerror or error}")
        writer.close()
        return Check("passing", f"{purpose} at {address} accepts connections")

    return probe
