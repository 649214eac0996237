"""Which expressions a backtracking engine answers in linear time: a small language, said to be bounded by its
shape alone. Needed only where RE2 has no wheel.

    expression = ["^"] { piece } ["$"]
    piece      = (character | "." | class | \\d | \\w) [repetition]  |  "(" word { "|" word } ")" ["?"]

A repetition without end is followed by a character that it cannot itself take (`[^/]+/`), so that it can
stop at one place only; one may stop anywhere, if none without end comes behind it. Those with an end, and
alternatives, come to at most MAX_STEPS. Asked of the inside of a value, one without end needs a "^" before
it.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

MAX_STEPS: Final = 1000
"""Characters looked at from one place of a value at most, all ways to read it together."""

MAX_COUNT: Final = 1000
"""As RE2 and Go: `{1000}` is the largest repetition."""

_ASCII: Final = frozenset(map(chr, range(128)))
_SETS: Final = {
    "d": frozenset(string.digits),
    "w": frozenset(string.digits + string.ascii_letters + "_"),
}
_BEYOND: Final = "\x80"
"""Stands for every character that is not ASCII."""

_REPEAT = re.compile(r"([*+?]|\{(\d{1,4})(?:(,)(\d{0,4}))?\})\??", re.ASCII)
_GROUP = re.compile(r"\((?:\?:)?([\w/@ :=|-]*)\)(\?)?", re.ASCII)
_CLASS = re.compile(r"\[(\^)?([^\[\]\\^-](?:-[^\[\]\\^-])?|\\[dw.\\^$|?*+()\[\]{}-])+\]", re.ASCII)
_SET_OPERATION = re.compile(r"--|&&|~~|\|\|")  # Python warns that it may mean something one day
_ITEM = re.compile(r"\\(.)|(.)-(.)|(.)", re.DOTALL)
_SPECIAL: Final = frozenset("\\^$.|?*+()[]{}")


@dataclass(frozen=True, slots=True)
class _Piece:
    takes: frozenset[str]  # for its first character
    low: int = 1
    high: int | None = 1  # characters; None = without end
    ways: int = 1

    @property
    def certain(self) -> bool:
        """Whether it takes a character for sure."""
        return self.low > 0


class _Unbounded(Exception):
    """Says at which place, and what there."""


def problem_of(text: str, search: bool) -> str:
    """Why Python's engine is not asked this, or "" if it may be."""
    try:
        _weigh(list(_pieces(text.removeprefix("^").removesuffix("$"))), search and not text.startswith("^"))
    except _Unbounded as why:
        return f"needs RE2, which this platform has no wheel of: {why}: `{text[:80]}`"
    return ""


def _weigh(pieces: list[_Piece], search: bool) -> None:
    ways, steps, free = 1, 0, False
    for piece, following in zip_longest(pieces, pieces[1:]):
        steps += ways * (piece.high or 1)
        ways *= piece.ways
        if steps > MAX_STEPS:
            raise _Unbounded("too many ways to read it")
        if piece.high is None:
            if search or free:
                why = "behind another" if free else 'without "^" before it'
                raise _Unbounded(f"a repetition without end {why}")
            free = following is None or not following.certain or bool(following.takes & piece.takes)


def _pieces(text: str) -> list[_Piece]:
    found: list[_Piece] = []
    at = 0
    while at < len(text):
        if group := _GROUP.match(text, at):
            at = group.end()
            words = group[1].split("|")
            low = 0 if group[2] else min(map(len, words))
            ways = len(words) + (group[2] is not None)
            found.append(_Piece(frozenset(word[:1] for word in words), low, max(map(len, words)), ways))
            continue
        takes, at = _atom(text, at)
        repeat = _REPEAT.match(text, at)
        low, high = (1, 1) if repeat is None else _counts(repeat)
        at = at if repeat is None else repeat.end()
        found.append(_Piece(takes, low, high, 1 if high is None else high - low + 1))
    return found


def _counts(repeat: re.Match[str]) -> tuple[int, int | None]:
    if repeat[2] is None:
        return {"*": (0, None), "+": (1, None), "?": (0, 1)}[repeat[1]]
    low = int(repeat[2])
    high = low if repeat[3] is None else int(repeat[4]) if repeat[4] else None
    if max(low, high or 0) > MAX_COUNT or (high is not None and high < low):
        raise _Unbounded(f"invalid repeat count {repeat[1]}")
    return low, high


def _atom(text: str, at: int) -> tuple[frozenset[str], int]:
    """What one character of a value may be here, and where the next piece begins."""
    letter = text[at]
    if letter == ".":
        return (_ASCII - {"\n"}) | {_BEYOND}, at + 1
    if letter == "\\":
        return _escaped(text[at + 1 : at + 2]), at + 2
    if letter == "[":
        found = _CLASS.match(text, at)
        if found is None:
            raise _Unbounded("a class that is not plain")
        return _members(found), found.end()
    if letter in _SPECIAL or letter not in _ASCII:
        raise _Unbounded(f"{letter!r} at character {at + 1}")
    return frozenset(letter), at + 1


def _escaped(letter: str) -> frozenset[str]:
    if letter in _SETS:
        return _SETS[letter]
    if not letter or letter.isalnum() or letter not in _ASCII:
        raise _Unbounded(f"\\{letter}")
    return frozenset(letter)


def _members(found: re.Match[str]) -> frozenset[str]:
    inverted = bool(found[1])
    inside = found[0][2 if inverted else 1 : -1]
    if _SET_OPERATION.search(inside):
        raise _Unbounded("a class that is not plain")
    members: set[str] = set()
    for item in _ITEM.finditer(inside):
        if item[1] is not None:
            members |= _escaped(item[1])
        elif item[4] is not None:
            members.add(item[4])
        else:
            members |= {chr(code) for code in range(ord(item[2]), ord(item[3]) + 1)}
    if not members <= _ASCII:
        raise _Unbounded("a class with characters that are not ASCII")
    return (_ASCII - members) | {_BEYOND} if inverted else frozenset(members)
