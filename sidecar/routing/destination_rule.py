"""Istio's DestinationRule: the fields that are honoured, and by name those that are not."""

from typing import ClassVar, Final, Literal

from pydantic import Field, model_validator

from .fields import Base, Duration, EverySidecar, IstioVersion, Metadata, Share, Whole
from .words import HeaderName, HostName, Name

COUNT_MAX: Final = 2**31 - 1  # Envoy's limits are UInt32, Istio's int32


class HTTPCookie(Base):
    """The cookie that is hashed; a request without it goes anywhere."""

    not_honoured: ClassVar[dict[str, str]] = {
        "ttl": "no cookie is made for a client that has none",
        "path": "no cookie is made for a client that has none",
    }
    name: HeaderName


class RingHashSpec(Base):
    """Points on the ring, at least."""

    minimumRingSize: int = Field(default=1024, ge=1, le=65_536)


class ConsistentHash(Base):
    """Exactly one thing to hash."""

    not_honoured: ClassVar[dict[str, str]] = {"maglev": "use ringHash"}
    httpHeaderName: HeaderName | None = None
    httpCookie: HTTPCookie | None = None
    useSourceIp: bool | None = None
    httpQueryParameterName: Name | None = None
    minimumRingSize: int | None = Field(default=None, ge=1, le=65_536)
    ringHash: RingHashSpec = RingHashSpec()

    @model_validator(mode="after")
    def _one_key(self) -> "ConsistentHash":
        given = [self.httpHeaderName, self.httpCookie, self.useSourceIp or None, self.httpQueryParameterName]
        if sum(value is not None for value in given) != 1:
            raise ValueError(
                "give exactly one of httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName"
            )
        return self


class LocalityLb(Base):
    """Prefer the caller's own zone, spill over as it gets ill. Here it must be switched on."""

    not_honoured: ClassVar[dict[str, str]] = {
        "distribute": "zones are preferred or not",
        "failover": "what is not in the own zone is equal",
        "failoverPriority": "what is not in the own zone is equal",
    }
    enabled: bool = True


class Warmup(Base):
    """Slow start of new endpoints, by steps."""

    not_honoured: ClassVar[dict[str, str]] = {"aggression": "the ramp goes by steps, see mesh/breaker"}
    duration: Duration
    minimumPercent: Share = 10.0


class LoadBalancer(Base):
    """`simple` or `consistentHash`. LEAST_REQUEST compares attempts in flight only; without any, peak EWMA
    does.
    """

    simple: (
        Literal[
            "UNSPECIFIED", "LEAST_REQUEST", "LEAST_CONN", "RANDOM", "ROUND_ROBIN", "PASSTHROUGH", "PEAK_EWMA"
        ]
        | None
    ) = None
    consistentHash: ConsistentHash | None = None
    localityLbSetting: LocalityLb | None = None
    warmupDurationSecs: Duration | None = None
    warmup: Warmup | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "LoadBalancer":
        if self.simple is not None and self.consistentHash is not None:
            raise ValueError("give simple or consistentHash, not both")
        if self.simple == "PASSTHROUGH":
            raise ValueError("simple: PASSTHROUGH is not honoured: the sidecar always chooses the endpoint")
        return self


class TCPSettings(Base):
    """With HTTP/1.1 a connection carries one request at a time, so maxConnections bounds active requests."""

    not_honoured: ClassVar[dict[str, str]] = {
        "tcpKeepalive": "idle connections are closed after seconds",
        "maxConnectionDuration": "use http.maxRequestsPerConnection",
    }
    maxConnections: int | None = Field(default=None, ge=1, le=COUNT_MAX)
    connectTimeout: Duration | None = None
    idleTimeout: Duration | None = None


class HTTPSettings(Base):
    """Bulkhead and reuse of connections."""

    not_honoured: ClassVar[dict[str, str]] = {
        "maxRetries": "retries have a budget: trafficPolicy.retryBudget",
        "h2UpgradePolicy": "sidecars speak HTTP/1.1",
        "useClientProtocol": "sidecars speak HTTP/1.1",
        "maxConcurrentStreams": "sidecars speak HTTP/1.1",
    }
    http1MaxPendingRequests: int | None = Field(default=None, ge=0, le=COUNT_MAX)
    http2MaxRequests: int | None = Field(default=None, ge=1, le=COUNT_MAX)
    maxRequestsPerConnection: int | None = Field(default=None, ge=0, le=COUNT_MAX)
    idleTimeout: Duration | None = None


