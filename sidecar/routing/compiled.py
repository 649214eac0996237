"""What a set of documents compiles to, for one sidecar; nothing here needs to know what a document is.

A sidecar without any document never imports the models that read them: they take 11 MB.
"""

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ..policy.adaptive import AdaptivePolicy
from ..policy.fault import FaultRule
from ..policy.rate_limit import RateLimitPolicy
from ..policy.settings import EmptyRule, UpstreamPolicy
from .match import Match
from .table import RouteTable

VERSION_DIGITS: Final = 12
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
    """`destination(key)` knows every key that a route of `table` can have."""

    version: str
    table: RouteTable
    inbound: Inbound
    base: UpstreamPolicy
    destinations: Mapping[str, Destination]

    def destination(self, key: str) -> Destination:
        """A service without a DestinationRule has the program's own settings."""
        found = self.destinations.get(key)
        return found if found is not None else Destination(key, key, self.base)


def nothing(
    base: UpstreamPolicy | None = None,
    default_service: str | None = None,
    known: Callable[[str], bool] | None = None,
    rng: random.Random | None = None,
) -> Compiled:
    """The empty set compiled: every host is the service of that name."""
    table = RouteTable({}, default_service, NO_DOCUMENTS, known, rng)
    return Compiled(NO_DOCUMENTS, table, Inbound(), base or UpstreamPolicy(), {})
