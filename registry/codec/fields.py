"""Reading one JSON object as Consul's decoder does: names in any case, known names only, typed values."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from registry.durations import parse_duration
from registry.errors import RegistryError

MAX_DEPTH: Final = 100
"""Lists and objects inside one another. Consul takes 10,000; what is kept is walked again with each answer,
and nobody's check or proxy nests ten deep.
"""

MAX_DIGITS: Final = 400
"""Of a number; the largest float64 has 309."""

_INT64: Final = 2**63
_UINT64: Final = 2**64

_GO_TYPES: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    int: "number",
    float: "number",
    bool: "bool",
}


class DecodeError(RegistryError):
    """The body is not what this endpoint reads; the text is the one Consul's decoder gives."""


def loads(body: bytes) -> Any:
    """The body as JSON, or DecodeError in the words of Go's decoder."""
    text = body.decode("utf-8", "replace")
    if not text.strip():
        raise DecodeError("EOF")
    try:
        value = json.loads(text, parse_int=_number(int), parse_float=_number(float), parse_constant=_constant)
    except json.JSONDecodeError as bad:
        if bad.pos >= len(text.rstrip()):
            raise DecodeError("unexpected EOF") from bad
        raise DecodeError(f"invalid character {text[bad.pos]!r} looking for beginning of value") from bad
    except RecursionError as bad:
        raise DecodeError("exceeded max depth") from bad
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise DecodeError("exceeded max depth")
    return _whole(value) if "\\ud" in text.lower() else value


def _number(make: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        if len(text) <= MAX_DIGITS and abs(float(text)) != float("inf"):
            return make(text)
        shown = text if len(text) <= 40 else f"{text[:40]}…"
        raise DecodeError(f"json: cannot unmarshal number {shown} into Go value of type float64")

    return parse


def _constant(word: str) -> Any:
    """NaN and Infinity, which Python reads and Go does not."""
    if word.startswith("-"):
        raise DecodeError(f"invalid character {word[1]!r} in numeric literal")
    raise DecodeError(f"invalid character {word[0]!r} looking for beginning of value")


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        inner = [one for one in level if isinstance(one, dict | list)]
        level = [item for one in inner for item in (one.values() if isinstance(one, dict) else one)]
        depth += bool(inner)
    return depth


def _whole(value: Any) -> Any:
    """Half of a surrogate pair is U+FFFD, as for Go: no answer could be written with it."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_whole(key): _whole(one) for key, one in value.items()}
    return [_whole(one) for one in value] if isinstance(value, list) else value


def _canonical(name: str) -> str:
    return name.replace("_", "").lower()


class Shape:
    """The field names an object may have, separated by blanks; looked up in any case and in snake case."""

    def __init__(self, names: str) -> None:
        self.names = names
        self.known = {_canonical(name): name for name in names.split()}


class Fields:
    """One object; each getter gives a typed value or its default for absent and null.

    A name that is not in the shape is refused unless `lax`. Snake case and any case are
    taken for the same name, because Consul does and py-consul relies on it.
    """

    def __init__(self, value: Any, shape: Shape, *, lax: bool = False) -> None:
        if not isinstance(value, Mapping):
            raise DecodeError(f"json: cannot unmarshal {_go(value)} into Go value of type struct")
        self._values: dict[str, Any] = {}
        for name, one in value.items():
            canonical = shape.known.get(_canonical(name))
            if canonical is None:
                if lax:
                    continue
                raise DecodeError(f'json: unknown field "{name}"')
            if one is not None:
                self._values[canonical] = one

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def raw(self, name: str) -> Any:
        """The value as it came; None when absent."""
        return self._values.get(name)

    def _typed(self, name: str, wanted: type, go: str, default: Any) -> Any:
        value = self._values.get(name, default)
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise _mismatch(name, value, go)
        return value

    def typed(self, name: str, default: Any) -> Any:
        """A value of the default's type, or the default."""
        return self._typed(name, type(default), _GO_TYPES[type(default)], default)

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        value: str = self._typed(name, str, "string", default)
        return value

    def number(self, name: str, default: int = 0, *, unsigned: bool = False) -> int:
        """A whole number of 64 bits."""
        go = "uint64" if unsigned else "int"
        value: int = self._typed(name, int, go, default)
        if not (0 <= value < _UINT64 if unsigned else -_INT64 <= value < _INT64):
            raise DecodeError(
                f"json: cannot unmarshal number {value} into Go struct field .{name} of type {go}"
            )
        return value

    def flag(self, name: str) -> bool:
        """A boolean, false when absent."""
        value: bool = self._typed(name, bool, "bool", False)
        return value

    def seconds(self, name: str) -> float:
        """A duration: Go's text, or a number of nanoseconds."""
        value = self._values.get(name, 0)
        if isinstance(value, str):
            try:
                return parse_duration(value) if value else 0.0
            except ValueError as bad:
                raise DecodeError(str(bad)) from bad
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _mismatch(name, value, "time.Duration")
        if not -_INT64 <= value < _INT64:
            raise DecodeError(
                f"json: cannot unmarshal number into Go struct field .{name} of type time.Duration"
            )
        return value / 1e9

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        values = self._typed(name, list, "[]string", [])
        for value in values:
            if not isinstance(value, str):
                raise _mismatch(name, value, "string")
        return tuple(values)

    def text_map(self, name: str) -> dict[str, str] | None:
        """An object of strings; None when absent."""
        values = self._values.get(name)
        if values is None:
            return None
        if not isinstance(values, dict):
            raise _mismatch(name, values, "map[string]string")
        for value in values.values():
            if not isinstance(value, str):
                raise _mismatch(name, value, "string")
        return dict(values)


def _go(value: Any) -> str:
    return "null" if value is None else _GO_TYPES.get(type(value), "value")


def _mismatch(name: str, value: Any, wanted: str) -> DecodeError:
    return DecodeError(f"json: cannot unmarshal {_go(value)} into Go struct field .{name} of type {wanted}")
