"""The kinds of value in a topology document, each with its check and its words.

`Part` is the base of every mapping in the file: it refuses unknown keys by name. A key without a
value (`script:`) counts as left out, as in isotope's Go.
"""

import re
import shlex
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from services.errors import FieldError, suggest
from services.units import parse_duration, parse_probability, parse_rate, parse_share, parse_size

# Kubernetes' bound on the replicas that isotope's own examples use.
MAX_REPLICAS = 1000

# A service's name is a host name in `http://orders/`: one DNS label (RFC 1123).
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
# The mesh's own processes, which `mesh kill` and `mesh logs` take beside instances; and the registry's entry
# in its own catalog, to which no sidecar leads.
# Istio's outboundTrafficPolicy.mode, the default first.
TRAFFIC_MODES = ("REGISTRY_ONLY", "ALLOW_ANY")
RESERVED_NAMES = frozenset({"ingress", "registry", "loadgen", "consul"})
# RFC 9110: token, and a field value without control characters (no header may end early).
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\xa0-\ud7ff\ue000-\uffff]{0,4000}")
# Sidecars say it in headers, between "~" and before ",".
_LABEL = re.compile(r"[!-+\--}]{1,253}")
_LABEL_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9./_-]{0,316}")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9._-]{0,63}")
# Origin-form (RFC 9112 3.2.1): visible ASCII, so that nothing can be smuggled into the request line.
_HTTP_PATH = re.compile(r"/[!-~]{0,2000}")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Part(BaseModel):
    """A mapping of the file: camelCase keys as aliases, frozen, no unknown key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: object) -> object:
        if not isinstance(value, dict):
            raise FieldError(f"{kind_of(value)} stands where keys belong", suggest("", cls.keys(), "keys"))
        known = cls.keys()
        for key in value:
            if key not in known:
                raise FieldError(f'no key is named "{key}"', suggest(key, known, "keys"), key)
        return {key: item for key, item in value.items() if item is not None}

    @classmethod
    def keys(cls) -> list[str]:
        """The keys that may stand in this mapping, as the file spells them, the required ones first."""
        fields = sorted(cls.model_fields.items(), key=lambda item: not item[1].is_required())
        return [field.alias or name for name, field in fields]


def _text(value: object) -> str:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, (bool, int, float)):
        raise FieldError(f"{kind_of(value)} stands where text belongs", "put it in quotes")
    raise FieldError(f"{kind_of(value)} stands where text belongs", "write one or more letters")


def _name(value: object) -> str:
    name = _text(value)
    if not _NAME.fullmatch(name):
        fixed = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].strip("-")
        remedy = f'write "{fixed}"' if fixed else "use a-z, 0-9 and -"
        raise FieldError(f'"{name[:80]}" cannot be a host name', remedy)
    if name in RESERVED_NAMES:
        raise FieldError(f'"{name}" is a part of the mesh itself', f'write "{name}-service"')
    return name


def _label(value: object) -> str:
    text = _text(value)
    if not _LABEL.fullmatch(text):
        raise FieldError(f"{text[:60]!r} cannot stand in a header", 'write letters, digits, "." and "-"')
    return text


def _labels(value: object) -> dict[str, str]:
    """As Kubernetes has them; a number is taken for its text, as isotope's files have `tier: 1`."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise FieldError(f"{kind_of(value)} stands where labels belong", 'write "key: value" lines')
    for key, text in value.items():
        number = isinstance(text, int) and not isinstance(text, bool)
        if not (isinstance(key, str) and _LABEL_KEY.fullmatch(key)):
            raise FieldError(f"{str(key)[:60]!r} is no label", 'write letters, digits, ".", "-", "_" and "/"')
        if not ((isinstance(text, str) or number) and _LABEL_VALUE.fullmatch(str(text))):
            remedy = 'write at most 63 letters, digits, ".", "-" and "_"'
            raise FieldError(f"{key}: {str(text)[:60]!r} is no label's value", remedy)
    return {key: str(text) for key, text in value.items()}


