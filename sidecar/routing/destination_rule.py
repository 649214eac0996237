"""Istio's DestinationRule: the fields that are honoured, and by name those that are not."""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, field_validator, model_validator

from ..policy.hash_key import RING_MAX, RING_MIN, TABLE_MAX, TABLE_SIZE, is_prime
from .client_tls import ClientTLS
from .fields import Base, Duration, ExportTo, IstioVersion, Metadata, Port, Share, Whole
from .words import CookieText, HeaderName, HostName, Name

PORTS_MAX: Final = 64  # of a policy: each is a destination of its own, for each subset
COUNT_MAX: Final = 2**31 - 1  # Envoy's limits are UInt32, Istio's int32


class CookieAttribute(Base):
    """`SameSite: Strict`, or a name alone."""

    name: HeaderName
    value: CookieText = ""


class HTTPCookie(Base):
    """The cookie that is hashed; with a `ttl` it is made for a client that has none, without, such a request
    goes anywhere. ttl 0s: until the browser ends.
    """

    name: HeaderName
    ttl: Duration | None = None
    path: CookieText = ""
    attributes: list[CookieAttribute] = Field(default_factory=list, max_length=16)


class RingHashSpec(Base):
    """Points on the ring, at least."""

    minimumRingSize: int = Field(default=RING_MIN, ge=1, le=RING_MAX)


class MaglevSpec(Base):
    """Places of the table, a prime."""

    tableSize: int = Field(default=TABLE_SIZE, ge=2, le=TABLE_MAX)

    @field_validator("tableSize")
    @classmethod
    def _prime(cls, value: int) -> int:
        if not is_prime(value):
            raise ValueError("must be a prime, like 65537")
        return value


class ConsistentHash(Base):
    """Exactly one thing to hash; on a ring, or by `maglev`."""

    httpHeaderName: HeaderName | None = None
    httpCookie: HTTPCookie | None = None
    useSourceIp: bool | None = None
    httpQueryParameterName: Name | None = None
    minimumRingSize: int | None = Field(default=None, ge=1, le=RING_MAX)
    ringHash: RingHashSpec | None = None
    maglev: MaglevSpec | None = None

    @model_validator(mode="after")
    def _one_key(self) -> "ConsistentHash":
        given = [self.httpHeaderName, self.httpCookie, self.useSourceIp or None, self.httpQueryParameterName]
        if sum(value is not None for value in given) != 1:
            raise ValueError(
                "give exactly one of httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName"
            )
        if self.maglev is not None and (self.ringHash is not None or self.minimumRingSize is not None):
            raise ValueError("give ringHash or maglev, not both")
        return self


_PART = r"[A-Za-z0-9._*-]+"
Locality = Annotated[str, Field(max_length=253, pattern=rf"^{_PART}(/{_PART}){{0,2}}$")]
PriorityLabel = Annotated[str, Field(max_length=317, pattern=r"^[A-Za-z0-9./_-]+(=[A-Za-z0-9._-]*)?$")]


class LocalityDistribute(Base):
    """Where the requests of callers in a locality go: shares that are 100 in all."""

    from_: Locality = Field(alias="from")
    to: dict[Locality, int] = Field(min_length=1, max_length=100)

    @model_validator(mode="after")
    def _whole(self) -> "LocalityDistribute":
        if min(self.to.values()) < 1 or sum(self.to.values()) != 100:
            raise ValueError(
                f"to: the shares must be 100 in all, each 1 or more; they are {sum(self.to.values())}"
            )
        return self


class LocalityFailover(Base):
    """The region that comes next to a caller's own."""

    from_: Locality = Field(alias="from")
    to: Locality


class LocalityLb(Base):
    """Who is near comes first, and spills over as it gets ill. It is on wherever this block is given, and
    with outlierDetection.
    """

    enabled: bool = True
    distribute: list[LocalityDistribute] = Field(default_factory=list, max_length=100)
    failover: list[LocalityFailover] = Field(default_factory=list, max_length=100)
    failoverPriority: list[PriorityLabel] = Field(default_factory=list, max_length=32)

    @model_validator(mode="after")
    def _one_way(self) -> "LocalityLb":
        if self.distribute and (self.failover or self.failoverPriority):
            raise ValueError("give distribute, or failover and failoverPriority: not both, as in Istio")
        return self


class Warmup(Base):
    """Slow start: after a part t of `duration` a new endpoint has t ^ (1 / aggression) of its share, and
    `minimumPercent` at least. 1 is a straight line, more climbs faster at first.
    """

    duration: Duration
    minimumPercent: Share = 10.0
    aggression: float = Field(default=1.0, gt=0.0, le=1000.0)


class LoadBalancer(Base):
    """`simple` or `consistentHash`. LEAST_REQUEST compares attempts in flight only; without any, peak EWMA
    does.
    """

    not_honoured: ClassVar[dict[str, str]] = {"zoneAwareLbSetting": "use localityLbSetting: {enabled: true}"}
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


