"""Where a request comes from: this machine or another, a program or a page in somebody's browser.

A page on the internet can make a browser send requests to 127.0.0.1. By DNS rebinding it can even read the
answers, but then the Host header carries the page's own name. Otherwise the browser says in Origin, and in
Sec-Fetch-Site, where the page came from. No such header is believed to allow anything; each can only forbid.
"""

import ipaddress
from collections.abc import Mapping
from functools import lru_cache

# As many callers and names as use one listener at a time; what is not kept is worked out again.
KEPT = 256


@lru_cache(KEPT)
def is_loopback(peer: str | None) -> bool:
    """Whether the address at the other end of the connection is this machine's own."""
    address = _address(peer or "")
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # of a listener that is bound to ::
    return address is not None and address.is_loopback


def is_loopback_host(host: str) -> bool:
    """Whether who listens there is reached from this machine alone."""
    return host == "localhost" or is_loopback(host)


@lru_cache(KEPT)
def names_this_machine(host: str) -> bool:
    """Whether a Host header is `localhost` or an address, with or without a port.

    Any other name is one that somebody's DNS answers for: this machine now, and a stranger's a moment ago.
    """
    if host.startswith("["):
        inside, _, after = host[1:].partition("]")
        return _address(inside) is not None and (not after or after.startswith(":"))
    name = host.partition(":")[0]
    return name.lower() == "localhost" or _address(name) is not None


def foreign_page(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a browser says that another site's page asks; a link may open what a person then sees."""
    origin = headers.get("Origin")
    if origin is not None and origin.lower() != f"http://{headers.get('Host', '')}".lower():
        return True
    if headers.get("Sec-Fetch-Site") not in ("cross-site", "same-site"):
        return False
    opened = headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
    return not (opened and method == "GET")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
