"""`tracestate`: what other tracing systems say of a trace, passed on as W3C's text wants it.

All of it is passed on, however long: 512 characters are the least that everybody must, and heads are bounded.
"""

from __future__ import annotations

import re

# https://www.w3.org/TR/trace-context-2/ section 3.3: a key, and a value without comma, equals sign, or blank
# at its end.
_MEMBER = re.compile(
    rb"([a-z0-9][a-z0-9_\-*/@]{0,255})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
MAX_MEMBERS = 32


def checked(value: bytes) -> bytes:
    """The value as it goes out, its fields of several lines as one; b"" for one that breaks the rules.

    Of a key that is there twice, the first is the newest, and is kept.
    """
    found: dict[bytes, bytes] = {}
    members = [stripped for member in value.split(b",") if (stripped := member.strip(b" \t"))]
    if len(members) > MAX_MEMBERS:
        return b""
    for member in members:
        match = _MEMBER.fullmatch(member)
        if match is None:
            return b""
        found.setdefault(match[1], member)
    return b",".join(found.values())
