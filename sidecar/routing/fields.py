"""Pieces that documents are made of: the strict base model, durations, percentages, string matches."""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Protocol

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from registry import regexp

from .kubernetes import parse_time

_DURATION: Final = re.compile(r"(?:[0-9]{1,15}(?:\.[0-9]{1,15})?(?:ms|s|m|h|us)){1,5}")
_PART: Final = re.compile(r"([0-9.]+)(ms|s|m|h|us)")
_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
PATTERN_MAX: Final = 1024
DURATION_MAX_S: Final = 10 * 366 * 86_400.0
"""Ten years: longer is a slip, and no timer is set for it."""

PROGRAMS_MAX: Final = 1_000_000
"""Instructions of all expressions of a set together: a quarter of a second to compile, and 16 MB."""


def parse_duration(value: object) -> float:
    """Seconds from Go's form: `1.5s`, `250ms`, `1h30m`, `0s`. A bare number has no unit and is refused."""
    if isinstance(value, str):
        text = value.strip()
        if _DURATION.fullmatch(text):
            seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
            if seconds > DURATION_MAX_S:
                raise ValueError(f"{value!r} is longer than ten years")
            return seconds
        if text == "0":
            return 0.0
    shown = repr(value) if not isinstance(value, str) else repr(value[:40])
    raise ValueError(f"{shown} is no duration; write it like 250ms, 1.5s or 2m")


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
    """Unknown keys are errors. `not_honoured`: keys that Istio knows and we refuse, with what to do instead.
    `no_effect`: those that are taken, change nothing here, and are told in a warning, with why.
    """

    # what is no number in a document is not made one of its text: "inf", "1e999"
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    not_honoured: ClassVar[dict[str, str]] = {}
    no_effect: ClassVar[dict[str, str]] = {}


class Whole(Base):
    """A whole document."""

    _programs: int = PrivateAttr(default=0)
    _notes: dict[str, Any] = PrivateAttr(default_factory=dict)
    _unheeded: tuple[tuple[str, str], ...] = PrivateAttr(default=())

    @property
    def unheeded(self) -> tuple[tuple[str, str], ...]:
        """(path, why) of each field that it has and that changes nothing here."""
        return self._unheeded

    @property
    def programs(self) -> int:
        """What its expressions take, in instructions."""
        return self._programs

    @property
    def notes(self) -> Mapping[str, Any]:
        """Its `mesh/...` annotations, read."""
        return self._notes


class Budget:
    """What the expressions of a set may still take: no text is compiled any more when it is used up."""

    __slots__ = ("left",)

    def __init__(self, left: int = PROGRAMS_MAX) -> None:
        self.left = left


class _Costly(Protocol):
    @property
    def cost(self) -> int: ...


def charge(info: ValidationInfo, make: Callable[[], _Costly]) -> None:
    """Make an expression at the expense of its set's budget; raises ValueError if it is none."""
    budget = info.context if isinstance(info.context, Budget) else Budget()
    if budget.left <= 0:
        raise ValueError(f"the expressions of the set take more than {PROGRAMS_MAX:,} instructions")
    try:
        budget.left -= make().cost
    except regexp.RegexpError as error:
        budget.left -= error.cost
        raise


class Percent(Base):
    """`value` 0..100, fractions allowed."""

    value: Share = 0.0


class StringMatch(Base):
    """Exactly one of exact, prefix, regex (RE2's syntax, of the whole value)."""

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = Field(default=None, max_length=PATTERN_MAX)

    @field_validator("regex")
    @classmethod
    def _expression(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None:
            charge(info, lambda: regexp.compile(value))
        return value

    @model_validator(mode="after")
    def _one_of(self) -> "StringMatch":
        given = [name for name in ("exact", "prefix", "regex") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of exact, prefix, regex")
        return self


class PresentMatch(StringMatch):
    """As above, or nothing at all ({}): the header must be there."""

    @model_validator(mode="before")
    @classmethod
    def _presence(cls, value: Any) -> Any:
        return {"prefix": ""} if value == {} else value


class Port(Base):
    """A port by number. Services of the mesh have one port each: the number chooses among port-level settings
    and nothing else (a warning says so).
    """

    number: int = Field(ge=1, le=65535)


Time = Annotated[str, BeforeValidator(parse_time), WithJsonSchema({"type": "string", "format": "date-time"})]
HOME: Final = "default"
"""The namespace that the services of the mesh, and so its sidecars, are in."""

_NAMESPACE: Final = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"


class Metadata(Base):
    """`name` and `namespace` are the document's identity within its kind; the oldest comes first."""

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")
    namespace: str = Field(default=HOME, pattern=f"^{_NAMESPACE}$")
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    creationTimestamp: Time = ""

    @property
    def title(self) -> str:
        """`orders`, or `orders.prod` from another namespace."""
        return self.name if self.namespace == HOME else f"{self.name}.{self.namespace}"

    def key(self, kind: str) -> str:
        """Kind/name, or Kind/namespace/name."""
        return f"{kind}/{self.name}" if self.namespace == HOME else f"{kind}/{self.namespace}/{self.name}"


API_VERSIONS: Final = (
    "networking.istio.io/v1",
    "networking.istio.io/v1beta1",
    "networking.istio.io/v1alpha3",
)
IstioVersion = Literal[
    "networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"
]
ExportTo = list[Annotated[str, Field(pattern=rf"^(\*|\.|~|{_NAMESPACE})$")]]
"""Namespaces whose sidecars see a document: `*` all, `.` its own, `~` none; nothing is all."""
