"""Pieces that documents are made of: the strict base model, durations, percentages, string matches."""

import re
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|us)")
_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
PATTERN_MAX: Final = 1024


def parse_duration(value: object) -> float:
    """Seconds from Go's form: `1.5s`, `250ms`, `1h30m`, `0s`. A bare number has no unit and is refused."""
    if isinstance(value, str):
        text = value.strip()
        parts = _DURATION.findall(text)
        if parts and "".join(number + unit for number, unit in parts) == text:
            return sum(float(number) * _UNITS[unit] for number, unit in parts)
        if text == "0":
            return 0.0
    raise ValueError(f"{value!r} is no duration; write it like 250ms, 1.5s or 2m")


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+(\.\d+)?(us|ms|s|m|h))+$", "examples": ["1.5s"]}),
]
_SIZE: Final = re.compile(r"(\d{1,12}) ?([KMG]i?)?B?")
_SIZES: Final = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}


def parse_size(value: object) -> int:
    """Bytes, from a whole number with or without a unit: `65536`, `64KiB`, `1MB`."""
    found = (
        _SIZE.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    )
    if found is None:
        raise ValueError(f"{value!r} is no size; write it like 65536, 64KiB or 1MB")
    return int(found[1]) * _SIZES[found[2] or ""]


Size = Annotated[
    int, BeforeValidator(parse_size), WithJsonSchema({"type": ["integer", "string"], "examples": ["1MiB"]})
]
Share = Annotated[float, Field(ge=0.0, le=100.0)]


class Base(BaseModel):
    """Unknown keys are errors. `not_honoured`: keys that Istio knows and we do not act on, with what to do
    instead.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    not_honoured: ClassVar[dict[str, str]] = {}


class Percent(Base):
    """`value` 0..100, fractions allowed."""

    value: Share = 0.0


class StringMatch(Base):
    """Exactly one of exact, prefix, regex (Python's syntax, of the whole value)."""

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = Field(default=None, max_length=PATTERN_MAX)

    @model_validator(mode="after")
    def _one_of(self) -> "StringMatch":
        given = [name for name in ("exact", "prefix", "regex") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of exact, prefix, regex")
        if self.regex is not None:
            try:
                re.compile(self.regex)
            except re.error as error:
                raise ValueError(f"regex: {error}") from error
        return self


class PresentMatch(StringMatch):
    """As above, or nothing at all ({}): the header must be there."""

    @model_validator(mode="before")
    @classmethod
    def _presence(cls, value: Any) -> Any:
        return {"prefix": ""} if value == {} else value


class Port(Base):
    """A port by number. Services of the mesh have one port each: the number chooses nothing (a warning says
    so).
    """

    number: int = Field(ge=1, le=65535)


class Metadata(Base):
    """`name` is the document's identity within its kind."""

    not_honoured: ClassVar[dict[str, str]] = dict.fromkeys(
        ("uid", "creationTimestamp", "resourceVersion", "generation", "managedFields", "ownerReferences"),
        "it is Kubernetes' own, delete it",
    )
    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")
    namespace: Literal["default"] = "default"
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


API_VERSIONS: Final = (
    "networking.istio.io/v1",
    "networking.istio.io/v1beta1",
    "networking.istio.io/v1alpha3",
)
IstioVersion = Literal[
    "networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"
]
EXPORT_REMEDY: Final = "every sidecar sees every document"
EverySidecar = Annotated[list[Literal["*", "."]], Field(max_length=1)]
