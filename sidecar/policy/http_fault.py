"""A VirtualService's fault, as Envoy's fault filter has it: at the caller, before anything else of a request.

Delay and abort are drawn independently, once for each request: retries, breakers and outlier detection never
see them, and the percentages are what the client sees.
"""

import random
from dataclasses import dataclass

from .errors import check_range
from .fault import MAX_DELAY_S


@dataclass(frozen=True, slots=True)
class HttpFault:
    """`delay_s` for `delay_percent` of the requests, then `status` for `abort_percent` of them (0..100)."""

    delay_s: float = 0.0
    delay_percent: float = 0.0
    status: int = 503
    abort_percent: float = 0.0

    def __post_init__(self) -> None:
        check_range("fault.delay.fixedDelay", self.delay_s, 0.0, MAX_DELAY_S)
        check_range("fault.delay.percentage", self.delay_percent, 0.0, 100.0)
        check_range("fault.abort.httpStatus", self.status, 200, 599)
        check_range("fault.abort.percentage", self.abort_percent, 0.0, 100.0)

    def draw(self, rng: random.Random) -> tuple[float, int]:
        """(seconds to wait, status to answer with) for one request; 0 = not."""
        delayed = self.delay_percent > 0.0 and rng.random() * 100.0 < self.delay_percent
        aborted = self.abort_percent > 0.0 and rng.random() * 100.0 < self.abort_percent
        return self.delay_s if delayed else 0.0, self.status if aborted else 0