def _whole(value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise FieldError(f"{kind_of(value)} stands where a whole number belongs", f"write {low} to {high}")
    if not low <= value <= high:
        raise FieldError(f"{value} is out of range", f"write {low} to {high}")
    return value


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise FieldError(f"{kind_of(value)} stands where true or false belongs", "write true or false")


def _http_path(value: object) -> str:
    path = _text(value)
    if not _HTTP_PATH.fullmatch(path):
        raise FieldError(f'"{path[:80]}" is not a path', 'write it from the first slash, like "/health"')
    return path


def _method(value: object) -> str:
    if value in _METHODS:
        return str(value)
    raise FieldError(f"{kind_of(value)} is not a method", f"write one of {', '.join(_METHODS)}")


def _headers(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise FieldError(f"{kind_of(value)} stands where headers belong", 'write "name: value" pairs')
    for name, content in value.items():
        if not _HEADER_NAME.fullmatch(name):
            raise FieldError("this is not a header's name", "use letters, digits and -", name)
        if not isinstance(content, str):
            raise FieldError(f"{kind_of(content)} stands where text belongs", "put it in quotes", name)
        if not _HEADER_VALUE.fullmatch(content):
            raise FieldError("this header's value is not printable text", "write one line of text", name)
    return value


def _command(value: object) -> tuple[str, ...]:
    words: list[object] = []
    if isinstance(value, str):
        try:
            words = list(shlex.split(value))
        except ValueError as error:
            raise FieldError("a quote is not closed", "write the command as a list of words") from error
    elif isinstance(value, list):
        words = value
    if not words or not all(isinstance(word, str) and "\0" not in word for word in words) or not words[0]:
        remedy = 'write it like "python -m http.server {port}", or as a list of texts'
        raise FieldError(f"{kind_of(value)} is not a command", remedy)
    return tuple(str(word) for word in words)


def _type(value: object) -> str:
    if value == "grpc":
        problem = "gRPC services are not run here: this one would never answer"
        raise FieldError(problem, 'write "http", and the same graph runs with HTTP/1.1 calls')
    if value != "http":
        raise FieldError(f"{kind_of(value)} is not a service type", 'write "http" or leave it out')
    return "http"


def _traffic_mode(value: object) -> str:
    if value not in TRAFFIC_MODES:
        problem = f"{kind_of(value)} says nothing of hosts that nobody knows"
        raise FieldError(problem, f"write {' or '.join(TRAFFIC_MODES)}")
    return str(value)


def _graph_kind(value: object) -> str:
    if value != "MockServiceGraph":
        remedy = 'write "MockServiceGraph"; Istio\'s documents belong under "policies"'
        raise FieldError(f"{kind_of(value)} is not a topology", remedy)
    return "MockServiceGraph"


def kind_of(value: object) -> str:
    """The value, or what it is when it is not a plain one."""
    if isinstance(value, str):
        return f'"{value[:60]}"' if value else "an empty text"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else str(value)


Text = Annotated[str, BeforeValidator(_text)]
Name = Annotated[str, BeforeValidator(_name)]
Label = Annotated[str, BeforeValidator(_label)]
Labels = Annotated[dict[str, str], BeforeValidator(_labels)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Replicas = Annotated[int, BeforeValidator(lambda value: _whole(value, 1, MAX_REPLICAS))]
Port = Annotated[int, BeforeValidator(lambda value: _whole(value, 1, 65535))]
Duration = Annotated[float, BeforeValidator(parse_duration)]
Size = Annotated[int, BeforeValidator(parse_size)]
Share = Annotated[float, BeforeValidator(parse_share)]
Probability = Annotated[float, BeforeValidator(parse_probability)]
Rate = Annotated[float, BeforeValidator(parse_rate)]
HttpPath = Annotated[str, BeforeValidator(_http_path)]
Method = Annotated[str, BeforeValidator(_method)]
Headers = Annotated[dict[str, str], BeforeValidator(_headers)]
Command = Annotated[tuple[str, ...], BeforeValidator(_command)]
ServiceType = Annotated[str, BeforeValidator(_type)]
TrafficMode = Annotated[str, BeforeValidator(_traffic_mode)]
GraphKind = Annotated[str, BeforeValidator(_graph_kind)]
