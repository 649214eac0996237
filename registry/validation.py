"""What Consul's agent refuses in a definition, in its words, and how it fills one up."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace

from registry.checks import MIN_INTERVAL
from registry.errors import BadRequest
from registry.model import STATUSES, CheckDefinition, Service

MAX_META_PAIRS = 64
MAX_META_KEY = 128
MAX_META_VALUE = 512
_META_KEY = re.compile(r"[a-zA-Z0-9_-]+")


def _refuse(message: str) -> BadRequest:
    return BadRequest(message, status=400)


def validate_service(service: Service) -> None:
    """BadRequest when this instance cannot be registered."""
    if not service.name:
        raise _refuse("Missing service name")
    if service.address in ("0.0.0.0", "::", "[::]"):
        raise _refuse("Invalid service address")
    if service.weight_passing < 1:
        raise _refuse("Invalid Weights: Passing must be greater than 0")
    if service.weight_warning < 0:
        raise _refuse("Invalid Weights: Warning must be greater than or equal than 0")
    if service.weight_passing > 65535 or service.weight_warning > 65535:
        raise _refuse("Invalid Weights: DNS Weight must be between 0 and 65535")
    meta = service.meta or {}
    if len(meta) > MAX_META_PAIRS:
        raise _refuse(
            f"Invalid Service Meta: Node metadata cannot contain more than {MAX_META_PAIRS} key/value pairs"
        )
    for key, value in meta.items():
        if problem := _meta_problem(key, value):
            raise _refuse(
                f"Invalid Service Meta: Couldn't load metadata pair ('{key}', '{value}'): {problem}"
            )


def _meta_problem(key: str, value: str) -> str:
    if not key:
        return "Key cannot be blank"
    if not _META_KEY.fullmatch(key):
        return "Key contains invalid characters"
    if len(key) > MAX_META_KEY:
        return f"Key is too long (limit: {MAX_META_KEY} characters)"
    if key.startswith("consul-"):
        return "Key prefix 'consul-' is reserved for internal use"
    if len(value) > MAX_META_VALUE:
        return f"Value is too long (limit: {MAX_META_VALUE} characters)"
    return ""


def validate_check(check: CheckDefinition) -> None:
    """BadRequest when this check cannot run."""
    if check.status and check.status not in STATUSES:
        raise _refuse("Status for checks must 'passing', 'warning', 'critical'")
    runs = bool(check.http or check.tcp)
    if runs and check.interval <= 0:
        raise _refuse("Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks")
    if runs and check.ttl:
        raise _refuse("Invalid check: Interval and TTL cannot both be specified")
    if not runs and not (check.alias_service or check.alias_node) and check.ttl <= 0:
        raise _refuse("Invalid check: TTL must be > 0 for TTL checks")


def normalise_service(service: Service) -> Service:
    """As the agent stores it: an address also stands in the tagged addresses of its family."""
    if not service.address or (service.tagged_addresses and "lan" in service.tagged_addresses):
        return service
    try:
        version = ipaddress.ip_address(service.address).version
    except ValueError:
        return service
    own = {"Address": service.address, "Port": service.port}
    tagged = {f"lan_ipv{version}": own, f"wan_ipv{version}": own, **(service.tagged_addresses or {})}
    return replace(service, tagged_addresses=tagged)


def effective_interval(check: CheckDefinition) -> float:
    """Seconds between runs, with Consul's floor."""
    return max(check.interval, MIN_INTERVAL)
