"""Errors of a topology file, each one line that names the place and the remedy."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Keys and list positions from the top of the file: ("services", 2, "script", 0, "call").
Path = tuple[str | int, ...]

# A list of names in a message stays readable up to about this many.
NAMES_SHOWN = 8


class FieldError(ValueError):
    """What is wrong with one value, before its place in the file is known.

    `key` is set when the fault is one key of the mapping that was checked.
    """

    def __init__(self, problem: str, remedy: str, key: str | None = None) -> None:
        super().__init__(f"{problem} ({remedy})")
        self.problem = problem
        self.remedy = remedy
        self.key = key


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at a place of the file whose line is still to be looked up."""

    place: Path
    problem: str
    remedy: str


class TopologyError(ValueError):
    """One fault of a topology file; `str()` is `FILE:LINE: FIELD: PROBLEM (REMEDY)` in one line.

    `line` is None where the file as a whole is at fault, `field` is empty where no field is.
    `more` holds the other faults that the same reading found, in the file's order.
    """

    def __init__(
        self,
        file: str,
        line: int | None,
        field: str,
        problem: str,
        remedy: str,
        more: Sequence["TopologyError"] = (),
    ) -> None:
        place = file if line is None else f"{file}:{line}"
        words = [place, field, f"{problem} ({remedy})"] if field else [place, f"{problem} ({remedy})"]
        super().__init__(": ".join(words).replace("\n", " "))
        self.file = file
        self.line = line
        self.field = field
        self.problem = problem
        self.remedy = remedy
        self.more = tuple(more)


def suggest(name: str, known: Iterable[str], noun: str) -> str:
    """The remedy for an unknown name: the one that was meant, or the names that there are."""
    names = list(known)
    by_lower = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    if close:
        return f'did you mean "{by_lower[close[0]]}"?'
    if not names:
        return f"there are no {noun}"
    shown = ", ".join(names[:NAMES_SHOWN])
    return f"{noun}: {shown}{', …' if len(names) > NAMES_SHOWN else ''}"
