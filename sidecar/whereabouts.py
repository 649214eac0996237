"""Where the hosts of ServiceEntries are: endpoints of the addresses that documents write, or that DNS says.

Names are asked again every few seconds for as long as somebody may go there. An answer replaces the last one
whole; a name that cannot be resolved keeps what it had, as a registry that is gone does.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from .balance.endpoints import EndpointSpec
from .boundary import Boundary
from .resolver import Resolver
from .routing.outside import Entry, Place

# Envoy's dns_refresh_rate. The system's resolver does not tell how long an answer holds.
REFRESH_S = 5.0
# Of one host. Istio takes as many endpoints in a document; each may be a name with several addresses.
ENDPOINTS = 4096


class Found(NamedTuple):
    """Endpoints, and in words why there are not more."""

    specs: list[EndpointSpec]
    problems: list[str]


class Whereabouts:
    """Of all entries; keeps nothing of any.

    Args:
        sleep: as `asyncio.sleep`.
    """

    def __init__(
        self, resolver: Resolver, boundary: Boundary, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._resolver = resolver
        self._boundary = boundary
        self._sleep = sleep

    def at_once(self, entry: Entry) -> Found | None:
        """What a document says itself; None = names have to be asked."""
        if entry.dynamic or not all(_is_address(place.host) for place in entry.places):
            return None
        found = Found([], [])
        for place in entry.places:
            self._add(found, place, place.host, self._boundary.of_document(place.host, place.port))
        return found

    async def ask(self, entry: Entry) -> Found:
        """What the names of an entry are now."""
        found = Found([], [])
        for place in entry.places:
            if not entry.dynamic and _is_address(place.host):
                self._add(found, place, place.host, self._boundary.of_document(place.host, place.port))
                continue
            try:
                addresses = await self._addresses(place.host)
            except OSError as error:
                found.problems.append(f"{place.host}: {error.strerror or error}")
                continue
            for address in addresses[:1] if entry.resolution == "DNS_ROUND_ROBIN" else addresses:
                refused = self._boundary.of_name(place.host, address, place.port)
                self._add(found, place, address, refused)
        return found

    async def pause(self) -> None:
        """Until names are to be asked again."""
        await self._sleep(REFRESH_S)

    async def _addresses(self, host: str) -> list[str]:
        return [host] if _is_address(host) else await self._resolver.addresses(host)

    @staticmethod
    def _add(found: Found, place: Place, address: str, refused: str) -> None:
        if refused:
            found.problems.append(refused)
        elif len(found.specs) < ENDPOINTS:
            found.specs.append(_spec(place, address))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _spec(place: Place, address: str) -> EndpointSpec:
    shown = f"[{address}]" if ":" in address else address
    version = place.labels.get("version", "")
    return EndpointSpec(
        f"{shown}:{place.port}",
        address,
        place.port,
        weight=place.weight,
        zone=place.zone,
        version=version,
        meta=place.labels,
    )
