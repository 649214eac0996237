"""Request bodies as rows of the model; DecodeError where Consul's decoder would refuse them."""

from __future__ import annotations

from typing import Any, Final

from registry.codec.fields import DecodeError, Fields, Shape
from registry.model import CRITICAL, Check, CheckDefinition, Node, Service

_CHECK_FIELDS: Final = Shape(
    """
    ID CheckID Name Notes Status ServiceID TTL HTTP TCP Method Body Header TLSSkipVerify Interval
    Timeout AliasService AliasNode SuccessBeforePassing FailuresBeforeCritical FailuresBeforeWarning
    DeregisterCriticalServiceAfter OutputMaxSize Namespace Partition EnterpriseMeta Token ScriptArgs
    Args Script Shell DockerContainerID GRPC GRPCUseTLS TLSServerName H2PING H2PingUseTLS UDP
    OSService DisableRedirects ProxyGRPC ProxyHTTP
    """
)
_SERVICE_FIELDS: Final = Shape(
    """
    ID Name Service Tags Address TaggedAddresses Meta Port Weights EnableTagOverride Check Checks
    Kind Proxy Connect Token Namespace Partition EnterpriseMeta SocketPath Locality ProxyDestination
    """
)
_WEIGHTS: Final = Shape("Passing Warning")
_ADDRESS: Final = Shape("Address Port")
_UNSUPPORTED_CHECKS: Final = frozenset(
    ["ScriptArgs", "Args", "Script", "Shell", "DockerContainerID", "GRPC", "H2PING", "UDP", "OSService"]
)


class Registration:
    """What `agent/service/register` asks for: the instance and its checks, not yet validated."""

    def __init__(self, service: Service, checks: tuple[tuple[CheckDefinition, str], ...]) -> None:
        self.service = service
        self.checks = checks


def check_definition(value: Any) -> tuple[CheckDefinition, str]:
    """A check definition with the service id it names ("" = none)."""
    fields = Fields(value, _CHECK_FIELDS)
    for name in _UNSUPPORTED_CHECKS:
        if fields.raw(name):
            raise DecodeError(
                f'check field "{name}" is not one of the embedded registry: use TTL, HTTP, TCP or alias'
            )
    definition = CheckDefinition(
        check_id=fields.text("CheckID") or fields.text("ID"),
        name=fields.text("Name"),
        ttl=fields.seconds("TTL"),
        http=fields.text("HTTP"),
        tcp=fields.text("TCP"),
        method=fields.text("Method"),
        body=fields.text("Body"),
        header=_header(fields.raw("Header")),
        tls_skip_verify=fields.flag("TLSSkipVerify"),
        interval=fields.seconds("Interval"),
        timeout=fields.seconds("Timeout"),
        alias_service=fields.text("AliasService"),
        alias_node=fields.text("AliasNode"),
        success_before_passing=fields.number("SuccessBeforePassing"),
        failures_before_critical=fields.number("FailuresBeforeCritical"),
        deregister_critical_after=fields.seconds("DeregisterCriticalServiceAfter"),
        status=fields.text("Status"),
        notes=fields.text("Notes"),
    )
    return definition, fields.text("ServiceID")


def _header(value: Any) -> dict[str, tuple[str, ...]] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise DecodeError(
            "json: cannot unmarshal value into Go struct field .Header of type map[string][]string"
        )
    header: dict[str, tuple[str, ...]] = {}
    for name, texts in value.items():
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise DecodeError("json: cannot unmarshal value into Go struct field .Header of type []string")
        header[name] = tuple(texts)
    return header


def registration(value: Any, node: str) -> Registration:
    """The body of `agent/service/register`."""
    fields = Fields(value, _SERVICE_FIELDS)
    name = fields.text("Name")
    checks = [fields.raw("Check")] if "Check" in fields else []
    more = fields.raw("Checks")
    if more is not None and not isinstance(more, list):
        raise DecodeError("json: cannot unmarshal value into Go struct field .Checks of type []CheckType")
    return Registration(
        _service(fields, node, fields.text("ID") or name, name),
        tuple(check_definition(one) for one in [*checks, *(more or [])]),
    )


