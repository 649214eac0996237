"""All settings of one upstream together; what a DestinationRule compiles to."""

from dataclasses import dataclass, field
from typing import Literal

from .admission import AdmissionPolicy
from .concurrency import BulkheadPolicy
from .errors import PolicyError, check_range
from .fallback import FallbackPolicy
from .hash_key import HashKey
from .hedge import HedgePolicy
from .locality_policy import LocalityPolicy
from .outlier_detection import OutlierPolicy
from .retry import RetryPolicy
from .retry_budget import BudgetPolicy
from .tls import TlsPolicy
from .trip_rules import BreakerPolicy

EmptyRule = Literal["reject", "any"]  # what a subset without endpoints means (`balance/subset.py`)
Balancer = Literal["peak_ewma", "least_request", "round_robin", "random", "ring_hash", "maglev"]


@dataclass(frozen=True, slots=True)
class BalancePolicy:
    """How to pick.

    `warning_factor`: share of an endpoint whose registry health is 'warning' (its Consul weight counts
    besides). `slow_start`: new endpoints of a running set take their share by the ramp. `ramp_weighs`: a
    ramp's step is a weight, as in Envoy (one of two with 50 % gets a third of the requests), not the most
    that there may be (a quarter). `locality`: who is near comes first. `hash_key`: what is hashed, by
    ring_hash and maglev.
    """

    kind: Balancer = "peak_ewma"
    hash_key: HashKey | None = None
    locality: LocalityPolicy | None = None
    warning_factor: float = 0.5
    slow_start: bool = True
    ramp_weighs: bool = False

    def __post_init__(self) -> None:
        check_range("balance.warning_factor", self.warning_factor, 0.01, 1.0)
        if self.kind in ("ring_hash", "maglev") and self.hash_key is None:
            raise PolicyError("balance.hash_key", f"{self.kind} needs to know what to hash")


@dataclass(frozen=True, slots=True)
class KeepAlivePolicy:
    """TCP's own probes; 0 = as the system has it. Linux takes no more than these."""

    probes: int = 0
    time_s: int = 0
    interval_s: int = 0

    def __post_init__(self) -> None:
        check_range("tcpKeepalive.probes", self.probes, 0, 127)
        check_range("tcpKeepalive.time", self.time_s, 0, 32_767)
        check_range("tcpKeepalive.interval", self.interval_s, 0, 32_767)


@dataclass(frozen=True, slots=True)
class ConnectionPolicy:
    """For the edge's pool, per endpoint. 0 = no limit. `outside`: to who is none of the mesh, and so is told
    nothing of it and believed nothing that is said in its name.
    """

    connect_timeout_s: float = 0.5  # on one machine or one network a connect takes 1 ms, or fails
    idle_timeout_s: float = 4.0  # below the 5 s after which uvicorn closes
    max_requests: int = 0  # per connection
    tcp_idle_timeout_s: float | None = None  # of a TCP service's connection; None = the program's, 0 = none
    keep_alive: KeepAlivePolicy | None = None  # None: no probes
    outside: bool = False
    tls: TlsPolicy | None = None

    def __post_init__(self) -> None:
        check_range("connection.connect_timeout_s", self.connect_timeout_s, 0.001, 60.0)
        check_range("connection.idle_timeout_s", self.idle_timeout_s, 0.001, 3600.0)
        check_range("connection.max_requests", self.max_requests, 0, 1_000_000_000)


@dataclass(frozen=True, slots=True)
class UpstreamPolicy:
    """Each part validates itself; the defaults are what runs without any document."""

    balance: BalancePolicy = field(default_factory=BalancePolicy)
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    outlier: OutlierPolicy | None = None  # a document's; then our breaker acts only if one asks for that too
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    budget: BudgetPolicy = field(default_factory=BudgetPolicy)
    bulkhead: BulkheadPolicy = field(default_factory=BulkheadPolicy)
    admission: AdmissionPolicy = field(default_factory=AdmissionPolicy)
    connection: ConnectionPolicy = field(default_factory=ConnectionPolicy)
    hedge: HedgePolicy = field(default_factory=HedgePolicy)
    fallback: FallbackPolicy | None = None
    early_hedge: bool = True  # give up on a silent endpoint before the per-try timeout (idempotent requests)
