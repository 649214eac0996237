"""What a set of documents compiles to, for one sidecar; nothing here needs to know what a document is.

A sidecar without any document never imports the models that read them: they take 11 MB.
"""

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from ..policy.adaptive import AdaptivePolicy
from ..policy.fault import FaultRule
from ..policy.hash_key import HashKey
from ..policy.rate_limit import RateLimitPolicy
from ..policy.settings import EmptyRule, UpstreamPolicy
from .connection_table import ConnectionTable
from .match import Match
from .outside import Entry, Outside, parts_of
from .table import RouteTable, full_name_of

ROUTES_MAX: Final = 50_000
"""Of a set: an arm for each match of its rule, and a rule for each host of its document. Half a second."""

VERSION_DIGITS: Final = 12
OUTSIDE_CONNECT_S: Final = 10.0
"""Istio's connectTimeout, for what may be far away; inside of the mesh half a second is long."""

NO_DOCUMENTS: Final = hashlib.sha256(b"").hexdigest()[:VERSION_DIGITS]
"""The version of the empty set."""


@dataclass(frozen=True, slots=True)
class Destination:
    """What a route's `upstream` key means: a service, the labels of a subset, the settings of its
    upstream.
    """

    key: str
    service: str
    policy: UpstreamPolicy
    labels: Mapping[str, str] = field(default_factory=dict)
    when_empty: EmptyRule = "reject"
    entry: Entry | None = None  # where it is, when that is a document's word and not the registry's
    port: int | None = None  # the one that it has settings for


class Rules:
    """The settings that documents give, by key. Those for a pattern of hosts (`*.local`) hold for each
    service that has none of its own, the longest pattern first.
    """

    __slots__ = ("_by_key", "_patterns")

    def __init__(self, by_key: Mapping[str, Destination]) -> None:
        self._by_key = by_key
        self._patterns = sorted(
            (key for key in by_key if "*" in key and "|" not in key), key=len, reverse=True
        )

    def find(self, key: str) -> Destination | None:
        """Of a service or subset that some rule is about."""
        found = self._by_key.get(key)
        if found is not None or not self._patterns:
            return found
        service, bar, subset = key.partition("|")
        pattern = self.pattern_of(service)
        found = None if pattern is None else self._by_key.get(f"{pattern}{bar}{subset}")
        return None if found is None else replace(found, key=key, service=service)

    def pattern_of(self, service: str) -> str | None:
        """The pattern whose rules hold for a service."""
        if service in self._by_key:
            return None
        names = (service, full_name_of(service))
        return next((each for each in self._patterns if any(name.endswith(each[1:]) for name in names)), None)

    def get(self, key: str, /) -> HashKey | None:
        """What is hashed to choose among a service's endpoints."""
        found = self.find(key)
        return None if found is None else found.policy.balance.hash_key


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose sidecar it is. `service` is '' for the ingress."""

    service: str = ""
    instance: str = ""
    version: str = ""
    zone: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)

    def labels(self) -> dict[str, str]:
        """What sourceLabels and subset labels are compared with."""
        return {**self.meta, "app": self.service, "version": self.version, "zone": self.zone}


@dataclass(frozen=True, slots=True)
class RateLimitRule:
    """A limit for the requests that one of `matches` means (none = all)."""

    name: str
    matches: tuple[Match, ...]
    policy: RateLimitPolicy


@dataclass(frozen=True, slots=True)
class Inbound:
    """What applies to requests for the app behind this sidecar."""

    faults: tuple[FaultRule, ...] = ()
    rate_limits: tuple[RateLimitRule, ...] = ()
    concurrency: AdaptivePolicy | None = None
    pooled: bool = False  # a rule says how many requests a caller may have under way here


@dataclass(frozen=True, slots=True)
class Compiled:
    """`destination(key)` knows every key that a route of `table` can have and that `defines` does."""

    version: str
    table: RouteTable
    inbound: Inbound
    base: UpstreamPolicy
    destinations: Mapping[str, Destination]
    outside: Outside = field(default_factory=Outside)
    connections: ConnectionTable = field(default_factory=ConnectionTable)

    rules: Rules = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", Rules(self.destinations))

    def defines(self, key: str) -> bool:
        """False for a subset that no DestinationRule defines (yet): a route there is a 503, as in Istio."""
        parts = parts_of(key)
        return not parts.subset or self.rules.find(parts.base) is not None

    def destination(self, key: str) -> Destination:
        """A service without a DestinationRule has the program's own settings."""
        parts, entry = parts_of(key), self.outside.entry(key)
        found = self.rules.find(parts.base)
        if entry is None:
            if found is None:
                return Destination(key, parts.service, self.base)
            return _named(found, found.service, ())
        # the settings of its port, if there are, stand before its own
        ported = self.rules.find(f"{parts.service}|{parts.subset}|{self.outside.port(key)}")
        found = ported or found
        if found is None:
            policy = outside_base(self.base) if entry.external else self.base
            found = Destination(key, parts.service, policy)
        connection = found.policy.connection
        connection = replace(connection, outside=entry.external)
        found = replace(found, key=key, policy=replace(found.policy, connection=connection), entry=entry)
        return _named(found, entry.server_name, entry.subject_alt_names)


def _named(found: Destination, server_name: str, names: tuple[str, ...]) -> Destination:
    """With whom TLS asks for, and whose certificate it wants, where its rule says neither."""
    connection = found.policy.connection
    tls = connection.tls
    if tls is None:
        return found
    names = tls.names or (names if tls.verify else ())
    tls = replace(tls, server_name=tls.server_name or server_name, names=names)
    return replace(found, policy=replace(found.policy, connection=replace(connection, tls=tls)))


def outside_base(base: UpstreamPolicy) -> UpstreamPolicy:
    """The program's own settings for a host that is none of the mesh's."""
    return replace(base, connection=replace(base.connection, connect_timeout_s=OUTSIDE_CONNECT_S))


def nothing(
    base: UpstreamPolicy | None = None,
    default_service: str | None = None,
    known: Callable[[str], bool] | None = None,
    rng: random.Random | None = None,
) -> Compiled:
    """The empty set compiled: every host is the service of that name."""
    table = RouteTable({}, default_service, NO_DOCUMENTS, known, rng)
    return Compiled(NO_DOCUMENTS, table, Inbound(), base or UpstreamPolicy(), {})
