"""All settings of one upstream together; what a DestinationRule compiles to."""

from dataclasses import dataclass, field
from typing import Literal

from .admission import AdmissionPolicy
from .concurrency import BulkheadPolicy
from .errors import PolicyError, check_range
from .fallback import FallbackPolicy
from .hash_key import HashKey
from .hedge import HedgePolicy
from .retry import RetryPolicy
from .retry_budget import BudgetPolicy
from .trip_rules import BreakerPolicy

EmptyRule = Literal["reject", "any"]  # what a subset without endpoints means (`balance/subset.py`)
Balancer = Literal["peak_ewma", "least_request", "round_robin", "random", "ring_hash"]


@dataclass(frozen=True, slots=True)
class BalancePolicy:
    """How to pick.

    `warning_factor`: share of an endpoint whose registry health is 'warning' (its Consul weight counts
    besides). `slow_start`: new endpoints of a running set take their share by the ramp. `prefer_zone`: the
    own zone first. `hash_key`: what ring_hash hashes.
    """

    kind: Balancer = "peak_ewma"
    hash_key: HashKey | None = None
    prefer_zone: bool = False
    warning_factor: float = 0.5
    slow_start: bool = True

    def __post_init__(self) -> None:
        check_range("balance.warning_factor", self.warning_factor, 0.01, 1.0)
        if self.kind == "ring_hash" and self.hash_key is None:
            raise PolicyError("balance.hash_key", "ring_hash needs to know what to hash")


@dataclass(frozen=True, slots=True)
class ConnectionPolicy:
    """For the edge's pool, per endpoint. 0 = no limit."""

    connect_timeout_s: float = 0.5  # on one machine or one network a connect takes 1 ms, or fails
    idle_timeout_s: float = 4.0  # below the 5 s after which uvicorn closes
    max_requests: int = 0  # per connection

    def __post_init__(self) -> None:
        check_range("connection.connect_timeout_s", self.connect_timeout_s, 0.001, 60.0)
        check_range("connection.idle_timeout_s", self.idle_timeout_s, 0.001, 3600.0)
        check_range("connection.max_requests", self.max_requests, 0, 1_000_000_000)


@dataclass(frozen=True, slots=True)
class UpstreamPolicy:
    """Each part validates itself; the defaults are what runs without any document."""

    balance: BalancePolicy = field(default_factory=BalancePolicy)
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    budget: BudgetPolicy = field(default_factory=BudgetPolicy)
    bulkhead: BulkheadPolicy = field(default_factory=BulkheadPolicy)
    admission: AdmissionPolicy = field(default_factory=AdmissionPolicy)
    connection: ConnectionPolicy = field(default_factory=ConnectionPolicy)
    hedge: HedgePolicy = field(default_factory=HedgePolicy)
    fallback: FallbackPolicy | None = None
    early_hedge: bool = True  # give up on a silent endpoint before the per-try timeout (idempotent requests)
