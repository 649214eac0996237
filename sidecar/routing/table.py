"""The immutable table that a request is matched against; swapped whole, a request keeps the one it began
with.

Order: the host's own rules (exact name, then the longest wildcard, then `*`), within them the first rule in
the document's order whose match holds (Istio's rule), else the default: the service that the host names. A
host with rules of which none matches has no route (NR): that is what its document says.

Without any document every host is the service of that name: `orders`, `orders:80`,
`orders.default.svc.cluster.local` and `orders.mesh` all mean the service `orders`.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ..policy.hash_key import HashKey
from .match import Headers, Match
from .route import Route

HOSTS_CACHED: Final = 1024  # hosts come from callers: what is remembered of them must not grow with them
HOST_LENGTH: Final = 260  # of those that are remembered: a DNS name and a port


def host_of(authority: str) -> str:
    """The host of `host[:port]`, lower case, without brackets or a final dot."""
    host = authority.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    host, colon, port = host.rpartition(":")
    if not colon:
        host = port
    return host.rstrip(".")


class Rule:
    """One http rule: its matches (none = every request) and, for each of them, the route to take."""

    __slots__ = ("matches", "name", "routes")

    def __init__(self, name: str, matches: Sequence[Match], routes: Sequence[Route]) -> None:
        self.name = name
        self.matches = tuple(matches) or (Match(),)
        self.routes = tuple(routes)  # as many as matches: a rewrite depends on the prefix that matched


class RouteTable:
    """`match` finds the route; None = no route (NR).

    `rules`: by host as documents name it (`orders`, `*.shop.example`, `*`). `known(name)`: is there a service
    of that name (None = every host is taken as one). `default_service` takes what names no service: the
    ingress.
    """

    __slots__ = (
        "_exact",
        "_hash_keys",
        "_hosts",
        "_known",
        "_rng",
        "_wildcards",
        "default_service",
        "version",
    )

    def __init__(
        self,
        rules: Mapping[str, Sequence[Rule]] | None = None,
        default_service: str | None = None,
        version: str = "",
        known: Callable[[str], bool] | None = None,
        rng: random.Random | None = None,
        hash_keys: Mapping[str, HashKey] | None = None,
    ) -> None:
        self._hash_keys = hash_keys or {}
        self.default_service = default_service
        self.version = version
        self._known = known
        self._rng = rng or random.Random(0)
        self._exact = {host: tuple(found) for host, found in (rules or {}).items() if "*" not in host}
        wild = [(host[1:], tuple(found)) for host, found in (rules or {}).items() if host.startswith("*")]
        self._wildcards = sorted(wild, key=lambda entry: -len(entry[0]))
        self._hosts: dict[str, tuple[tuple[Rule, ...], Route | None]] = {}

    def match(
        self, host: str, method: bytes, path: bytes, headers: Headers, source: str = ""
    ) -> Route | None:
        """`host` is the authority as it came (`orders`, `Orders:8080`), `path` the origin-form target with
        its query, `headers` as received (any case), `source` the peer's address (for hashing)."""
        rules, default = self.resolve(host)
        return self.choose(rules, host, method, path, headers, source) if rules else default

    def resolve(self, host: str) -> tuple[tuple[Rule, ...], Route | None]:
        """(the host's rules, the route that it has without any). Neither: no such service."""
        return self._hosts.get(host) or self._resolve(host)

    def choose(
        self,
        rules: Sequence[Rule],
        host: str,
        method: bytes,
        path: bytes,
        headers: Headers,
        source: str = "",
    ) -> Route | None:
        """The route of the first rule whose match holds."""
        for rule in rules:
            for match, route in zip(rule.matches, rule.routes, strict=True):
                if match.matches(method, path, headers, host.encode("latin-1", "replace")):
                    return self._draw(route, path, headers, source)
        return None

    def _draw(self, route: Route, path: bytes, headers: Headers, source: str) -> Route:
        if route.split is None:
            return route
        key = None if route.hash_key is None else route.hash_key.of(path, headers, source)
        return route.split.draw(self._rng, (), key)

    def _resolve(self, authority: str) -> tuple[tuple[Rule, ...], Route | None]:
        host = host_of(authority)
        service = self._service_of(host)
        rules = self._exact.get(host) or self._exact.get(service or "")
        if rules is None:
            rules = next((found for suffix, found in self._wildcards if host.endswith(suffix)), ())
        if not rules and service is None and self.default_service is not None:
            service = self.default_service
            rules = self._exact.get(service, ())
        default = None
        if service is not None:
            default = Route(f"default/{service}", service, hash_key=self._hash_keys.get(service))
        if default is not None or rules:  # an unknown host may be known in a moment: it is not remembered
            if len(self._hosts) >= HOSTS_CACHED:
                self._hosts.clear()
            if len(authority) <= HOST_LENGTH:
                self._hosts[authority] = (rules, default)
        return rules, default

    def _service_of(self, host: str) -> str | None:
        """The service that a bare host names: itself, else its first label (`name.namespace.svc...`)."""
        if not host:
            return None
        if self._known is None or self._known(host):
            return host
        label = host.partition(".")[0]
        return label if self._known(label) else None

    def forget(self) -> None:
        """Services came or went: look every host up anew."""
        self._hosts.clear()

    def upstreams(self) -> frozenset[str]:
        """Every destination that a rule names, for a share of the traffic, a copy or a retry."""
        routes = [route for rules in self._all_rules() for rule in rules for route in rule.routes]
        arms = [arm for route in routes if route.split is not None for arm in route.split.arms]
        named = {route.upstream for route in (*routes, *arms)}
        named |= {mirror.upstream for route in routes for mirror in route.mirrors}
        return frozenset(named - {""})

    def reaches(self, key: str) -> bool:
        """Whether requests go to a destination by default: a whole service whose name has no rules."""
        return "|" not in key and key not in self._exact

    def _all_rules(self) -> list[tuple[Rule, ...]]:
        return [*self._exact.values(), *(found for _, found in self._wildcards)]

    def describe(self) -> Mapping[str, object]:
        """For `/config_dump`."""
        return {
            "version": self.version,
            "default_service": self.default_service,
            "hosts": {
                host: [rule.name for rule in rules]
                for host, rules in [*self._exact.items(), *(("*" + s, r) for s, r in self._wildcards)]
            },
        }
