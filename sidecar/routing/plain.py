"""Plain values from JSON and YAML that somebody else wrote: bounded before anything is built, so that no text
holds a process up, and no value breaks whoever passes it on.

A plain value is None, a bool, a finite number that 64 bits hold, text that UTF-8 can say, or a list or
mapping of those. Pure; importing it imports nothing heavy.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

TEXT_MAX: Final = 1_000_000
"""Characters of one text; the longest set of routes that anybody writes by hand has a tenth of it."""

VALUES_MAX: Final = 200_000
"""Values in one document, with each alias counted as what it stands for: 1500 routes have 30,000."""

DEPTH_MAX: Final = 40
"""Lists and mappings inside one another; a policy nests twelve deep."""

NUMBER_MAX: Final = 400
"""Digits of a number in JSON; the largest float has 309, and int() takes quadratic time."""

INTEGER_MAX: Final = 2**63 - 1

SCALAR_MAX: Final = 64
"""Characters of a number in YAML, whose forms (1:60:60, 1_000) take longer to read than to write."""

_TAG: Final = "tag:yaml.org,2002:"

_Lines = dict[tuple[str | int, ...], int]

Place = tuple[Any, ...]
"""(outer place, key), () for the top: written out only where something is wrong."""


class NotPlain(ValueError):
    """`path` is the place in the value ("" = all of it), `line` that in the text (None = not known)."""

    def __init__(self, problem: str, path: str = "", line: int | None = None) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.problem = problem
        self.path = path
        self.line = line


def read_json(text: str | bytes) -> Any:
    """The value of a JSON text; raises NotPlain."""
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8")
        value = json.loads(
            decoded, parse_int=_number(int), parse_float=_number(float), parse_constant=_constant
        )
    except UnicodeDecodeError:
        raise NotPlain("is no UTF-8 text") from None
    except RecursionError:
        raise NotPlain(f"is nested more than {DEPTH_MAX} deep") from None
    except NotPlain:
        raise
    except ValueError as error:
        raise NotPlain(f"is no JSON: {error}") from None
    check(value)
    return value


def check(value: object) -> None:
    """Raises NotPlain at the first value that is not plain."""
    pending: list[tuple[object, Place, int]] = [(value, (), 0)]
    seen = 0
    while pending:
        value, place, depth = pending.pop()
        seen += 1
        if isinstance(value, str):
            if not value.isascii():
                _text(value, place)
        elif isinstance(value, Mapping | list):
            if depth >= DEPTH_MAX:
                raise NotPlain(f"is nested more than {DEPTH_MAX} deep", _path(place))
            if seen + len(pending) + len(value) > VALUES_MAX:
                raise NotPlain(f"holds more than {VALUES_MAX:,} values")
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            for key, item in items:
                if isinstance(key, str) and not (key.isascii() and key.isprintable()):
                    _key(key, place)
                elif not isinstance(key, str) and isinstance(value, Mapping):
                    raise NotPlain(f"the key {key!r} is no text; write it in quotes", _path(place))
                pending.append((item, (place, key), depth + 1))
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise NotPlain(f"{value} is no number with an end", _path(place))
        elif isinstance(value, int):
            if abs(value) > INTEGER_MAX:
                raise NotPlain("is a number of more than 64 bits", _path(place))
        elif value is not None:
            raise NotPlain(f"{type(value).__name__} is no plain value; write it in quotes", _path(place))


def _text(text: str, place: Place) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotPlain("has half of a surrogate pair, which is no character", _path(place)) from None


def _key(key: str, place: Place) -> None:
    _text(key, place)
    if not key.isprintable():
        raise NotPlain(f"the key {key[:60]!r} has characters that cannot be printed", _path(place))


def _path(place: Place) -> str:
    words: list[str] = []
    while place:
        place, key = place
        words.append(f"[{key}]" if isinstance(key, int) else f".{str(key)[:80]}")
    return "".join(reversed(words)).removeprefix(".")


def _number(make: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        if len(text) > NUMBER_MAX:
            raise NotPlain(f"holds a number of {len(text)} digits")
        return make(text)

    return parse


def _constant(word: str) -> Any:
    raise NotPlain(f"is no JSON: {word} is no number")


def read_yaml(text: str) -> list[Any]:
    """The documents of a YAML (or JSON) text; raises NotPlain, with the line where one is known."""
    return [value for value, _ in _read(text, lambda _: {})]


def read_yaml_lines(text: str) -> list[tuple[Any, dict[tuple[str | int, ...], int]]]:
    """The same, and for each document the line of every key and item by its path; what came by an alias or a
    merge has none of its own.
    """
    return _read(text, _lines)


def _read(text: str, lines: Callable[[Any], _Lines]) -> list[tuple[Any, _Lines]]:
    import yaml

    if len(text) > TEXT_MAX:
        raise NotPlain(f"has more than {TEXT_MAX} characters")
    loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times as fast
    try:
        _flat_enough(yaml, text, loader)
        builder = _Builder(yaml)
        found = [(builder.value(node, 0), lines(node)) for node in yaml.compose_all(text, Loader=loader)]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
        # libyaml sees the end of a text in the line behind it
        line = min(mark.line, text.count("\n")) + 1 if mark else None
        raise NotPlain(f"is no YAML: {problem}", line=line) from None
    except UnicodeEncodeError:  # libyaml's, of half a surrogate pair
        raise NotPlain("has half of a surrogate pair, which is no character") from None
    except ValueError as error:
        if isinstance(error, NotPlain):
            raise
        raise NotPlain(f"is no YAML: {error}") from None
    for value, _ in found:
        check(value)
    return found


def _lines(root: Any) -> _Lines:
    """Of a tree that was built already, so it is no deeper and no larger than it may be."""
    found: _Lines = {(): root.start_mark.line + 1}
    pending: list[tuple[Any, tuple[str | int, ...]]] = [(root, ())]
    seen: set[int] = set()
    while pending:
        node, path = pending.pop()
        if id(node) in seen or isinstance(node.value, str):
            continue
        seen.add(id(node))
        for index, item in enumerate(node.value):
            key, value = item if isinstance(item, tuple) else (item, item)
            here = (*path, key.value if isinstance(item, tuple) else index)
            found[here] = key.start_mark.line + 1
            pending.append((value, here))
    return found


def _flat_enough(yaml: Any, text: str, loader: type) -> None:
    """Before anything is composed, which recurses, and would meet Python's limit of the stack, or C's."""
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH_MAX:
            raise NotPlain(f"is nested more than {DEPTH_MAX} deep", line=event.start_mark.line + 1)


class _Builder:
    """Values from YAML's nodes, as PyYAML's safe loader makes them, but that dates stay text; counts on the
    way.
    """

    def __init__(self, yaml: Any) -> None:
        self._yaml = yaml
        self._scalars = yaml.constructor.SafeConstructor()
        self._values = 0

    def value(self, node: Any, depth: int) -> Any:
        self._values += 1
        if self._values > VALUES_MAX:
            raise self._wrong(node, f"holds more than {VALUES_MAX:,} values; use fewer aliases")
        if depth > DEPTH_MAX:  # the text itself was flatter: only aliases of aliases get here
            raise self._wrong(node, "has an alias that contains itself or nests too deep")
        if isinstance(node, self._yaml.MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, self._yaml.SequenceNode):
            self._tagged(node, "seq")
            return [self.value(item, depth + 1) for item in node.value]
        return self._scalar(node)

    def _mapping(self, node: Any, depth: int) -> dict[str, Any]:
        self._tagged(node, "map")
        given: dict[Any, Any] = {}
        merged: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, self._yaml.ScalarNode):
                raise self._wrong(key_node, "has a key that is a list or a mapping")
            if key_node.tag == f"{_TAG}merge":
                for source in self._merged(value_node):
                    for key, item in self.value(source, depth + 1).items():
                        merged.setdefault(key, item)
            else:
                key = self._scalar(key_node)
                if key in given:
                    raise self._wrong(key_node, f"has the key {str(key)[:60]!r} twice; keep one")
                given[key] = self.value(value_node, depth + 1)
        return merged | given

    def _merged(self, node: Any) -> Iterator[Any]:
        for source in node.value if isinstance(node, self._yaml.SequenceNode) else [node]:
            if not isinstance(source, self._yaml.MappingNode):
                raise self._wrong(source, 'has a "<<" that takes no mapping')
            yield source

    def _scalar(self, node: Any) -> Any:
        text: str = node.value
        match node.tag.removeprefix(_TAG):
            case "str" | "timestamp" | "value":
                return text
            case "null":
                return None
            case "bool" if text.lower() in self._scalars.bool_values:
                return self._scalars.bool_values[text.lower()]
            case "int" | "float" as kind if len(text) <= SCALAR_MAX:
                return getattr(self._scalars, f"construct_yaml_{kind}")(node)
        raise self._wrong(node, f"has {text[:40]!r}, which is no {node.tag.removeprefix(_TAG)[:40]} here")

    def _tagged(self, node: Any, kind: str) -> None:
        if node.tag != _TAG + kind:
            raise self._wrong(
                node, f"has a tag {node.tag.removeprefix(_TAG)[:40]!r}, which means nothing here"
            )

    @staticmethod
    def _wrong(node: Any, problem: str) -> NotPlain:
        return NotPlain(problem, line=node.start_mark.line + 1)
