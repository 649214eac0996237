"""The documents of a text with the place of each: file and line of every field. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from .errors import DocumentError, Problem
from .kubernetes import Path, documents_in
from .plain import NotPlain, read_yaml_lines

DOCUMENTS_MAX: Final = 200

_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]|\[([^\]]*)\]")


@dataclass(frozen=True, slots=True)
class Entry:
    """`raw` is the document; `path` its place in its YAML document, `lines` those of that one's fields."""

    source: str
    raw: object
    path: Path = ()
    lines: Mapping[Path, int] = field(default_factory=dict)

    def line(self, where: str = "") -> int:
        """The line of a field, or of the nearest above it that stands there."""
        path = (*self.path, *path_of(where))
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def place(self, where: str = "") -> str:
        """`file:line` of a field."""
        return f"{self.source}:{self.line(where)}"

    def placed(self, problem: Problem) -> Problem:
        """The problem with its place."""
        return replace(problem, place=self.place(problem.path))


def path_of(where: str) -> Path:
    """`spec.http[0].route` -> ("spec", "http", 0, "route")."""
    found: list[str | int] = []
    for name, index, word in _STEP.findall(where):
        found.append(int(index) if index else name or word)
    return tuple(found)


def read_entries(text: str, source: str = "document") -> list[Entry]:
    """Every document of a YAML (or JSON) text; a `List` is its items. Raises DocumentError with the place."""
    try:
        read = read_yaml_lines(text)
    except NotPlain as error:
        place = source if error.line is None else f"{source}:{error.line}"
        raise DocumentError([Problem("", error.path, error.problem, place)]) from None
    found = [
        Entry(source, raw, path, lines)
        for value, lines in read
        if value is not None
        for path, raw in documents_in(value)
    ]
    if not found:
        words = "holds no document; write one, or leave the file out"
        raise DocumentError([Problem("", "", words, source)])
    if len(found) > DOCUMENTS_MAX:
        words = f"holds more than {DOCUMENTS_MAX} documents; apply it in parts"
        raise DocumentError([Problem("", "", words, source)])
    return found
