"""A parsed expression bound to a kind of answer: checked once, then asked of each row."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from registry import regexp
from registry.filters.fields import Field, Leaf, Listed, Mapped, Struct
from registry.filters.parse import Both, Either, Expression, FilterError, Match, Not, parse

Test = Callable[[Any], bool]

_NAMES: Final = {
    ("==", False): "Equal",
    ("==", True): "Not Equal",
    ("in", False): "In",
    ("in", True): "Not In",
    ("matches", False): "Matches",
    ("matches", True): "Not Matches",
    ("empty", False): "Is Empty",
    ("empty", True): "Is Not Empty",
}
_INT64: Final = 2**63
_BOOLS: Final = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


class Filter:
    """`Filter(text, shape)` refuses what the shape has not; `keeps(row)` asks of one JSON row."""

    def __init__(self, text: str, shape: Struct) -> None:
        self._keeps = _bind(parse(text), shape)

    def keeps(self, row: Mapping[str, Any]) -> bool:
        """Whether this row meets the expression."""
        return self._keeps(row)


def _bind(expression: Expression, shape: Struct) -> Test:
    if isinstance(expression, Not):
        inner = _bind(expression.of, shape)
        return lambda row: not inner(row)
    if isinstance(expression, Both):
        every = [_bind(one, shape) for one in expression.of]
        return lambda row: all(test(row) for test in every)
    if isinstance(expression, Either):
        some = [_bind(one, shape) for one in expression.of]
        return lambda row: any(test(row) for test in some)
    return _walk(expression, shape, expression.selector, 0)


def _walk(match: Match, at: Field, path: tuple[str, ...], depth: int) -> Test:
    """The test from this field on; `depth` names of the path are behind us."""
    if depth == len(path):
        return _compare(match, at)
    name = path[depth]
    if isinstance(at, Listed) and isinstance(at.of, Struct):
        element = _walk(match, at.of, path, depth)
        return lambda rows: any(element(row) for row in _as(list, rows))
    if isinstance(at, Struct) and name in at.fields:
        field = at.fields[name]
        test = _walk(match, field, path, depth + 1)
        # Consul leaves out what is empty, so an absent field has the zero value of its type.
        zero = _zero(field)
        return lambda row: test(_as(dict, row).get(name) or zero)
    if isinstance(at, Mapped):
        test = _walk(match, at.of, path, depth + 1)
        # go-bexpr's rule for a key that is not there: equal and in are false, everything else is true,
        # even `matches`. Odd, but what Consul's users see.
        absent = (match.op, match.negated) not in (("==", False), ("in", False))
        return lambda row: test(row[name]) if name in _as(dict, row) else absent
    raise FilterError(f'Selector "{".".join(path[: depth + 1])}" is not valid')


def _as(kind: type, value: Any) -> Any:
    """The value, or an empty one of its type: some parts of a row are kept as somebody sent them."""
    return value if isinstance(value, kind) else kind()


def _zero(field: Field) -> Any:
    if isinstance(field, Leaf):
        return {"string": "", "number": 0, "bool": False}[field.kind]
    return [] if isinstance(field, Listed) else {}


def _compare(match: Match, at: Field) -> Test:
    """The comparison itself, on a value of this type."""
    test = _leaf(match, at) if isinstance(at, Leaf) else _collection(match, at)
    if test is None:
        name = _NAMES[match.op, match.negated]
        raise FilterError(f'Invalid match operator "{name}" for selector "{".".join(match.selector)}"')
    if match.negated:
        return lambda value: not test(value)
    return test


def _leaf(match: Match, at: Leaf) -> Test | None:
    if match.op == "==":
        wanted = _coerce(match, at)
        return lambda value: bool(value == wanted)
    if at.kind != "string":
        return None
    if match.op == "in":
        return lambda value: match.value in _as(str, value)
    if match.op == "matches":
        pattern = _pattern(match.value)
        return lambda value: pattern.search(_as(str, value).encode("utf-8", "replace")) is not None
    return None


def _collection(match: Match, at: Field) -> Test | None:
    if match.op == "empty" and isinstance(at, Listed | Mapped):
        return lambda value: not value
    if match.op == "in" and (isinstance(at, Mapped) or (isinstance(at, Listed) and isinstance(at.of, Leaf))):
        return lambda value: isinstance(value, list | dict) and match.value in value
    return None


def _coerce(match: Match, at: Leaf) -> Any:
    text = match.value
    why = 'Failed to coerce value "{}" for selector "{}": strconv.{}: parsing "{}": invalid syntax'
    selector = ".".join(match.selector)
    if at.kind == "number":
        if not re.fullmatch(r"[+-]?[0-9]+", text):
            raise FilterError(why.format(text, selector, "ParseInt", text))
        number = int(text)
        if not -_INT64 <= number < _INT64:
            why = why.replace("invalid syntax", "value out of range")
            raise FilterError(why.format(text, selector, "ParseInt", text))
        return number
    if at.kind == "bool":
        if text not in _BOOLS:
            raise FilterError(why.format(text, selector, "ParseBool", text))
        return _BOOLS[text]
    return text


def _pattern(text: str) -> regexp.Regexp:
    try:
        return regexp.compile(text, search=True)
    except regexp.RegexpError as bad:
        shown = json.dumps(text, ensure_ascii=False)  # as Go's %q
        raise FilterError(
            f"Failed to compile regular expression {shown}: error parsing regexp: {bad}"
        ) from bad
