"""Reading one JSON object as Consul's decoder does: names in any case, known names only, typed values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from registry.durations import parse_duration
from registry.errors import RegistryError

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
        return json.loads(text)
    except json.JSONDecodeError as bad:
        if bad.pos >= len(text.rstrip()):
            raise DecodeError("unexpected EOF") from bad
        raise DecodeError(f"invalid character {text[bad.pos]!r} looking for beginning of value") from bad
    except RecursionError as bad:
        raise DecodeError("exceeded max depth") from bad


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

    def number(self, name: str, default: int = 0) -> int:
        """A whole number."""
        value: int = self._typed(name, int, "int", default)
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
