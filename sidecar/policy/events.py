"""What a policy tells the outside when its state changes; rare, so a frozen object is affordable."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PolicyEvent:
    """One change of state, with the numbers that caused it.

    `kind`: 'breaker' (closed/open/half-open), 'ramp' (share of traffic in percent), 'floor' (held back by the
    floor instead of opened), 'membership' (joined/left), 'told' (the
    registry's word on its health: passing/warning/critical), 'admission' (service level), 'forced' (by an
    operator). `at` is the injected clock's reading; `endpoint` is '' for what concerns the whole service.
    """

    at: float
    kind: str
    upstream: str
    endpoint: str
    from_state: str
    to_state: str
    reason: str
    numbers: Mapping[str, float] = field(default_factory=dict)


Listener = Callable[[PolicyEvent], None]
