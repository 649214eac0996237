"""What is wrong with a document: where, what, and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

LINE_MAX: Final = 1000
"""Characters of a problem that is told: paths and values are as long as whoever wrote the document likes."""


def printable(text: str) -> str:
    """An expression is repeated as it was written; a terminal must not act on what it is told."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


@dataclass(frozen=True, slots=True)
class Problem:
    """`document` is Kind/name, `path` the field (`spec.http[0].route[1].weight`), `place` file:line."""

    document: str
    path: str
    problem: str
    place: str = ""

    def __str__(self) -> str:
        text = ": ".join(filter(None, (self.place, self.document, self.path, self.problem)))
        return printable(text if len(text) <= LINE_MAX else f"{text[: LINE_MAX - 1]}…")


class DocumentError(ValueError):
    """One or more problems; the whole set is refused. One line each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
