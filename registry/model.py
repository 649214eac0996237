"""The nouns of the registry, frozen: a write makes new rows, so a reader never sees half of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

PASSING: Final = "passing"
WARNING: Final = "warning"
CRITICAL: Final = "critical"
STATUSES: Final = (PASSING, WARNING, CRITICAL)

CONSUL_VERSION: Final = "1.8.7"
"""The Consul release whose API this is; clients choose by it what they may ask for."""

NOTHING: Final[Mapping[str, Any]] = {}
"""Shared empty mapping: most rows have no meta, and 5,000 empty dictionaries are half a megabyte."""


def worst(statuses: tuple[str, ...] | list[str]) -> str:
    """The aggregate of checks: one critical makes critical, else one warning makes warning."""
    if CRITICAL in statuses:
        return CRITICAL
    return WARNING if WARNING in statuses else PASSING


@dataclass(frozen=True, slots=True)
class Node:
    """A machine in the catalog."""

    name: str
    address: str
    id: str = ""
    datacenter: str = "dc1"
    tagged_addresses: Mapping[str, str] | None = None
    meta: Mapping[str, str] | None = None
    create_index: int = 0
    modify_index: int = 0


@dataclass(frozen=True, slots=True)
class Service:
    """One instance of a service on a node; `extra` holds Kind, Proxy and Connect as they were sent."""

    node: str
    id: str
    name: str
    address: str = ""
    port: int = 0
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] | None = None
    tagged_addresses: Mapping[str, Mapping[str, Any]] | None = None
    weight_passing: int = 1
    weight_warning: int = 1
    enable_tag_override: bool = False
    extra: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    create_index: int = 0
    modify_index: int = 0


@dataclass(frozen=True, slots=True)
class Check:
    """The catalog's view of one check; a node's check has no `service_id`."""

    node: str
    check_id: str
    name: str
    status: str = CRITICAL
    notes: str = ""
    output: str = ""
    service_id: str = ""
    service_name: str = ""
    service_tags: tuple[str, ...] = ()
    type: str = ""
    definition: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    create_index: int = 0
    modify_index: int = 0


@dataclass(frozen=True, slots=True)
class CheckDefinition:
    """How a check is done; exactly one of `ttl`, `http`, `tcp`, `alias_service`/`alias_node`. Seconds."""

    check_id: str = ""
    name: str = ""
    ttl: float = 0.0
    http: str = ""
    tcp: str = ""
    method: str = ""
    body: str = ""
    header: Mapping[str, tuple[str, ...]] | None = None
    tls_skip_verify: bool = False
    interval: float = 0.0
    timeout: float = 0.0
    alias_service: str = ""
    alias_node: str = ""
    success_before_passing: int = 0
    failures_before_critical: int = 0
    deregister_critical_after: float = 0.0
    status: str = ""
    notes: str = ""

    @property
    def kind(self) -> str:
        """ "ttl", "http", "tcp" or "alias"; "" when the definition says none."""
        if self.http:
            return "http"
        if self.tcp:
            return "tcp"
        if self.alias_service or self.alias_node:
            return "alias"
        return "ttl" if self.ttl else ""


@dataclass(frozen=True, slots=True)
class KVEntry:
    """One key; `session` holds the lock, `lock_index` counts how often it was taken."""

    key: str
    value: bytes
    flags: int = 0
    session: str = ""
    lock_index: int = 0
    create_index: int = 0
    modify_index: int = 0


@dataclass(frozen=True, slots=True)
class Session:
    """A lease that holds locks; `ttl` and `lock_delay` in seconds, no TTL = 0."""

    id: str
    node: str
    name: str = ""
    lock_delay: float = 15.0
    behavior: str = "release"
    ttl: float = 0.0
    ttl_text: str = ""
    node_checks: tuple[str, ...] = ()
    service_checks: tuple[str, ...] = ()
    create_index: int = 0
    modify_index: int = 0


@dataclass(frozen=True, slots=True)
class Document:
    """What is kept as it was sent and read back: `family` is "query", "config/KIND", "intention", …"""

    family: str
    name: str
    body: Mapping[str, Any]
    create_index: int = 0
    modify_index: int = 0


@dataclass(frozen=True, slots=True)
class LocalCheck:
    """A check this agent owns: its definition and the state it is in now, ahead of the catalog."""

    check_id: str
    name: str
    definition: CheckDefinition
    service_id: str = ""
    status: str = CRITICAL
    output: str = ""
    notes: str = ""
    type: str = ""


@dataclass(frozen=True, slots=True)
class UserEvent:
    """A fired event; `payload` is None when there was none."""

    id: str
    name: str
    payload: bytes | None
    node_filter: str = ""
    service_filter: str = ""
    tag_filter: str = ""
    ltime: int = 0