def _service(fields: Fields, node: str, service_id: str, name: str) -> Service:
    weights = Fields(fields.raw("Weights") or {"Passing": 1, "Warning": 1}, _WEIGHTS)
    extra: dict[str, Any] = {"Kind": fields.text("Kind")}
    extra |= {field: fields.typed(field, {}) for field in ("Proxy", "Connect")}
    extra = {field: value for field, value in extra.items() if value}
    return Service(
        node=node,
        id=service_id,
        name=name,
        address=fields.text("Address"),
        port=fields.number("Port"),
        tags=fields.texts("Tags"),
        meta=fields.text_map("Meta") or None,
        tagged_addresses=_tagged(fields.raw("TaggedAddresses")),
        weight_passing=weights.number("Passing"),
        weight_warning=weights.number("Warning"),
        enable_tag_override=fields.flag("EnableTagOverride"),
        extra=extra,
    )


def _tagged(value: Any) -> dict[str, dict[str, Any]] | None:
    if not value:
        return None
    if not isinstance(value, dict):
        raise DecodeError("json: cannot unmarshal value into Go struct field .TaggedAddresses of type map")
    tagged: dict[str, dict[str, Any]] = {}
    for name, one in value.items():
        fields = Fields(one, _ADDRESS)
        tagged[name] = {"Address": fields.text("Address"), "Port": fields.number("Port")}
    return tagged


class CatalogRegistration:
    """What `catalog/register` asks for: a node, and maybe a service and checks on it."""

    def __init__(
        self, node: Node, service: Service | None, checks: tuple[Check, ...], skip_node: bool
    ) -> None:
        self.node = node
        self.service = service
        self.checks = checks
        self.skip_node = skip_node


_CATALOG_FIELDS: Final = Shape(
    """
    ID Node Address Datacenter TaggedAddresses NodeMeta Service Check Checks SkipNodeUpdate
    WriteRequest Namespace Partition EnterpriseMeta
    """
)
_CATALOG_CHECK_FIELDS: Final = Shape(
    """
    Node CheckID Name Status Notes Output ServiceID ServiceName ServiceTags Type Definition
    CreateIndex ModifyIndex Namespace Partition EnterpriseMeta ExposedPort Interval Timeout
    """
)
_CATALOG_SERVICE_FIELDS: Final = Shape(f"{_SERVICE_FIELDS.names} CreateIndex ModifyIndex")


def catalog_registration(value: Any, datacenter: str) -> CatalogRegistration:
    """The body of `catalog/register`."""
    fields = Fields(value, _CATALOG_FIELDS)
    name = fields.text("Node")
    node = Node(
        name=name,
        address=fields.text("Address"),
        id=fields.text("ID"),
        datacenter=fields.text("Datacenter") or datacenter,
        tagged_addresses=fields.text_map("TaggedAddresses"),
        meta=fields.text_map("NodeMeta"),
    )
    service = catalog_service(fields.raw("Service"), name) if "Service" in fields else None
    checks = [fields.raw("Check")] if "Check" in fields else []
    checks += fields.typed("Checks", [])
    rows = tuple(catalog_check(one, name) for one in checks)
    return CatalogRegistration(node, service, rows, fields.flag("SkipNodeUpdate"))


def catalog_service(value: Any, node: str) -> Service:
    """An instance as `catalog/register` and `txn` write it; the id defaults to the name."""
    fields = Fields(value, _CATALOG_SERVICE_FIELDS)
    name = fields.text("Service")
    return _service(fields, node, fields.text("ID") or name, name)


def catalog_check(value: Any, node: str) -> Check:
    """A check as `catalog/register` and `txn` write it; the id defaults to the name."""
    fields = Fields(value, _CATALOG_CHECK_FIELDS)
    definition = fields.raw("Definition") or {}
    if not isinstance(definition, dict):
        raise DecodeError("json: cannot unmarshal value into Go struct field .Definition of type object")
    return Check(
        node=fields.text("Node") or node,
        check_id=fields.text("CheckID") or fields.text("Name"),
        name=fields.text("Name"),
        status=fields.text("Status") or CRITICAL,
        notes=fields.text("Notes"),
        output=fields.text("Output"),
        service_id=fields.text("ServiceID"),
        type=fields.text("Type"),
        definition=definition,
    )
