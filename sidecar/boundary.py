"""Where a document or a request may lead this sidecar, outside of the registry. Pure.

Whoever is led through a sidecar reaches what the sidecar reaches, and behind an ingress that may be a
stranger. So these are the rules of ServiceEntry and of `outboundTrafficPolicy: ALLOW_ANY`:

1. The registry's own catalog entry is no host and no endpoint (`routing.compile_entry`, `discovery`).
2. This sidecar's own listeners, its registry and where its spans go (the mesh's control API) are nobody's
   endpoint, however they are written: the app may call them itself, and then they see who asks. (An address
   that only DNS knows to be the registry's is not recognised; what acts there needs its token.)
3. This machine's own addresses (loopback, unspecified), link-local ones (a cloud's metadata service) and
   multicast are reached only where a document writes the address itself, with resolution STATIC. What DNS
   says, or what a request names, never leads there: a name of somebody else's could say it at any time.
   The address that was checked is the one that is connected to.
4. An ingress never passes a stranger's host on: there ALLOW_ANY is refused at the start.
5. Hosts of MESH_EXTERNAL are not told who we are, and not believed what they say in the mesh's name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

LOCAL = "this machine"


class Boundary:
    """Judges addresses.

    Args:
        protected: HOST:PORT of what nobody is led to; asked each time, for ports may be bound later.
    """

    def __init__(self, protected: Callable[[], Iterable[str]] = tuple) -> None:
        self._protected = protected

    def of_document(self, address: str, port: int) -> str:
        """Why an address that a document writes is not used; '' = it is."""
        wanted = (_place(address), port)
        for each in self._protected():
            host, _, number = each.rpartition(":")
            if number.isdigit() and wanted == (_place(host), int(number)):
                return f"{address}:{port} is the mesh's own: no document leads there"
        return ""

    def of_name(self, name: str, address: str, port: int) -> str:
        """Why an address that DNS says, or a request names, is not used; '' = it is."""
        found = _address(address)
        if found is None or found.is_loopback or found.is_unspecified:
            return f"{name} is {address}, this machine: a document that means it says STATIC and the address"
        if found.is_link_local or found.is_multicast:
            return f"{name} is {address}: nobody is led to link-local and multicast addresses by a name"
        return self.of_document(address, port) or self.of_document(name, port)


def netloc(url: str) -> str:
    """HOST:PORT of a URL, or of HOST:PORT, with the scheme's port where it says none."""
    parts = urlsplit(url if "//" in url else f"http://{url}")
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _place(host: str) -> str:
    """The same for all ways to write the same address, as far as that can be known without asking."""
    found = _address(host)
    if found is None:
        host = host.lower().rstrip(".")
        return LOCAL if host == "localhost" else host
    return LOCAL if found.is_loopback or found.is_unspecified else str(found)
