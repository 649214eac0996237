"""The immutable table that a request is matched against; swapped whole, a request keeps the one it began
with.

Order: the host's own rules (exact name, then the longest wildcard, then `*`), within them the first rule in
the document's order whose match holds (Istio's rule), else the default: the service that the host names. A
host with rules of which none matches has no route (NR): that is what its document says.

Without any document every host is the service of that name: `orders`, `orders:80`,
`orders.default.svc.cluster.local`, `orders.mesh` and `orders.localhost` all mean the service `orders`;
`orders.example.com` is somebody else's.

An ingress (a table with a `default_service`) is called by strangers, so there a host names nothing: it
chooses among the rules that are bound to the ingress, and every other request goes to the default service,
by that one's rules.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from ..policy.hash_key import HashKey
from .match import Headers, Match
from .outside import Outside, parts_of, port_of
from .ports import Ports, key_at, port_named
from .route import Route

HOSTS_CACHED: Final = 1024  # hosts come from callers: what is remembered of them must not grow with them
HOST_LENGTH: Final = 260  # of those that are remembered: a DNS name and a port
# A service's other names: Kubernetes', and ours. The mesh's own services are in the namespace `default`; one
# of another namespace is called by both names, `orders.prod`.
CLUSTER: Final = (".svc.cluster.local", ".svc")
OWN: Final = (".default", ".mesh")
# RFC 6761: always this machine, so a browser can be sent to a listener here by a service's name.
LOCALHOST: Final = ".localhost"


def host_of(authority: str) -> str:
    """The host of `host[:port]`, lower case, without brackets or a final dot."""
    host = authority.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    host, colon, port = host.rpartition(":")
    if not colon:
        host = port
    return host.rstrip(".")


def service_name(host: str) -> str:
    """The service that a host without a port is another name of; any other host stays whole."""
    host = host.lower().rstrip(".")
    for suffix in CLUSTER:
        if host.endswith(suffix) and "." in host[1 : -len(suffix)]:
            host = host.removesuffix(suffix)
            break
    for suffix in OWN:
        if host.endswith(suffix) and host != suffix:
            return host.removesuffix(suffix)
    return host


def full_name_of(service: str) -> str:
    """The name that Kubernetes has for a service of the mesh, which patterns of documents are about."""
    full = service if "." in service else f"{service}.default"
    # a name with more dots is one of the internet
    return f"{full}.svc.cluster.local" if full.count(".") == 1 else service


class Rule:
    """One http rule: its matches (none = every request) and, for each of them, the route to take."""

    __slots__ = ("matches", "name", "routes")

    def __init__(self, name: str, matches: Sequence[Match], routes: Sequence[Route]) -> None:
        self.name = name
        self.matches = tuple(matches) or (Match(),)
        self.routes = tuple(routes)  # as many as matches: a rewrite depends on the prefix that matched


class Hosts:
    """Rules by host."""

    __slots__ = ("exact", "wildcards")

    def __init__(self, rules: Mapping[str, Sequence[Rule]]) -> None:
        self.exact = {host: tuple(found) for host, found in rules.items() if "*" not in host}
        wild = [(host[1:], tuple(found)) for host, found in rules.items() if host.startswith("*")]
        self.wildcards = sorted(wild, key=lambda entry: -len(entry[0]))

    def find(self, host: str, service: str, full: str = "") -> tuple[Rule, ...]:
        """The rules of a host, or of the service that it names; a pattern may be of its `full` name."""
        return (
            self.exact.get(host)
            or self.exact.get(service)
            or next(
                (rules for suffix, rules in self.wildcards if host.endswith(suffix) or full.endswith(suffix)),
                (),
            )
        )

    def all(self) -> list[tuple[Rule, ...]]:
        return [*self.exact.values(), *(found for _, found in self.wildcards)]

    def describe(self) -> dict[str, list[str]]:
        pairs = [*self.exact.items(), *(("*" + suffix, found) for suffix, found in self.wildcards)]
        return {host: [rule.name for rule in rules] for host, rules in pairs}


class HashKeys(Protocol):
    """What is hashed to choose an endpoint, by service."""

    def get(self, key: str, /) -> HashKey | None: ...


NO_HASH: Final[Mapping[str, HashKey]] = {}


class RouteTable:
    """`match` finds the route; None = no route (NR).

    `rules`: by host as documents name it (`orders`, `*.shop.example`, `*`). `known(name)`: is there a service
    of that name (None = every host is taken as one). `default_service` makes it an ingress' table, `bound`
    are the rules that are bound to that. `outside`: hosts that documents have, and the registry has not.
    `ports`: the keys of a service's ports that have their own settings.
    """

    __slots__ = (
        "_bound",
        "_hash_keys",
        "_hosts",
        "_known",
        "_ports",
        "_rng",
        "_rules",
        "default_service",
        "outside",
        "version",
    )

    def __init__(
        self,
        rules: Mapping[str, Sequence[Rule]] | None = None,
        default_service: str | None = None,
        version: str = "",
        known: Callable[[str], bool] | None = None,
        rng: random.Random | None = None,
        hash_keys: HashKeys = NO_HASH,
        bound: Mapping[str, Sequence[Rule]] | None = None,
        outside: Outside | None = None,
        ports: Mapping[str, Ports] | None = None,
    ) -> None:
        self.outside = outside or Outside()
        self._ports = ports or {}
        self._hash_keys = hash_keys
        self.default_service = default_service
        self.version = version
        self._known = known
        self._rng = rng or random.Random(0)
        self._rules = Hosts(rules or {})
        self._bound = Hosts(bound or {})
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
                    return self._draw(route.at(host), path, headers, source)
        return None

    def _draw(self, route: Route, path: bytes, headers: Headers, source: str) -> Route:
        if route.split is None:
            return route
        key = None if route.hash_key is None else route.hash_key.of(path, headers, source)
        return route.split.draw(self._rng, (), key)

    def _resolve(self, authority: str) -> tuple[tuple[Rule, ...], Route | None]:
        host = host_of(authority)
        service = self.default_service
        if service is None:
            named, outside = service_name(host), self.outside
            if outside and host and outside.host(host, named) is not None:
                service = outside.find(host, named, port_of(authority))  # before the registry's word
            else:
                service = self._service_of(host)
            known = parts_of(service).service if service else host
            full = full_name_of(service) if service and not outside.has(known) else ""
            rules = self._rules.find(host, known if known != host else named, full)
        else:
            bound = self._bound
            rules = bound.find(host, service_name(host)) or bound.find(service, service)
            rules = rules or self._rules.find(service, service, full_name_of(service))
        default = None
        if service is not None:
            ported, own = self._ports.get(service, {}), self.default_service is None
            key = key_at(service, ported, port_named(authority), own)
            default = Route(f"default/{service}", key, hash_key=self._hash_keys.get(parts_of(key).base))
        if default is not None or rules:  # an unknown host may be known in a moment: it is not remembered
            if len(self._hosts) >= HOSTS_CACHED:
                self._hosts.clear()
            if len(authority) <= HOST_LENGTH:
                self._hosts[authority] = (rules, default)
        return rules, default

    def _service_of(self, host: str) -> str | None:
        """The service that a host names."""
        if not host:
            return None
        if self._known is None or self._known(host):
            return host
        name = service_name(host).removesuffix(LOCALHOST)
        return name if name and self._known(name) else None

    def forget(self) -> None:
        """Services came or went: look every host up anew."""
        self._hosts.clear()

    def upstreams(self) -> frozenset[str]:
        """Every destination that a rule names, for a share of the traffic, a copy or a retry."""
        found = [*self._rules.all(), *self._bound.all()]
        routes = [route for rules in found for rule in rules for route in rule.routes]
        routes += [ported for route in routes for ported in route.by_port.values()]
        arms = [arm for route in routes if route.split is not None for arm in route.split.arms]
        named = {route.upstream for route in (*routes, *arms)}
        named |= {mirror.upstream for route in routes for mirror in route.mirrors}
        return frozenset(named - {""})

    def reaches(self, key: str) -> bool:
        """Whether requests go to a destination by default: a whole service whose name has no rules, at any
        port or at one with settings of its own.
        """
        parts = parts_of(key)
        whole = not parts.subset or key in self._ports.get(parts.service, {}).values()
        if not whole or parts.host:
            return whole
        return not self._rules.find(parts.service, parts.service, full_name_of(parts.service))

    def arms(self) -> dict[str, tuple[str, float]]:
        """Of each destination that a rule splits its requests among: (rule, percent of them)."""
        found: dict[str, tuple[str, float]] = {}
        for rules in (*self._rules.all(), *self._bound.all()):
            for split in {route.split for rule in rules for route in rule.routes if route.split is not None}:
                total = sum(split.weights)
                for arm, weight in zip(split.arms, split.weights, strict=True):
                    if 0 < weight < total:
                        found.setdefault(arm.upstream, (arm.name, 100.0 * weight / total))
        return found

    def describe(self) -> Mapping[str, object]:
        """For `/config_dump`."""
        return {
            "version": self.version,
            "default_service": self.default_service,
            "hosts": self._rules.describe(),
            "bound_hosts": self._bound.describe(),
            "hosts_outside": self.outside.names(),
        }
