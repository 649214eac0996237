"""Istio's VirtualService: the fields that are honoured, and by name those that are not."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from .connection_routes import CONNECTION_RULES_MAX, ConnectionRoute, TCPRoute, TLSRoute, within
from .destination import Destination
from .direct_response import HTTPDirectResponse, Status
from .fields import (
    PATTERN_MAX,
    Base,
    Duration,
    ExportTo,
    IstioVersion,
    Metadata,
    Percent,
    PresentMatch,
    StringMatch,
    Whole,
    charge,
)
from .header_format import read_format
from .substitution import Substitution
from .words import Authority, HeaderName, HeaderValue, HostName, Label, MethodName, Name, Target


def _read(text: str) -> str:
    read_format(text)
    return text


Formatted = Annotated[HeaderValue, AfterValidator(_read)]
"""A header's value with Envoy's operators."""


class HeaderValues(Base):
    """set and add: name -> value, with Envoy's operators like %REQ(x-user)%; remove: names."""

    set: dict[HeaderName, Formatted] = Field(default_factory=dict)
    add: dict[HeaderName, Formatted] = Field(default_factory=dict)
    remove: list[HeaderName] = Field(default_factory=list)


class HeaderOperations(Base):
    """On the request to the service, and on its answer."""

    request: HeaderValues = HeaderValues()
    response: HeaderValues = HeaderValues()


class HTTPMatchRequest(Base):
    """All given conditions must hold. `port` is the one that the request names (`orders:8080`), else 80."""

    not_honoured: ClassVar[dict[str, str]] = {
        "scheme": "inside the mesh there is http only",
    }
    no_effect: ClassVar[dict[str, str]] = {"statPrefix": "metrics are named by service and route"}
    name: Name = ""
    uri: StringMatch | None = None
    ignoreUriCase: bool = False
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: dict[HeaderName, PresentMatch] = Field(default_factory=dict)
    withoutHeaders: dict[HeaderName, PresentMatch] = Field(default_factory=dict)
    queryParams: dict[Name, PresentMatch] = Field(default_factory=dict)
    sourceLabels: dict[Label, Label] = Field(default_factory=dict)
    sourceNamespace: Name = ""
    port: int | None = Field(default=None, ge=1, le=65535)
    gateways: list[Name] = Field(default_factory=list)


class HTTPRouteDestination(Base):
    """One arm of a split."""

    destination: Destination
    weight: int = Field(default=0, ge=0, le=1_000_000)
    headers: HeaderOperations = HeaderOperations()


class RegexRewrite(Base):
    """`rewrite` may use \\1 for a group of `match`."""

    match: str = Field(max_length=PATTERN_MAX)
    rewrite: Target = Field(max_length=PATTERN_MAX)

    @field_validator("match")
    @classmethod
    def _expression(cls, value: str, info: ValidationInfo) -> str:
        charge(info, lambda: Substitution(value, ""))
        return value

    @field_validator("rewrite")
    @classmethod
    def _groups(cls, value: str, info: ValidationInfo) -> str:
        if "match" in info.data:  # else it is wrong already
            Substitution(info.data["match"], value)
        return value


class HTTPRewrite(Base):
    """`uri` replaces the matched prefix, or the whole path if the match was not by prefix."""

    uri: Target | None = None
    authority: Authority | None = None
    uriRegexRewrite: RegexRewrite | None = None

    @model_validator(mode="after")
    def _one_uri(self) -> "HTTPRewrite":
        if self.uri is not None and self.uriRegexRewrite is not None:
            raise ValueError("give uri or uriRegexRewrite, not both")
        return self


class HTTPRedirect(Base):
    """A 3xx instead of any service."""

    not_honoured: ClassVar[dict[str, str]] = {
        "derivePort": "give port",
        "prefixRewrite": "give uri, in a rule for each path",
    }
    uri: Target | None = None
    authority: Authority | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    scheme: Literal["http", "https"] | None = None
    redirectCode: Literal[301, 302, 303, 307, 308] = 301


class HTTPRetry(Base):
    """`attempts` counts retries, as in Istio: attempts 3 = up to four tries. 0 switches them off."""

    not_honoured: ClassVar[dict[str, str]] = {
        "retryRemoteLocalities": "a retry goes to any endpoint that was not tried"
    }
    attempts: int = Field(default=1, ge=0, le=9)
    perTryTimeout: Duration | None = None
    retryOn: str | None = Field(default=None, max_length=1024)
    retryIgnorePreviousHosts: Literal[True] = True
    backoff: Duration | None = None


class FaultDelay(Base):
    """`fixedDelay` for `percentage` of the requests (absent = none, as in Istio)."""

    not_honoured: ClassVar[dict[str, str]] = {
        "exponentialDelay": "use a Fault document with delay.shape",
        "percent": "use percentage: {value: ...}",
    }
    fixedDelay: Duration
    percentage: Percent = Percent()


class FaultAbort(Base):
    """`httpStatus` for `percentage` of the requests."""

    not_honoured: ClassVar[dict[str, str]] = {
        "grpcStatus": "use httpStatus",
        "http2Error": "use httpStatus",
        "percent": "use percentage: {value: ...}",
    }
    httpStatus: Status
    percentage: Percent = Percent()


class HTTPFaultInjection(Base):
    """Injected at the caller, before its retries and breakers, as in Istio; with the annotation
    `mesh/fault-at: callee` at the called service's sidecars, below them."""

    delay: FaultDelay | None = None
    abort: FaultAbort | None = None


class HTTPMirrorPolicy(Base):
    """One more copy."""

    destination: Destination
    percentage: Percent = Percent(value=100.0)


