"""YAML read with the line of every key, so that an error can say where it is.

Text in, plain values and a map from path to line out. Stricter than YAML where a topology would be
misread: a key given twice is an error, and a date or a sexagesimal number stays the text it was.
"""

import re
from collections.abc import Mapping

import yaml

from services.errors import Path, TopologyError

# isotope's largest example has 1000 services in 40 KB; a file of 1 MiB is not a topology.
MAX_FILE_BYTES = 1024 * 1024
# Counted after aliases are followed: nine lines of aliases can stand for billions of values.
MAX_VALUES = 100_000
# A policy document nests about twelve deep.
MAX_DEPTH = 40

# libyaml where the wheel has it, ten times faster: each service process reads the file when it starts.
_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
# Longer numbers are ids or mistakes; Python refuses to parse beyond 4300 digits.
_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,2})?")
_TRUE = ("true", "yes", "on")


class Lines:
    """Where each key stands: `lines.at(path)` is its line, or the line of the nearest key above it."""

    def __init__(self, lines: Mapping[Path, int]) -> None:
        self._lines = dict(lines)

    def known(self, path: Path) -> Path:
        """The longest part of the path that stands in the file."""
        while path and path not in self._lines:
            path = path[:-1]
        return path

    def at(self, path: Path) -> int:
        return self._lines.get(self.known(path), 1)


def field_name(path: Path) -> str:
    """`("services", 2, "script", 0, "call")` as `services[2].script[0].call`."""
    words = ""
    for part in path:
        words += f"[{part}]" if isinstance(part, int) else f".{part}" if words else part
    return words


def read_yaml(text: str, file: str) -> tuple[object, Lines]:
    """The one document of the text and its lines; TopologyError for anything else."""
    root = _compose(text, file)
    if root is None:
        raise TopologyError(file, None, "", "the file is empty", 'begin with "services:"')
    reader = _Reader(file)
    value = reader.value(root, (), 0)
    return value, Lines(reader.lines)


def _compose(text: str, file: str) -> yaml.Node | None:
    try:
        depth = 0
        # Events come one by one; composing recurses, and would meet Python's or C's stack limit.
        for event in yaml.parse(text, Loader=_Loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise TopologyError(file, line, "", f"nested more than {MAX_DEPTH} deep", "make it flatter")
        node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
        return node
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        column = mark.column + 1 if mark else 1
        if error.context == "expected a single document in the stream":
            problem, remedy = "a second document begins", 'keep one document, without "---" inside'
        else:
            problem = f"not YAML: {error.problem or error.context}"
            remedy = f"look at the indentation and the quotes near column {column}"
        raise TopologyError(file, line, "", problem, remedy) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character[:1] or "\0")
        problem = f"not YAML: the character U+{code:04X}"
        raise TopologyError(file, line, "", problem, "remove it; YAML is printable text") from error


class _Reader:
    """Plain values from YAML nodes, with the line of each key on the way."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Path, int] = {}
        self._values = 0

    def value(self, node: yaml.Node, path: Path, depth: int) -> object:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        self._values += 1
        if self._values > MAX_VALUES:
            raise self._error(line, path[:1], f"more than {MAX_VALUES:,} values", "use fewer aliases")
        if depth > MAX_DEPTH:  # the text itself was flatter: only aliases of aliases get here
            raise self._error(line, path[:1], "an alias contains itself or nests too deep", "write it out")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, i), depth + 1) for i, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)  # the third and last kind of node
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Path, depth: int) -> dict[str, object]:
        given: dict[str, object] = {}
        merged: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(line, path, "a key must be a plain word", "put a word before the colon")
            if key_node.tag == f"{_TAG}merge":
                self._merge(value_node, merged, path, depth)
                continue
            key = str(key_node.value)
            here = (*path, key)
            if key in given:
                problem = f'"{key}" is given twice, first in line {self.lines[here]}'
                raise self._error(line, path, problem, "keep one of them")
            self.lines[here] = line
            given[key] = self.value(value_node, here, depth + 1)
        return merged | given

    def _merge(self, node: yaml.Node, into: dict[str, object], path: Path, depth: int) -> None:
        """YAML's `<<`: the keys of another mapping, or of several where the first wins."""
        line = node.start_mark.line + 1
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                raise self._error(line, path, '"<<" takes a mapping', 'write "<<: *name"')
            value = self.value(source, (*path, "<<"), depth + 1)
            assert isinstance(value, dict)
            for key, item in value.items():
                into.setdefault(key, item)
                self.lines.setdefault((*path, key), line)

    def _error(self, line: int, path: Path, problem: str, remedy: str) -> TopologyError:
        return TopologyError(self.file, line, field_name(path), problem, remedy)


def _scalar(node: yaml.ScalarNode) -> object:
    text: str = node.value
    kind = node.tag.removeprefix(_TAG)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in _TRUE
    if kind == "int" and _INT.fullmatch(text):
        return int(text)
    if kind == "float" and _FLOAT.fullmatch(text):
        return float(text)
    return text
