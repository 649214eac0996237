"""All settings of one upstream together; what a DestinationRule compiles to."""

from dataclasses import dataclass, field

from sidecar.policy.admission import AdmissionPolicy
from sidecar.policy.concurrency import BulkheadPolicy
from sidecar.policy.errors import check_range
from sidecar.policy.retry import RetryPolicy
from sidecar.policy.retry_budget import BudgetPolicy
from sidecar.policy.trip_rules import BreakerPolicy


@dataclass(frozen=True, slots=True)
class BalancePolicy:
    """How to pick. `warning_factor`: share of an endpoint whose registry health is 'warning' (its Consul
    weight counts besides). `slow_start`: new endpoints of a running set take their share by the ramp."""

    warning_factor: float = 0.5
    slow_start: bool = True

    def __post_init__(self) -> None:
        check_range("balance.warning_factor", self.warning_factor, 0.01, 1.0)


@dataclass(frozen=True, slots=True)
class UpstreamPolicy:
    """Each part validates itself; the defaults are what runs without any document."""

    balance: BalancePolicy = field(default_factory=BalancePolicy)
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    budget: BudgetPolicy = field(default_factory=BudgetPolicy)
    bulkhead: BulkheadPolicy = field(default_factory=BulkheadPolicy)
    admission: AdmissionPolicy = field(default_factory=AdmissionPolicy)
    early_hedge: bool = True  # give up on a silent endpoint before the per-try timeout (idempotent requests)
