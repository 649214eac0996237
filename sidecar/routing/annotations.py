"""What Istio's fields cannot say: annotations `mesh/...`, each a small YAML or JSON value, validated like a
field.
"""

import functools
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, model_validator

from .fields import Base, Duration, Share, Size
from .plain import NotPlain, read_yaml
from .words import HeaderValue, HostName, Name

# All copies of a sidecar have 64 MiB for their bodies together.
MIRROR_MAX_BODY_MOST: Final = 64 * 1024 * 1024


class BreakerNote(Base):
    """`mesh/breaker`: the knobs of policy/trip_rules.py; absent ones keep their value."""

    enabled: bool | None = None
    certainRun: int | None = Field(default=None, ge=1, le=1000)
    silentRun: int | None = Field(default=None, ge=1, le=1000)
    failureRun: int | None = Field(default=None, ge=1, le=10_000)
    forgive: float | None = Field(default=None, ge=0.0, le=1e9)
    failureRatio: Share | None = None
    slowRatio: Share | None = None
    window: Duration | None = Field(default=None, ge=0.1, le=3600.0)
    openTime: Duration | None = Field(default=None, ge=0.001, le=3600.0)
    maxOpenTime: Duration | None = Field(default=None, ge=0.001, le=86_400.0)
    permits: int | None = Field(default=None, ge=1, le=100)
    need: int | None = Field(default=None, ge=1, le=100)
    probeDeadline: Duration | None = Field(default=None, ge=0.01, le=600.0)
    ramp: list[Share] | None = Field(default=None, max_length=100)
    rampTime: Duration | None = Field(default=None, ge=0.0, le=3600.0)
    minReady: Share | None = None


class AdmissionNote(Base):
    """`mesh/admission`: what happens when every endpoint is bad."""

    k: float = Field(default=2.0, ge=1.0, le=10.0)
    cap: Share = 90.0
    window: Duration = Field(default=5.0, ge=1.0, le=60.0)


class HedgeNote(Base):
    """`mesh/hedge`: a second attempt beside a late first one."""

    quantile: Literal[50, 95, 99] = 95
    minDelay: Duration = Field(default=0.002, ge=0.0, le=60.0)


class StaticNote(Base):
    """An answer as it is."""

    status: int = Field(default=200, ge=200, le=599)
    body: str = Field(default="", max_length=65_536)
    contentType: HeaderValue = "application/json"


class FallbackNote(Base):
    """`mesh/fallback`: exactly one of static, host (with subset), lastGood (GET only: how old it may be)."""

    static: StaticNote | None = None
    host: HostName | None = None
    subset: Name | None = None
    lastGood: Duration | None = Field(default=None, ge=0.1, le=86_400.0)

    @model_validator(mode="after")
    def _one_way(self) -> "FallbackNote":
        if sum(value is not None for value in (self.static, self.host, self.lastGood)) != 1:
            raise ValueError("give exactly one of static, host, lastGood")
        if self.subset is not None and self.host is None:
            raise ValueError("subset needs host")
        return self


class RateNote(Base):
    """`rate` tokens a second into a bucket of `burst` (default: one second's worth, at least 1)."""

    rate: float = Field(gt=0.0, le=1e9)
    burst: float | None = Field(default=None, ge=1.0, le=1e9)


class RateLimitNote(Base):
    """`mesh/rate-limit`: at the called service's sidecars, per process."""

    total: RateNote | None = None
    perCaller: RateNote | None = None
    overrides: dict[Name, RateNote] = Field(default_factory=dict)
    shadow: bool = False

    @model_validator(mode="after")
    def _something(self) -> "RateLimitNote":
        if self.total is None and self.perCaller is None and not self.overrides:
            raise ValueError("limits nothing: give total, perCaller or overrides")
        return self


class ConcurrencyNote(Base):
    """`mesh/concurrency`: the adaptive limit at the called service's sidecars."""

    enabled: bool = True
    initial: int = Field(default=100, ge=1, le=1_000_000)
    floor: int = Field(default=5, ge=1, le=1_000_000)
    ceiling: int = Field(default=1000, ge=1, le=1_000_000)


Wait = Annotated[Duration, Field(ge=0.0, le=60.0)]
_RULE: Final[dict[str, Any]] = {
    "mesh/breaker": BreakerNote,
    "mesh/admission": AdmissionNote,
    "mesh/hedge": HedgeNote,
    "mesh/fallback": FallbackNote,
    "mesh/rate-limit": RateLimitNote,
    "mesh/concurrency": ConcurrencyNote,
    "mesh/empty-subset": Literal["reject", "any"],
    "mesh/max-wait": Wait,
    "mesh/early-hedge": bool,
}
_SERVICE: Final[dict[str, Any]] = {
    "mesh/rate-limit": RateLimitNote,
    "mesh/retry-unsafe": bool,
    "mesh/retry-other-arm": bool,
    "mesh/fault-at": Literal["caller", "callee"],
    "mesh/mirror-max-body": Annotated[Size, Field(ge=0, le=MIRROR_MAX_BODY_MOST)],
}
KNOWN: Final = {"DestinationRule": _RULE, "VirtualService": _SERVICE, "ServiceEntry": {}, "Fault": {}}


def read_annotation(kind: str, name: str, text: str) -> Any:
    """The annotation's value; ValueError or ValidationError if it is wrong. `name` must be known."""
    return _adapter(kind, name).validate_python(read_note(kind, name, text))


def read_note(kind: str, name: str, text: str) -> Any:
    """The same before it is validated; nothing at all is an empty mapping where one is wanted."""
    try:
        found = read_yaml(text)
    except NotPlain as error:
        raise ValueError(f"is neither YAML nor JSON: {error}") from error
    if len(found) > 1:
        raise ValueError("is more than one YAML document")
    raw = found[0] if found else None
    return {} if raw is None and model_of(kind, name) is not None else raw


def model_of(kind: str, name: str) -> type[BaseModel] | None:
    """The model of an annotation's value, if it is a mapping."""
    wanted = KNOWN[kind][name]
    return wanted if isinstance(wanted, type) and issubclass(wanted, BaseModel) else None


@functools.cache
def _adapter(kind: str, name: str) -> TypeAdapter[Any]:
    return TypeAdapter(KNOWN[kind][name])


__all__ = ["KNOWN", "ValidationError", "model_of", "read_annotation", "read_note"]
