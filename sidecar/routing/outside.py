"""What ServiceEntries compile to: which hosts lie outside the registry, and where each of them is. Pure.

A destination's key is `SERVICE[|SUBSET]`, where the service is the host as its document writes it; behind the
subset stand what else a request chooses, so that metrics, window and place on the page are the service's:

  api.example.com               its usual port: 80 if it has that, else the first
  api.example.com|:8080         another one
  *.example.com|@a.example.com:80       a host that only the request names, and its port
  PassthroughCluster|@b.example.org:80  one that no document has (`outboundTrafficPolicy` ALLOW_ANY)
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

Resolution = Literal["STATIC", "DNS", "DNS_ROUND_ROBIN"]
PASSTHROUGH: Final = "PassthroughCluster"
"""Istio's name for where requests to unknown hosts go."""

HTTP_PORT: Final = 80
_PORT: Final = re.compile(r"[0-9]{1,5}")
# What a request may name that no document does: a host name or an address, and nothing else of a URL's words.
_NAMEABLE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,252}|[0-9a-f:.]{2,45}")


class Place(NamedTuple):
    """An endpoint of a host: an address or a name, and what is known of it."""

    host: str
    port: int
    weight: int = 1
    zone: str = ""
    labels: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one destination is. `external`: none of the mesh's own: told nothing, believed nothing."""

    places: tuple[Place, ...]
    resolution: Resolution
    external: bool = True
    server_name: str = ""  # for TLS, where no rule gives another
    subject_alt_names: tuple[str, ...] = ()
    dynamic: bool = False  # chosen by a request, not by a document


@dataclass(frozen=True, slots=True)
class Host:
    """One host of a ServiceEntry: its entries by port; none = only a request says which host is meant."""

    name: str
    usual_port: int
    entries: Mapping[int, Entry] = field(default_factory=dict)
    ports: frozenset[int] = frozenset()
    external: bool = True
    subject_alt_names: tuple[str, ...] = ()

    @property
    def dynamic(self) -> bool:
        """Whether each host that fits is a destination of its own."""
        return not self.entries


class Parts(NamedTuple):
    """A key taken apart; `port` 0 = the usual one, `host` '' = none of its own."""

    service: str
    subset: str
    port: int
    host: str

    @property
    def base(self) -> str:
        """The key that documents know."""
        return f"{self.service}|{self.subset}" if self.subset else self.service


def parts_of(key: str) -> Parts:
    """`a|v2:80` or `*.a|@b.a:80` taken apart."""
    service, _, rest = key.partition("|")
    subset, at, authority = rest.partition("@")
    host, _, port = authority.rpartition(":") if at else ("", *rest.partition(":")[1:])
    if not at:
        subset = rest.partition(":")[0]
    return Parts(service, subset, int(port) if _PORT.fullmatch(port) else 0, host)


