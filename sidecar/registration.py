"""How the registry knows this sidecar: name, addresses and labels as callers and tools need them."""

from __future__ import annotations

from collections.abc import Mapping

from registry.client import CheckDefinition, ServiceRegistration

from .config import Config, parse_advertised
from .labels import in_meta

# With a heartbeat each second, four may be lost.
TTL_S = 5.0
# An instance that was killed stays visible as critical for this long.
DEREGISTER_AFTER_S = 600.0


def registration(config: Config, bound: Mapping[str, str]) -> ServiceRegistration:
    """The record of the service instance behind `bound["inbound"]`."""
    address, _, port = bound["inbound"].rpartition(":")
    # for scrapers and operators: the status listener is there for other machines, where there is one
    door = "status" if "status" in bound else "admin"
    at = bound.get(door)
    if config.advertise is not None:
        # in a container: what is bound is 0.0.0.0, what callers know is a name
        advertised = parse_advertised(config.advertise, "--advertise")
        address, port = advertised.host, str(advertised.port or port)
        if at is not None:
            at = f"{address}:{at.rpartition(':')[2]}"
    meta = {
        "version": config.version,
        "zone": config.zone,
        "instance": config.name,
        "app_address": str(config.app),
        **in_meta(config.labels),
    }
    if at is not None:
        meta[door] = at
    return ServiceRegistration(
        id=config.name,
        name=config.service,
        address=address,
        port=int(port),
        tags=(config.version,),
        meta=meta,
        checks=(
            CheckDefinition(
                check_id=f"service:{config.name}",
                ttl=TTL_S,
                deregister_critical_after=DEREGISTER_AFTER_S,
            ),
        ),
    )
