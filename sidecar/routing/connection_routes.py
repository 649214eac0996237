"""A VirtualService's `tcp` and `tls` rules: where connections go that are not read as HTTP."""

from collections.abc import Sequence
from typing import ClassVar, Final

from pydantic import Field, field_validator, model_validator

from .destination import Destination
from .fields import Base
from .words import HostName, Label, Name

CONNECTION_RULES_MAX: Final = 256
"""Rules of a document, matches of one, names of a match: a connection walks through them."""


class L4MatchAttributes(Base):
    """A connection: by the port of the listener, and by who makes it."""

    not_honoured: ClassVar[dict[str, str]] = {
        "destinationSubnets": "connections come to a listener of the sidecar; use port",
        "sourceSubnet": "the app is on the sidecar's own machine; use sourceLabels",
    }
    port: int | None = Field(default=None, ge=1, le=65535)
    sourceLabels: dict[Label, Label] = Field(default_factory=dict)
    sourceNamespace: Name = ""
    gateways: list[Name] = Field(default_factory=list)

    def names(self) -> tuple[str, ...]:
        """Those of TLS clients; none = whatever they are, if any."""
        return ()


class TLSMatchAttributes(L4MatchAttributes):
    """And by the name that its client asks for; `*.example.com` is every name below."""

    sniHosts: list[HostName] = Field(min_length=1, max_length=CONNECTION_RULES_MAX)

    @field_validator("sniHosts")
    @classmethod
    def _patterns(cls, value: list[str]) -> list[str]:
        for name in value:
            if "*" in name and not (name == "*" or (name.startswith("*.") and "*" not in name[1:])):
                raise ValueError(f"{name!r}: only * and *.domain are patterns")
        return value

    def names(self) -> tuple[str, ...]:
        return tuple(name.lower() for name in self.sniHosts)


class RouteDestination(Base):
    """One arm of a split of connections."""

    destination: Destination
    weight: int = Field(default=0, ge=0, le=1_000_000)


class ConnectionRoute(Base):
    """Where connections go."""

    route: list[RouteDestination] = Field(min_length=1, max_length=CONNECTION_RULES_MAX)

    @model_validator(mode="after")
    def _weighted(self) -> "ConnectionRoute":
        if len(self.route) > 1 and not sum(arm.weight for arm in self.route):
            raise ValueError("route: with several destinations at least one needs a weight above 0")
        return self

    def matches(self) -> Sequence[L4MatchAttributes]:
        """One of them must hold; none = every connection."""
        return ()


class TCPRoute(ConnectionRoute):
    """For connections of any protocol."""

    match: list[L4MatchAttributes] = Field(default_factory=list, max_length=CONNECTION_RULES_MAX)

    def matches(self) -> Sequence[L4MatchAttributes]:
        return self.match


class TLSRoute(ConnectionRoute):
    """For TLS connections, which are not decrypted."""

    match: list[TLSMatchAttributes] = Field(min_length=1, max_length=CONNECTION_RULES_MAX)

    def matches(self) -> Sequence[L4MatchAttributes]:
        return self.match


def within(name: str, host: str) -> bool:
    """Whether every name that is meant is one that the host means."""
    name, host = name.lower(), host.lower()
    return name == host or (host.startswith("*") and name.removeprefix("*").endswith(host[1:]))
