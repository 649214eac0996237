"""`tcp` and `tls` rules: where a connection goes, by its port and the name that a TLS client asks for.

As in Istio: with `tls` rules the port speaks TLS, and a name that none of them has goes nowhere, unless there
are `tcp` rules too; where only those are and none matches, the connection goes to the service itself.
"""

import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from .ports import Ports, key_at


@dataclass(frozen=True, slots=True)
class ConnectionMatch:
    """`port` of the listener (None = any); `names`, lower case: one is asked for; `*.a.example` is below."""

    port: int | None = None
    names: tuple[str, ...] = ()

    def meets(self, port: int, name: str | None) -> bool:
        if self.port is not None and self.port != port:
            return False
        if not self.names:
            return True
        return name is not None and any(
            name == wanted or (wanted.startswith("*") and name.endswith(wanted[1:])) for wanted in self.names
        )


@dataclass(frozen=True, slots=True)
class ConnectionArm:
    """`fixed`: the document names the port, so that of the listener decides nothing."""

    key: str
    weight: int
    fixed: bool


@dataclass(frozen=True, slots=True)
class ConnectionRule:
    """One `tcp` or `tls` rule; without matches it takes every connection."""

    name: str
    tls: bool
    matches: tuple[ConnectionMatch, ...]
    arms: tuple[ConnectionArm, ...]

    def meets(self, port: int, name: str | None) -> bool:
        return not self.matches or any(match.meets(port, name) for match in self.matches)

    def draw(self, rng: random.Random) -> ConnectionArm:
        """An arm by weight."""
        if len(self.arms) == 1:
            return self.arms[0]
        edges = tuple(accumulate(arm.weight for arm in self.arms))
        return self.arms[bisect_right(edges, rng.random() * edges[-1])]


class ConnectionTable:
    """Immutable, as the table of requests is. `rules`: by host; `ports`: see there."""

    __slots__ = ("_ports", "_rng", "_rules")

    def __init__(
        self,
        rules: Mapping[str, Sequence[ConnectionRule]] | None = None,
        ports: Mapping[str, Ports] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._rules = {host: tuple(found) for host, found in (rules or {}).items()}
        self._ports = ports or {}
        self._rng = rng or random.Random(0)

    def asks_for_names(self, service: str) -> bool:
        """Whether a connection's first bytes are needed to tell where it goes."""
        return any(rule.tls for rule in self._of(service))

    def route(self, service: str, port: int, name: str | None) -> str | None:
        """The upstream key; None = nowhere. `name`: as a TLS client asks for it, None if it is no TLS."""
        rules = self._of(service)
        for tls in (True, False):
            for rule in rules:
                if rule.tls is tls and (name is not None or not tls) and rule.meets(port, name):
                    arm = rule.draw(self._rng)
                    own = arm.key.partition("|")[0] == service
                    return arm.key if arm.fixed else self._at(arm.key, port, own)
        if any(rule.tls for rule in rules) and all(rule.tls for rule in rules):
            return None
        return self._at(service, port, own=True)

    def upstreams(self) -> frozenset[str]:
        """Every destination that a rule names, at any port."""
        keys = {arm.key for rules in self._rules.values() for rule in rules for arm in rule.arms}
        return frozenset(keys | {ported for key in keys for ported in self._ports.get(key, {}).values()})

    def describe(self) -> dict[str, list[str]]:
        """For `/config_dump`."""
        return {host: [rule.name for rule in rules] for host, rules in self._rules.items()}

    def _of(self, service: str) -> tuple[ConnectionRule, ...]:
        found = self._rules.get(service)
        if found is not None or not self._rules:
            return found or ()
        wide = (host for host in self._rules if host.startswith("*") and service.endswith(host[1:]))
        return self._rules.get(max(wide, key=len, default=""), ())

    def _at(self, key: str, port: int, own: bool) -> str:
        return key_at(key, self._ports.get(key, {}), port, own)
