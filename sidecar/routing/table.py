"""The immutable table that a request is matched against.

Without any document every host is the service of that name: `orders`, `orders:80`,
`orders.default.svc.cluster.local` and `orders.mesh` all mean the service `orders` where that is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sidecar.policy.retry import RetryPolicy

ROUTES_CACHED: Final = 1024  # hosts come from callers: the cache of default routes must not grow with them


@dataclass(frozen=True, slots=True)
class Route:
    """What a matched request gets. `timeout_s` None = the program's default; `retry` None = the
    upstream's.
    """

    name: str
    upstream: str
    timeout_s: float | None = None
    retry: RetryPolicy | None = None


def host_of(authority: str) -> str:
    """The host of `host[:port]`, lower case, without brackets or a final dot."""
    host = authority.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    host, colon, port = host.rpartition(":")
    if not colon:
        host = port
    return host.rstrip(".")


def service_of(host: str, services: frozenset[str] | None) -> str | None:
    """The service that a bare host names: itself, else its first label (as `name.namespace.svc...` means
    name).
    """
    if services is None or host in services:
        return host
    label = host.partition(".")[0]
    return label if label in services else None


class RouteTable:
    """`match` finds the route; None = no route (NR).

    `services`: the names that exist, so that a host which names none gives None (or `default_service`, for
    the ingress); None = every host is taken as a service's name.
    """

    __slots__ = ("_defaults", "default_service", "services", "version")

    def __init__(
        self,
        services: frozenset[str] | None = None,
        default_service: str | None = None,
        version: str = "",
    ) -> None:
        self.services = services
        self.default_service = default_service
        self.version = version
        self._defaults: dict[str, Route | None] = {}

    def match(
        self, host: str, method: bytes, path: bytes, headers: Sequence[tuple[bytes, bytes]]
    ) -> Route | None:
        """`host` is the authority as it came (`orders`, `Orders:8080`), `path` the origin-form target with
        its query, `headers` as received (any case). Methods and names are bytes as on the wire."""
        try:
            return self._defaults[host]
        except KeyError:
            return self._default(host)

    def _default(self, authority: str) -> Route | None:
        service = service_of(host_of(authority), self.services)
        if service is None or not service:
            service = self.default_service
        route = None if not service else Route(name=f"default/{service}", upstream=service)
        if len(self._defaults) >= ROUTES_CACHED:
            self._defaults.clear()
        self._defaults[authority] = route
        return route

    def describe(self) -> Mapping[str, object]:
        """For `/config_dump`."""
        return {
            "version": self.version,
            "services": None if self.services is None else sorted(self.services),
            "default_service": self.default_service,
        }
