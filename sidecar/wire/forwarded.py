"""What proxies in front of an ingress say about the client: `x-forwarded-*`, believed by count of hops.

Envoy's rule (`use_remote_address` with `xff_num_trusted_hops`): each proxy appends the address that it was
called from, so with N trusted proxies in front the Nth entry from the right is the client, and what stands
left of it is whatever the client wrote. With fewer entries somebody came past the proxies, and nothing is
believed.
"""

from __future__ import annotations

import ipaddress

from .events import Header, RequestHead
from .headers import nominated

_FOR = b"x-forwarded-for"
# The chain is written anew, and a certificate is nobody's to tell.
_NOT_TOLD = frozenset((_FOR, b"x-forwarded-client-cert"))


def vouched(head: RequestHead, hops: int) -> list[bytes]:
    """The last `hops` addresses of `x-forwarded-for`, the client's first; empty = there is no such chain."""
    value = head.fields.get(_FOR)
    if value is None or hops < 1:
        return []
    chain = [entry.strip(b" \t") for entry in value.split(b",")][-hops:]
    return chain if len(chain) == hops and _is_address(chain[0]) else []


def told(head: RequestHead) -> list[Header]:
    """The other `x-forwarded-*` of a request whose chain is vouched for: `proto`, `host`, `port`, …"""
    gone = _NOT_TOLD | nominated(head.fields.get(b"connection"))
    return [field for field in head.headers if field[1].startswith(b"x-forwarded-") and field[1] not in gone]


def _is_address(value: bytes) -> bool:
    try:
        ipaddress.ip_address(value.decode("ascii"))
    except ValueError:
        return False
    return True