class TCPKeepalive(Base):
    """Probes of a silent connection; what is not given (or 0) is the system's own."""

    probes: int = Field(default=0, ge=0, le=127)
    time: Duration = Field(default=0.0, ge=0.0, le=32_767.0)
    interval: Duration = Field(default=0.0, ge=0.0, le=32_767.0)


class TCPSettings(Base):
    """With HTTP/1.1 a connection carries one request at a time, so maxConnections bounds active requests."""

    not_honoured: ClassVar[dict[str, str]] = {
        "maxConnectionDuration": "use http.maxRequestsPerConnection",
    }
    maxConnections: int | None = Field(default=None, ge=1, le=COUNT_MAX)
    connectTimeout: Duration | None = None
    idleTimeout: Duration | None = None
    tcpKeepalive: TCPKeepalive | None = None


class HTTPSettings(Base):
    """Bulkhead and reuse of connections. Who is above maxConnections waits, up to http1MaxPendingRequests
    (0 = any number), as long as the request may take; who is above http2MaxRequests is refused at once.
    """

    not_honoured: ClassVar[dict[str, str]] = {
        "maxRetries": "retries have a budget: trafficPolicy.retryBudget",
    }
    no_effect: ClassVar[dict[str, str]] = dict.fromkeys(
        ("h2UpgradePolicy", "useClientProtocol", "maxConcurrentStreams", "http2KeepAlive"),
        "sidecars speak HTTP/1.1 to each other",
    )
    http1MaxPendingRequests: int | None = Field(default=None, ge=0, le=COUNT_MAX)
    http2MaxRequests: int | None = Field(default=None, ge=1, le=COUNT_MAX)
    maxRequestsPerConnection: int | None = Field(default=None, ge=0, le=COUNT_MAX)
    idleTimeout: Duration | None = None


class ConnectionPool(Base):
    """Limits of each calling sidecar (not of the service)."""

    tcp: TCPSettings = TCPSettings()
    http: HTTPSettings = HTTPSettings()


class OutlierDetection(Base):
    """When an endpoint is ejected, by Envoy's rules; our own breaker is off where this is given."""

    not_honoured: ClassVar[dict[str, str]] = {
        "consecutiveErrors": "use consecutive5xxErrors",
        "outlierDetectionHttpErrorCodes": "5xx are failures",
    }
    consecutive5xxErrors: int | None = Field(default=None, ge=0, le=10_000)
    consecutiveGatewayErrors: int | None = Field(default=None, ge=0, le=10_000)
    consecutiveLocalOriginFailures: int | None = Field(default=None, ge=0, le=10_000)
    splitExternalLocalOriginErrors: bool = False
    interval: Duration | None = Field(default=None, ge=0.1, le=3600.0)
    baseEjectionTime: Duration | None = Field(default=None, ge=0.001, le=3600.0)
    maxEjectionPercent: int | None = Field(default=None, ge=0, le=100)
    minHealthPercent: int | None = Field(default=None, ge=0, le=100)


class RetryBudgetSpec(Base):
    """Retries are at most `percent` of requests over `budgetInterval`, plus `minRetryConcurrency` a
    second.
    """

    percent: Share = 20.0
    minRetryConcurrency: int = Field(default=3, ge=0, le=1000)
    budgetInterval: Duration = Field(default=10.0, ge=0.0, le=60.0)


class PortTrafficPolicy(Base):
    """In the place of the policy, for requests to one port; what it does not say is as if nobody said it."""

    port: Port
    loadBalancer: LoadBalancer | None = None
    connectionPool: ConnectionPool | None = None
    outlierDetection: OutlierDetection | None = None
    tls: ClientTLS | None = None


class TrafficPolicy(Base):
    """How callers treat the service, or one subset of it."""

    not_honoured: ClassVar[dict[str, str]] = {
        "tunnel": "there are no tunnels",
        "proxyProtocol": "sidecars know each other by headers",
    }
    loadBalancer: LoadBalancer | None = None
    connectionPool: ConnectionPool | None = None
    outlierDetection: OutlierDetection | None = None
    retryBudget: RetryBudgetSpec | None = None
    tls: ClientTLS | None = None
    portLevelSettings: list[PortTrafficPolicy] = Field(default_factory=list, max_length=PORTS_MAX)

    @model_validator(mode="after")
    def _once(self) -> "TrafficPolicy":
        ports = [entry.port.number for entry in self.portLevelSettings]
        for port in ports:
            if ports.count(port) > 1:
                raise ValueError(f"portLevelSettings: port {port} is there twice")
        return self


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
    exportTo: ExportTo = Field(default_factory=list)

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

    apiVersion: IstioVersion
    kind: Literal["DestinationRule"]
    metadata: Metadata
    spec: DestinationRuleSpec

    @property
    def key(self) -> str:
        """Kind/name; Kind/namespace/name from another namespace than the mesh's."""
        return self.metadata.key(self.kind)
