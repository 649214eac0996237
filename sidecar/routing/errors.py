"""What is wrong with a document: where, what, and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """`document` is Kind/name, `path` the field (`spec.http[0].route[1].weight`)."""

    document: str
    path: str
    problem: str

    def __str__(self) -> str:
        return (
            f"{self.document}: {self.path}: {self.problem}"
            if self.path
            else f"{self.document}: {self.problem}"
        )


class DocumentError(ValueError):
    """One or more problems; the whole set is refused. One line each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
