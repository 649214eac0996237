"""The topology file as it is written: isotope's `MockServiceGraph` and our keys, in pydantic models.

A key beside "no meaning here" is accepted because isotope's files have it, and changes nothing.
Tags in angle brackets mark union members in pydantic's error paths; `script.py` drops them.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from services.errors import FieldError
from services.fields import (
    Command,
    Duration,
    Flag,
    GraphKind,
    Headers,
    HttpPath,
    Label,
    Labels,
    Method,
    Name,
    Part,
    Port,
    Probability,
    Rate,
    Replicas,
    ServiceType,
    Share,
    Size,
    Text,
    TrafficMode,
    kind_of,
)
from services.latency import Latency

_STEP_REMEDY = 'write "sleep: 10ms", "call: name", or a list of those to run them at once'


class CallDocument(Part):
    """`call: B`, or a mapping with what the request is like."""

    service: Text  # not Name: what matters is whether there is one, and isotope's words are kept
    size: Size | None = None
    payload_size: Size | None = Field(
        default=None, alias="payloadSize"
    )  # isotope's README says it for `size`
    probability: Probability | None = None
    extra_header: Headers = Field(default_factory=dict, alias="extra-header")
    hostname: Text | None = None  # no meaning here: the mesh finds a service by its name
    # ours
    method: Method = "GET"
    path: HttpPath = "/"
    timeout: Duration | None = None
    required: Flag = True
    versions: tuple[Label, ...] = ()  # whose replicas make the call; none named = all

    @model_validator(mode="after")
    def _one_size(self) -> "CallDocument":
        _one_of(self, "size", "payloadSize")
        if self.timeout == 0:
            raise FieldError(
                "a call cannot be answered in no time", 'write "100ms", or leave it out', "timeout"
            )
        return self


class StepDocument(Part):
    """One step: a sleep or a call."""

    sleep: Duration | None = None
    call: Annotated[CallDocument, BeforeValidator(lambda value: _as_call(value))] | None = None

    @model_validator(mode="after")
    def _one_command(self) -> "StepDocument":
        if (self.sleep is None) == (self.call is None):
            raise FieldError('a step is one of "sleep" and "call"', _STEP_REMEDY)
        return self


def _as_call(value: object) -> object:
    return value if isinstance(value, dict) else {"service": value}


def _as_step(value: object) -> object:
    if isinstance(value, list):
        raise FieldError(
            "a list inside a list of steps that run at once",
            "isotope's scripts nest one level; name each call there",
        )
    if not isinstance(value, dict):
        raise FieldError(f"{kind_of(value)} is not a step", _STEP_REMEDY)
    return value


_Step = Annotated[StepDocument, BeforeValidator(_as_step)]
ScriptItem = Annotated[
    Annotated[_Step, Tag("<step>")] | Annotated[tuple[_Step, ...], Tag("<at-once>")],
    Discriminator(lambda value: "<at-once>" if isinstance(value, list) else "<step>"),
]


class HealthDocument(Part):
    """How the sidecar asks the app for its health."""

    path: HttpPath | None = None
    interval: Duration = 1.0

    @model_validator(mode="after")
    def _not_too_often(self) -> "HealthDocument":
        if self.interval < MIN_HEALTH_INTERVAL_S:
            raise FieldError("more often than every 100ms", 'write "100ms" or more', "interval")
        return self


MAX_LABELS_TEXT = 512  # all of them stand in one value of Consul's Meta, which is no longer
# Ten questions a second cost an idle replica about one percent of a core.
MIN_HEALTH_INTERVAL_S = 0.1


class SettingsDocument(Part):
    """What stands in `defaults` and in each service."""

    type: ServiceType = "http"
    error_rate: Share = Field(default=0.0, alias="errorRate")
    request_size: Size = Field(default=0, alias="requestSize")
    response_size: Size = Field(default=0, alias="responseSize")
    script: tuple[ScriptItem, ...] = ()
    num_replicas: Replicas = Field(default=1, alias="numReplicas")
    # isotope's, without meaning here: they describe Kubernetes' side of things
    num_rbac_policies: Any = Field(default=None, alias="numRbacPolicies")
    memory_usage: Any = Field(default=None, alias="memoryUsage")
    compute_usage: Any = Field(default=None, alias="computeUsage")
    # ours
    latency: Latency | None = None
    version: Label | None = None
    versions: tuple[Label, ...] | None = None
    zone: Label | None = None
    zones: tuple[Label, ...] | None = None
    health: HealthDocument | None = None

    @model_validator(mode="after")
    def _one_or_many(self) -> "SettingsDocument":
        for one, many in (("version", "versions"), ("zone", "zones")):
            _one_of(self, one, many)
            if getattr(self, many) == ():
                raise FieldError("the list is empty", f'leave out "{many}"', many)
        return self


class ServiceDocument(SettingsDocument):
    """One service."""

    name: Name
    is_entrypoint: Flag = Field(default=False, alias="isEntrypoint")
    # isotope's, without meaning here
    namespace: Any = None
    cluster: Any = None
    # isotope's too: what subsets and sourceLabels of policies ask for
    labels: Labels = Field(default_factory=dict)
    # ours
    command: Command | None = None
    port: Port | None = None

    @model_validator(mode="after")
    def _labels_of_its_own(self) -> "ServiceDocument":
        for key in ("app", "version", "zone"):
            if key in self.labels:
                remedy = "leave it out: it is the service's name" if key == "app" else f'write "{key}: ..."'
                raise FieldError(f'the label "{key}" is the mesh\'s own', remedy, "labels")
        if len(",".join(f"{key}={value}" for key, value in self.labels.items())) > MAX_LABELS_TEXT:
            raise FieldError("the labels are too long", "use fewer or shorter ones", "labels")
        return self

    @model_validator(mode="after")
    def _command_runs_itself(self) -> "ServiceDocument":
        if self.command is None:
            return self
        for name in ("script", "latency", "error_rate", "request_size", "response_size"):
            if name in self.model_fields_set:
                key = type(self).model_fields[name].alias or name
                raise FieldError(
                    "a service with a command does what its program does", "remove one of them", key
                )
        return self


class LoadDocument(Part):
    """The traffic that starts with the mesh."""

    rate: Rate
    pattern: Text | None = None


class IngressDocument(Part):
    """The one stable address in front of the entrypoint."""

    port: Port | None = None


class OutboundTrafficPolicyDocument(Part):
    """Istio's, of the whole mesh: what becomes of a host that neither the registry nor a document has."""

    mode: TrafficMode