class Outside:
    """All hosts of a set's ServiceEntries, by name."""

    __slots__ = ("_addresses", "_hosts", "_networks", "_wildcards")

    def __init__(
        self,
        hosts: Mapping[str, Host] | None = None,
        addresses: Sequence[tuple[str, Host]] = (),
    ) -> None:
        self._hosts = dict(hosts or {})
        wild = [(name[1:], host) for name, host in self._hosts.items() if name.startswith("*")]
        self._wildcards = sorted(wild, key=lambda entry: -len(entry[0]))
        self._addresses = {address: host for address, host in addresses if "/" not in address}
        self._networks = [
            (ipaddress.ip_network(address, strict=False), host)
            for address, host in addresses
            if "/" in address
        ]

    def __bool__(self) -> bool:
        return bool(self._hosts)

    def has(self, service: str) -> bool:
        """Whether a document has it."""
        return service in self._hosts

    def is_dynamic(self, service: str) -> bool:
        """Whether each host that a request names is a destination of its own."""
        return self._hosts[service].dynamic

    def names(self) -> list[str]:
        """All, as their documents write them."""
        return list(self._hosts)

    def host(self, name: str, service: str = "") -> Host | None:
        """Which host a request's host means: by name, by address, by the longest pattern."""
        found = self._hosts.get(name) or self._hosts.get(service) or self._addresses.get(name)
        if found is not None:
            return found
        for suffix, host in self._wildcards:
            if name.endswith(suffix):
                return host
        if not self._networks:
            return None
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return None
        return next((host for network, host in self._networks if address in network), None)

    def find(self, name: str, service: str, port: int | None) -> str | None:
        """The key for a request's host (`service`: its other name) and port; None = no document has it."""
        host = self.host(name, service)
        if host is None:
            return None
        number = host.usual_port if port is None else port
        if number not in host.ports:
            return None
        if host.dynamic:
            return f"{host.name}|@{name}:{number}" if _NAMEABLE.fullmatch(name) else None
        return _key(host, "", number)

    def at(self, key: str, name: str, service: str, port: int | None) -> str | None:
        """A route's key for a request to this host (`service`: its other name) and port; None = it is none
        that the key could mean.

        As in Istio a route that names no port leads to the one that was asked for, of the same host.
        """
        parts = parts_of(key)
        host = self._hosts.get(parts.service)
        if host is None or parts.host:
            return key
        own = self.host(name, service) is host
        if own and port is not None and port not in host.ports:
            return None
        number = parts.port or (port if own and port is not None else host.usual_port)
        if not host.dynamic:
            return _key(host, parts.subset, number)
        if not own or not _NAMEABLE.fullmatch(name):
            return None
        return f"{host.name}|{parts.subset}@{name}:{number}"

    def key(self, service: str, subset: str, port: int) -> str | None:
        """The key of a route that names a port (so that `at` will not take another one); None = the host has
        no such port.
        """
        host = self._hosts[service]
        return f"{service}|{subset}:{port}" if port in host.ports else None

    def usual(self, key: str) -> str:
        """The key of the same destination that is looked up: a usual port is not named."""
        parts = parts_of(key)
        host = self._hosts.get(parts.service)
        return key if host is None or parts.host else _key(host, parts.subset, parts.port)

    def ports(self, service: str) -> list[int]:
        """The ports of a host."""
        return sorted(self._hosts[service].ports)

    def port(self, key: str) -> int:
        """The port that a key means; 0 where it leads nowhere."""
        parts = parts_of(key)
        host = self._hosts.get(parts.service)
        return parts.port or (0 if host is None else host.usual_port)

    def external(self, service: str) -> bool:
        """Whether a service is none of the mesh's own."""
        return service == PASSTHROUGH or (service in self._hosts and self._hosts[service].external)

    def entry(self, key: str) -> Entry | None:
        """Where a key leads; None = nowhere by these documents."""
        parts = parts_of(key)
        if parts.service == PASSTHROUGH:
            return _dynamic(parts, True, ()) if parts.host else None
        host = self._hosts.get(parts.service)
        if host is None:
            return None
        if host.dynamic:
            return _dynamic(parts, host.external, host.subject_alt_names) if parts.host else None
        return host.entries.get(parts.port or host.usual_port)


def _key(host: Host, subset: str, port: int) -> str:
    base = f"{host.name}|{subset}" if subset else host.name
    if port in (0, host.usual_port):
        return base
    return f"{base}:{port}" if subset else f"{base}|:{port}"


def _dynamic(parts: Parts, external: bool, names: tuple[str, ...]) -> Entry:
    return Entry((Place(parts.host, parts.port),), "DNS", external, parts.host, names, dynamic=True)


def passthrough_key(host: str, port: int | None) -> str | None:
    """Of a host that no document and no registry has; None = it is none that could be asked for."""
    if not _NAMEABLE.fullmatch(host) or port == 0:
        return None
    return f"{PASSTHROUGH}|@{host}:{port or HTTP_PORT}"


def port_of(authority: str) -> int | None:
    """The port of `host:port`; None when there is none, 0 when it is none that there can be."""
    host, colon, port = authority.strip().rpartition(":")
    if not colon or (host.startswith("[") and not host.endswith("]")) or not port:
        return None
    return int(port) if _PORT.fullmatch(port) and int(port) < 65536 else 0