class ConnectionPool(Base):
    """Limits of each calling sidecar (not of the service)."""

    tcp: TCPSettings = TCPSettings()
    http: HTTPSettings = HTTPSettings()


class OutlierDetection(Base):
    """When an endpoint is ejected. `interval` is the window of the ratio rules; runs are counted at once."""

    not_honoured: ClassVar[dict[str, str]] = {
        "consecutiveErrors": "use consecutive5xxErrors",
        "outlierDetectionHttpErrorCodes": "5xx are failures",
    }
    consecutive5xxErrors: int | None = Field(default=None, ge=0, le=10_000)
    consecutiveGatewayErrors: int | None = Field(default=None, ge=0, le=1000)
    consecutiveLocalOriginFailures: int | None = Field(default=None, ge=1, le=1000)
    splitExternalLocalOriginErrors: bool = False
    interval: Duration | None = Field(default=None, ge=0.1, le=3600.0)
    baseEjectionTime: Duration | None = Field(default=None, ge=0.001, le=3600.0)
    maxEjectionPercent: int | None = Field(default=None, ge=0, le=100)
    minHealthPercent: int | None = Field(default=None, ge=0, le=100)

    @model_validator(mode="after")
    def _split(self) -> "OutlierDetection":
        if self.consecutiveLocalOriginFailures is not None and not self.splitExternalLocalOriginErrors:
            raise ValueError("consecutiveLocalOriginFailures needs splitExternalLocalOriginErrors: true")
        if self.consecutiveGatewayErrors and self.consecutiveLocalOriginFailures is not None:
            raise ValueError(
                "give consecutiveGatewayErrors or consecutiveLocalOriginFailures: "
                "both count answers that never came from the service"
            )
        return self


class RetryBudgetSpec(Base):
    """Retries are at most `percent` of requests over `budgetInterval`, plus `minRetryConcurrency` a
    second.
    """

    percent: Share = 20.0
    minRetryConcurrency: int = Field(default=3, ge=0, le=1000)
    budgetInterval: Duration = Field(default=10.0, ge=0.0, le=60.0)


class ClientTLS(Base):
    """Only what changes nothing: sidecars speak plain HTTP on one machine."""

    mode: Literal["DISABLE"]


class TrafficPolicy(Base):
    """How callers treat the service, or one subset of it."""

    not_honoured: ClassVar[dict[str, str]] = {
        "portLevelSettings": "a service has one port here",
        "tunnel": "there are no tunnels",
        "proxyProtocol": "sidecars know each other by headers",
    }
    loadBalancer: LoadBalancer | None = None
    connectionPool: ConnectionPool | None = None
    outlierDetection: OutlierDetection | None = None
    retryBudget: RetryBudgetSpec | None = None
    tls: ClientTLS | None = None


class Subset(Base):
    """Endpoints with these labels: version, zone, or any key of the registry's Meta."""

    name: str = Field(pattern=r"^[a-zA-Z0-9]([-a-zA-Z0-9_.]{0,61}[a-zA-Z0-9])?$")
    labels: dict[Name, Name] = Field(default_factory=dict)
    trafficPolicy: TrafficPolicy | None = None


class DestinationRuleSpec(Base):
    """One rule per service."""

    not_honoured: ClassVar[dict[str, str]] = {
        "workloadSelector": "a rule is for all callers; match sourceLabels in a VirtualService"
    }
    host: HostName
    trafficPolicy: TrafficPolicy | None = None
    subsets: list[Subset] = Field(default_factory=list)
    exportTo: EverySidecar = Field(default_factory=list)

    @model_validator(mode="after")
    def _unique(self) -> "DestinationRuleSpec":
        seen = set()
        for subset in self.subsets:
            if subset.name in seen:
                raise ValueError(f"subsets: {subset.name!r} is there twice")
            seen.add(subset.name)
        return self


class DestinationRule(Whole):
    """The whole document."""

    not_honoured: ClassVar[dict[str, str]] = {"status": "it is Kubernetes' own, delete it"}
    apiVersion: IstioVersion
    kind: Literal["DestinationRule"]
    metadata: Metadata
    spec: DestinationRuleSpec

    @property
    def key(self) -> str:
        """Kind/name."""
        return f"{self.kind}/{self.metadata.name}"