class TopologyDocument(Part):
    """The whole file."""

    api_version: Text | None = Field(default=None, alias="apiVersion")
    kind: GraphKind = "MockServiceGraph"
    defaults: SettingsDocument | None = None
    default: SettingsDocument | None = None  # isotope's README spells it so, its parser the other way
    services: tuple[ServiceDocument, ...]
    # ours
    policies: tuple[dict[str, Any], ...] = ()
    load: LoadDocument | None = None
    ingress: IngressDocument | None = None
    outbound_traffic_policy: OutboundTrafficPolicyDocument | None = Field(
        default=None, alias="outboundTrafficPolicy"
    )

    @model_validator(mode="after")
    def _whole(self) -> "TopologyDocument":
        _one_of(self, "defaults", "default")
        if not self.services:
            raise FieldError(
                "no service is named", 'write "- name: hello" with "isEntrypoint: true"', "services"
            )
        return self

    @property
    def shared(self) -> SettingsDocument:
        """What holds for every service that does not say otherwise."""
        return self.defaults or self.default or SettingsDocument()

    def setting(self, service: ServiceDocument, name: str) -> Any:
        """A service's own setting, else the shared one, else isotope's default."""
        return getattr(service if name in service.model_fields_set else self.shared, name)

    def one_or_many(self, service: ServiceDocument, one: str, many: str, otherwise: str) -> tuple[str, ...]:
        """A setting that has a plural: the service's in either spelling, else the shared one's."""
        for source in (service, self.shared):
            if getattr(source, many):
                return tuple(getattr(source, many))
            if getattr(source, one):
                return (getattr(source, one),)
        return (otherwise,)


def _one_of(part: Part, one: str, other: str) -> None:
    """FieldError when both spellings of the same thing are given."""
    by_key = {field.alias or name: name for name, field in type(part).model_fields.items()}
    if {by_key[one], by_key[other]} <= part.model_fields_set:
        raise FieldError(f'"{one}" and "{other}" say the same thing', "keep one of them", other)
