"""`uriRegexRewrite`: every match of an expression in a path replaced, as RE2's GlobalReplace does for
Envoy.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from registry import regexp

MATCHES_MAX: Final = 128
"""Places of one path; each search may look at all that is left of it, so many would take quadratic time."""

RESULT_MAX: Final = 64 * 1024
"""Bytes of the new path: as much as a whole request head may have."""

_REFERENCE: Final = re.compile(r"\\(.?)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Substitution:
    """`template` may name groups of `pattern` as \\0 (all) to \\9; raises ValueError for either."""

    pattern: str
    template: str
    _regexp: regexp.Regexp = field(init=False, repr=False, compare=False)
    _parts: tuple[bytes | int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        compiled = regexp.compile(self.pattern, search=True, groups=True)
        object.__setattr__(self, "_regexp", compiled)
        object.__setattr__(self, "_parts", _parts(self.template, compiled.groups))

    @property
    def cost(self) -> int:
        """Of the pattern, in instructions."""
        return self._regexp.cost

    def apply(self, path: bytes) -> bytes | None:
        """The new path; None if it has too many places, or would be too long."""
        found: list[bytes] = []
        at = last_end = size = 0
        matches = 0
        while at <= len(path):
            spans = self._regexp.search(path, at)
            if spans is None:
                break
            start, end = spans[0]
            found.append(path[at:start])
            if start == end and start == last_end and matches:
                found.append(path[start : start + 1])  # nothing, right behind a match, is none
                at = start + 1
                continue
            matches += 1
            new = b"".join(
                part if isinstance(part, bytes) else path[slice(*spans[part])] for part in self._parts
            )
            size += len(new)
            if matches > MATCHES_MAX or size > RESULT_MAX:
                return None
            found.append(new)
            at = last_end = end
        return b"".join((*found, path[at:]))


def _parts(template: str, groups: int) -> tuple[bytes | int, ...]:
    parts: list[bytes | int] = []
    at = 0
    for reference in _REFERENCE.finditer(template):
        parts.append(template[at : reference.start()].encode())
        letter = reference[1]
        if letter == "\\":
            parts.append(b"\\")
        elif letter in tuple("0123456789"):
            if int(letter) > groups:
                raise ValueError(f"\\{letter} names a group that the expression has not: it has {groups}")
            parts.append(int(letter))
        else:
            raise ValueError(f"\\{letter} is neither a group (\\0 to \\9) nor \\\\")
        at = reference.end()
    return tuple(part for part in (*parts, template[at:].encode()) if part != b"")
