"""Prepared queries as they are sent, filled up to what Consul answers with."""

from __future__ import annotations

from typing import Any, Final

from registry.codec.fields import DecodeError, Fields, Shape
from registry.durations import parse_duration
from registry.errors import RegistryError
from registry.templates import check

_QUERY: Final = Shape("ID Name Session Token Template Service DNS CreateIndex ModifyIndex")
_TEMPLATE: Final = Shape("Type Regexp RemoveEmptyTags")
_SERVICE: Final = Shape(
    "Service Failover OnlyPassing IgnoreCheckIDs Near Tags NodeMeta ServiceMeta Connect Namespace"
)
_FAILOVER: Final = Shape("NearestN Datacenters")
_DNS: Final = Shape("TTL")


class QueryError(RegistryError):
    """A prepared query that cannot be kept, in Consul's words."""


def prepared(value: Any) -> dict[str, Any]:
    """The definition without its id and indexes; DecodeError, QueryError or TemplateError when it is none."""
    fields = Fields(value, _QUERY)
    template = Fields(fields.raw("Template") or {}, _TEMPLATE)
    service = Fields(fields.raw("Service") or {}, _SERVICE)
    failover = Fields(service.raw("Failover") or {}, _FAILOVER)
    dns = Fields(fields.raw("DNS") or {}, _DNS)
    definition: dict[str, Any] = {
        "Name": fields.text("Name"),
        "Session": fields.text("Session"),
        "Token": fields.text("Token"),
        "Template": {
            "Type": template.text("Type"),
            "Regexp": template.text("Regexp"),
            "RemoveEmptyTags": template.flag("RemoveEmptyTags"),
        },
        "Service": {
            "Service": service.text("Service"),
            "Failover": {
                "NearestN": failover.number("NearestN"),
                "Datacenters": list(failover.texts("Datacenters")) or None,
            },
            "OnlyPassing": service.flag("OnlyPassing"),
            "IgnoreCheckIDs": list(service.texts("IgnoreCheckIDs")) or None,
            "Near": service.text("Near"),
            "Tags": list(service.texts("Tags")) or None,
            "NodeMeta": service.text_map("NodeMeta"),
            "ServiceMeta": service.text_map("ServiceMeta"),
            "Connect": service.flag("Connect"),
        },
        "DNS": {"TTL": _ttl(dns)},
    }
    _validate(definition)
    return definition


def _ttl(dns: Fields) -> str:
    value = dns.raw("TTL")
    if value is not None and not isinstance(value, str):
        raise DecodeError("json: cannot unmarshal number into Go struct field .DNS.TTL of type string")
    return value or ""


def _validate(definition: dict[str, Any]) -> None:
    template, service = definition["Template"], definition["Service"]
    if not (definition["Name"] or template["Type"] or definition["Session"]):
        raise QueryError("Invalid prepared query: Must be bound to a session")
    if template["Type"]:
        check(template, service)
    if not service["Service"]:
        raise QueryError("Invalid prepared query: Must provide a Service name to query")
    nearest = service["Failover"]["NearestN"]
    if nearest < 0:
        raise QueryError(f"Invalid prepared query: Bad NearestN '{nearest}', must be >= 0")
    if ttl := definition["DNS"]["TTL"]:
        try:
            seconds = parse_duration(ttl)
        except ValueError as bad:
            why = f"Bad DNS TTL '{ttl}': time: invalid duration \"{ttl}\""
            raise QueryError(f"Invalid prepared query: {why}") from bad
        if seconds < 0:
            raise QueryError(f"Invalid prepared query: DNS TTL '{round(seconds * 1e9)}', must be >=0")
