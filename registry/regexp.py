"""Regular expressions in time linear in what they are asked of: RE2, on whose library Envoy's stand too.

Go's engine, which Consul uses, has the same language and the same words for what is wrong. Python's own
engine backtracks: thirty letters against `(a+)+b` stop a process. Where RE2 has no wheel, `regexp_bounds`
says what Python's may be asked; the rest is refused. Pure; `sidecar.routing` uses it too.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any, Final

from registry import regexp_bounds

MAX_PROGRAM: Final = 32_768
"""Instructions of one expression, Istio's own limit for Envoy; each is 16 bytes and a quarter of a
microsecond.
"""

MAX_MEMORY: Final = 1 << 20
"""Bytes for one expression with the states that it remembers; when they are full, it goes on more slowly."""

_TOO_LARGE: Final = "expression too large"
# RE2's words -> Go's, which users of Consul see
_WORDS: Final = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "trailing \\": "trailing backslash at end of expression",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid repetition size": "invalid repeat count",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
    "pattern too large - compile failed": _TOO_LARGE,
}

Span = tuple[int, int]


class RegexpError(ValueError):
    """The expression cannot be used; the text is what Go puts behind `error parsing regexp: `.

    `cost` is what it took to find out, in instructions.
    """

    def __init__(self, problem: str, cost: int = 0) -> None:
        super().__init__(problem)
        self.cost = cost


class Regexp:
    """A compiled expression, asked of bytes that are UTF-8 text; where they are none, no `.` matches."""

    __slots__ = ("_compiled", "cost", "groups")

    def __init__(self, compiled: Any, cost: int) -> None:
        self._compiled = compiled
        self.groups: int = compiled.groups
        self.cost = cost

    def fullmatch(self, value: bytes) -> bool:
        """Whether it describes the whole value."""
        return self._compiled.fullmatch(value) is not None

    def search(self, value: bytes, start: int = 0) -> Sequence[Span] | None:
        """Where the first match is, and each group in it ((-1, -1) = not there); None = nowhere."""
        found = self._compiled.search(value, start)
        return None if found is None else [found.span(group) for group in range(self.groups + 1)]


class _Backtracking(Regexp):
    """The same by Python's engine, for expressions that `regexp_bounds` lets pass."""

    __slots__ = ()

    def fullmatch(self, value: bytes) -> bool:
        text = _text(value)
        return text is not None and self._compiled.fullmatch(text) is not None

    def search(self, value: bytes, start: int = 0) -> Sequence[Span] | None:
        text = _text(value)
        if text is None:
            return None
        found = self._compiled.search(text, len(value[:start].decode("utf-8", "ignore")))
        if found is None:
            return None
        spans = (found.span(group) for group in range(self.groups + 1))
        return [(_offset(text, first), _offset(text, last)) for first, last in spans]


def _text(value: bytes) -> str | None:
    """None for bytes that are no text: RE2 would look at those parts that are, and find little."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _offset(text: str, place: int) -> int:
    return place if place < 0 or text.isascii() else len(text[:place].encode())


def compile(text: str, *, search: bool = False, groups: bool = False) -> Regexp:
    """The expression, or RegexpError. `search`: it will be asked for matches inside a value; `groups`: and
    for what its brackets held.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RegexpError("invalid UTF-8") from None
    engine = _re2()
    if engine is None:
        return _bounded(text, search)
    try:
        compiled = engine.compile(text, _options(groups))
    except engine.error as error:
        raise _in_words(error.args[0]) from None
    cost = compiled.programsize
    if cost > MAX_PROGRAM:
        raise RegexpError(f"{_TOO_LARGE}: {cost} instructions, {MAX_PROGRAM} are the most", cost)
    return Regexp(compiled, cost)


def _bounded(text: str, search: bool) -> Regexp:
    problem = regexp_bounds.problem_of(text, search)
    if problem:
        raise RegexpError(problem)
    # to Python "$" is also before a last line feed
    text = text[:-1] + r"\Z" if text.endswith("$") else text
    try:
        return _Backtracking(re.compile(text, re.ASCII), len(text))
    except (re.error, OverflowError) as error:
        raise RegexpError(str(error)) from None


@functools.cache
def _re2() -> Any:
    """RE2, imported when the first expression is compiled: most processes never have one."""
    try:
        import re2
    except ImportError:  # no wheel for this platform
        return None
    return re2


@functools.cache
def _options(groups: bool) -> Any:
    options = _re2().Options()
    options.log_errors = False
    options.max_mem = MAX_MEMORY
    options.never_capture = not groups
    return options


def _in_words(problem: bytes) -> RegexpError:
    words, colon, argument = problem.decode("utf-8", "replace").partition(": ")
    words = _WORDS.get(words, words)
    shown = f": `{argument}`" if colon or words.startswith("trailing") else ""
    return RegexpError(words + shown, 2 * MAX_PROGRAM if words == _TOO_LARGE else 0)
