"""Hosts that a topology's own ServiceEntries have: a script may call them though no service is named so.

Pure. What the documents say besides is judged by the sidecar's routing.
"""

from collections.abc import Iterable, Mapping
from typing import Any


def hosts_outside(policies: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """As their documents write them, in small letters."""
    found: set[str] = set()
    for policy in policies:
        spec = policy.get("spec")
        if policy.get("kind") == "ServiceEntry" and isinstance(spec, Mapping):
            hosts = spec.get("hosts")
            if isinstance(hosts, list):
                found.update(str(host).lower() for host in hosts)
    return frozenset(found)


def is_outside(callee: str, hosts: frozenset[str]) -> bool:
    """Whether a call's `host` or `host:port` is one of them, or fits a pattern."""
    host, colon, port = callee.lower().partition(":")
    if colon and not (port.isascii() and port.isdigit() and len(port) <= 5):
        return False
    if not hosts or not host:
        return False
    return host in hosts or any(f"*{host[dot:]}" in hosts for dot, letter in enumerate(host) if letter == ".")
