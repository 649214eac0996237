"""The grammar of filter expressions (go-bexpr's), by recursive descent over the text.

or    = and { "or" and }          and = not { "and" not }        not = "not" not | "(" or ")" | match
match = selector ("==" | "!=" | "contains" | "not contains" | "matches" | "not matches") value
      | selector ("is empty" | "is not empty")
      | value ("in" | "not in") selector
selector = name { "." name | '["' key '"]' }     value = word | number | "text" | `text`
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from registry.errors import RegistryError

MAX_LENGTH: Final = 4096
"""Characters of an expression; people write tens."""

MAX_DEPTH: Final = 64
"""Nested brackets and nots, so that an expression cannot exhaust the stack."""


class FilterError(RegistryError):
    """The expression cannot be used; begins with Consul's words."""

    def __init__(self, why: str) -> None:
        super().__init__(f"Failed to create boolean expression evaluator: {why}", status=500)


@dataclass(frozen=True, slots=True)
class Match:
    """One comparison; `op` is "==", "in", "matches" or "empty", turned over by `negated`."""

    selector: tuple[str, ...]
    op: str
    value: str
    negated: bool


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of one expression."""

    of: Expression


@dataclass(frozen=True, slots=True)
class Both:
    """All of these."""

    of: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """At least one of these."""

    of: tuple[Expression, ...]


Expression = Match | Not | Both | Either

_SPACE = re.compile(r"[ \t\r\n]*")
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_TEXT = re.compile(r'"([^"]*)"|`([^`]*)`')
_INDEX = re.compile(r'\[[ \t\r\n]*(?:"([^"]*)"|`([^`]*)`)[ \t\r\n]*\]')
_END_OF_NUMBER = re.compile(r"[ \t\r\n)]|$")
_OPERATORS: Final = (
    (re.compile(r"[ \t\r\n]*==[ \t\r\n]*"), "==", False),
    (re.compile(r"[ \t\r\n]*!=[ \t\r\n]*"), "==", True),
    (re.compile(r"[ \t\r\n]+contains[ \t\r\n]+"), "in", False),
    (re.compile(r"[ \t\r\n]+not[ \t\r\n]+contains[ \t\r\n]+"), "in", True),
    (re.compile(r"[ \t\r\n]+matches[ \t\r\n]+"), "matches", False),
    (re.compile(r"[ \t\r\n]+not[ \t\r\n]+matches[ \t\r\n]+"), "matches", True),
)
_IS_EMPTY = re.compile(r"[ \t\r\n]+is[ \t\r\n]+(not[ \t\r\n]+)?empty(?![a-zA-Z0-9_])")
_IN = re.compile(r"[ \t\r\n]+(not[ \t\r\n]+)?in[ \t\r\n]+")


def parse(text: str) -> Expression:
    """The expression's tree; FilterError with line, column and offset where it cannot be read."""
    if len(text) > MAX_LENGTH:
        raise FilterError(f"the expression is longer than {MAX_LENGTH} characters")
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def whole(self) -> Expression:
        found = self._or()
        self._skip()
        if self._at < len(self._text):
            raise self._error('no match found, expected: "and", "or", [ \\t\\r\\n] or EOF')
        return found

    def _or(self) -> Expression:
        terms = [self._and()]
        while self._word("or"):
            terms.append(self._and())
        return terms[0] if len(terms) == 1 else Either(tuple(terms))

    def _and(self) -> Expression:
        terms = [self._not()]
        while self._word("and"):
            terms.append(self._not())
        return terms[0] if len(terms) == 1 else Both(tuple(terms))

    def _not(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"more than {MAX_DEPTH} levels deep")
        try:
            self._skip()
            if self._text.startswith("(", self._at):
                self._at += 1
                inner = self._or()
                self._skip()
                if not self._text.startswith(")", self._at):
                    raise self._error('no match found, expected: ")"')
                self._at += 1
                return inner
            if self._word("not"):
                return Not(self._not())
            return self._match()
        finally:
            self._depth -= 1

    def _match(self) -> Match:
        start = self._at
        # "selector op value" first; a bare word before "in" is a value that only looks like a selector.
        selector = self._selector()
        if selector is not None:
            for pattern, op, negated in _OPERATORS:
                if found := pattern.match(self._text, self._at):
                    self._at = found.end()
                    return Match(selector, op, self._value(), negated)
            if found := _IS_EMPTY.match(self._text, self._at):
                self._at = found.end()
                return Match(selector, "empty", "", bool(found[1]))
        if selector is None or _IN.match(self._text, self._at):
            self._at = start
            value = self._value()
            found = _IN.match(self._text, self._at)
            if found is None:
                raise self._error('no match found, expected: "in", "not" or [ \\t\\r\\n]')
            self._at = found.end()
            selector = self._selector()
            if selector is None:
                raise self._error('rule "match": Invalid selector')
            return Match(selector, "in", value, bool(found[1]))
        self._skip()
        raise self._error('no match found, expected: "!=", "==", "contains", "in", "is", "matches" or "not"')

    def _selector(self) -> tuple[str, ...] | None:
        found = _NAME.match(self._text, self._at)
        if found is None:
            return None
        path = [found[0]]
        self._at = found.end()
        while True:
            if self._text.startswith(".", self._at):
                found = _NAME.match(self._text, self._at + 1)
                if found is None:
                    raise self._error("no match found, expected: [a-zA-Z]")
                path.append(found[0])
            elif found := _INDEX.match(self._text, self._at):
                path.append(found[1] if found[1] is not None else found[2])
            else:
                return tuple(path)
            self._at = found.end()

    def _value(self) -> str:
        if found := _TEXT.match(self._text, self._at):
            self._at = found.end()
            return _unquote(found[1]) if found[1] is not None else found[2]
        if found := _NUMBER.match(self._text, self._at):
            if not _END_OF_NUMBER.match(self._text, found.end()):
                self._at = found.end()
                raise self._error('rule "number": Invalid number literal')
            self._at = found.end()
            return found[0]
        word = self._selector()
        if word is None:
            raise self._error('no match found, expected: "-", "0", "\\"", "`", [1-9] or [a-zA-Z]')
        return ".".join(word)

    def _word(self, word: str) -> bool:
        """Take a keyword that stands apart."""
        found = re.compile(rf"[ \t\r\n]*{word}(?=[ \t\r\n(])").match(self._text, self._at)
        if found is None:
            return False
        self._at = found.end()
        return True

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._at)
        assert found is not None
        self._at = found.end()

    def _error(self, why: str) -> FilterError:
        before = self._text[: self._at]
        line = before.count("\n") + 1
        column = self._at - (before.rfind("\n") + 1) + 1
        return FilterError(f"{line}:{column} ({self._at}): {why}")


def _unquote(text: str) -> str:
    r"""The escapes of a Go string: \n, \t, \\, \xHH, \uHHHH."""
    if "\\" not in text:
        return text
    if not re.fullmatch(r"(?:[^\\]|\\[abfnrtv\\]|\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4})*", text):
        raise FilterError('rule "string": invalid syntax')
    return text.encode("latin-1", "backslashreplace").decode("unicode_escape")