class CorsPolicy(Base):
    """Who may read answers in a browser."""

    not_honoured: ClassVar[dict[str, str]] = {"allowOrigin": "use allowOrigins"}
    allowOrigins: list[StringMatch] = Field(min_length=1)
    allowMethods: list[MethodName] = Field(default_factory=list)
    allowHeaders: list[HeaderName] = Field(default_factory=list)
    exposeHeaders: list[HeaderName] = Field(default_factory=list)
    maxAge: Duration | None = None
    allowCredentials: bool = False
    unmatchedPreflights: Literal["UNSPECIFIED", "FORWARD", "IGNORE"] = "UNSPECIFIED"


class Delegate(Base):
    """A VirtualService without hosts, whose rules stand in this one's place."""

    name: Name = Field(min_length=1)
    namespace: Name = ""  # empty: that of the document which delegates


class HTTPRoute(Base):
    """One rule: exactly one of route, redirect, directResponse, delegate."""

    not_honoured: ClassVar[dict[str, str]] = {
        "mirror_percent": "use mirrorPercentage: {value: ...}",
        "mirrorPercent": "use mirrorPercentage: {value: ...}",
    }
    no_effect: ClassVar[dict[str, str]] = {"websocketUpgrade": "upgrades pass by themselves"}
    name: Name = ""
    match: list[HTTPMatchRequest] = Field(default_factory=list)
    route: list[HTTPRouteDestination] = Field(default_factory=list)
    redirect: HTTPRedirect | None = None
    directResponse: HTTPDirectResponse | None = None
    rewrite: HTTPRewrite | None = None
    timeout: Duration | None = None
    retries: HTTPRetry | None = None
    fault: HTTPFaultInjection | None = None
    mirror: Destination | None = None
    mirrorPercentage: Percent | None = None
    mirrors: list[HTTPMirrorPolicy] = Field(default_factory=list, max_length=8)
    corsPolicy: CorsPolicy | None = None
    headers: HeaderOperations = HeaderOperations()
    delegate: Delegate | None = None
    _place: tuple[str, str] | None = PrivateAttr(default=None)

    @property
    def place(self) -> tuple[str, str] | None:
        """(document's key, path) where it was written, if it was put into another place."""
        return self._place

    def placed(self, key: str, path: str) -> "HTTPRoute":
        """The same, with the place where it was written."""
        copy = self.model_copy()
        copy._place = key, path
        return copy

    @model_validator(mode="after")
    def _one_action(self) -> "HTTPRoute":
        given = [
            name
            for name, value in (
                ("route", self.route),
                ("redirect", self.redirect),
                ("directResponse", self.directResponse),
                ("delegate", self.delegate),
            )
            if value
        ]
        if len(given) != 1:
            one = "give exactly one of route, redirect, directResponse, delegate"
            raise ValueError(f"{one} (here: {', '.join(given) or 'none'})")
        if len(self.route) > 1 and not sum(arm.weight for arm in self.route):
            raise ValueError("route: with several destinations at least one needs a weight above 0")
        if self.mirror is not None and self.mirrors:
            raise ValueError("give mirror or mirrors, not both")
        if self.mirrorPercentage is not None and self.mirror is None:
            raise ValueError("mirrorPercentage needs mirror")
        return self

    def destinations(self) -> Iterator[Destination]:
        """All that it leads to: where requests go, and where copies of them go."""
        yield from (arm.destination for arm in self.route)
        yield from (extra.destination for extra in self.mirrors)
        if self.mirror is not None:
            yield self.mirror


class VirtualServiceSpec(Base):
    """Rules for requests to `hosts`, in order; the first that matches is taken. Without hosts they are for
    the rules that delegate to it.
    """

    hosts: list[HostName] = Field(default_factory=list)
    gateways: list[Name] = Field(default_factory=list)
    http: list[HTTPRoute] = Field(default_factory=list)
    tls: list[TLSRoute] = Field(default_factory=list, max_length=CONNECTION_RULES_MAX)
    tcp: list[TCPRoute] = Field(default_factory=list, max_length=CONNECTION_RULES_MAX)
    exportTo: ExportTo = Field(default_factory=list)

    @model_validator(mode="after")
    def _delegate(self) -> "VirtualServiceSpec":
        if not (self.http or self.tls or self.tcp):
            raise ValueError("http: has no rule (nor has tls or tcp)")
        if not self.hosts and self.gateways:
            raise ValueError("gateways: a document without hosts is delegated to, and has no gateways")
        if not self.hosts and (self.tls or self.tcp):
            raise ValueError("hosts: is missing: only http rules can be delegated to")
        for index, block in enumerate(self.tls):
            for name in (name for match in block.match for name in match.sniHosts):
                if not any(within(name, host) for host in self.hosts):
                    raise ValueError(f"tls[{index}]: sniHosts: {name!r} is none of the hosts, nor below one")
        return self

    def connection_rules(self) -> Iterator[tuple[str, "ConnectionRoute"]]:
        """(path, rule), `tls` first: those are asked first."""
        yield from ((f"spec.tls[{index}]", block) for index, block in enumerate(self.tls))
        yield from ((f"spec.tcp[{index}]", block) for index, block in enumerate(self.tcp))


class VirtualService(Whole):
    """The whole document."""

    apiVersion: IstioVersion
    kind: Literal["VirtualService"]
    metadata: Metadata
    spec: VirtualServiceSpec

    @property
    def key(self) -> str:
        """Kind/name; Kind/namespace/name from another namespace than the mesh's."""
        return self.metadata.key(self.kind)
