"""Text of documents that ends up in a message's head, in a name or in a log: what may stand there.

A line break, a NUL or a space in the wrong place would end a line, a field or a target, and begin another of
whoever wrote the document.
"""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, WithJsonSchema

NAME_MAX: Final = 253
"""Characters of a name in DNS, and of a label in Kubernetes with its prefix."""

VALUE_MAX: Final = 8192
"""Characters that go into one line of a message's head."""

_NAME: Final = rf"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{{0,{NAME_MAX}}}"
_LABEL: Final = rf"[ -~]{{0,{NAME_MAX}}}"
_TOKEN: Final = rf"[!#$%&'*+\-.^_`|~0-9A-Za-z]{{1,{NAME_MAX}}}"
_VALUE: Final = rf"[\t -~]{{0,{VALUE_MAX}}}"
_TARGET: Final = rf"[!-~]{{0,{VALUE_MAX}}}"
_COOKIE: Final = rf"[!-:<-~]{{0,{NAME_MAX}}}"
_HOST: Final = rf"[A-Za-z0-9._*-]{{1,{NAME_MAX}}}"
_AUTHORITY: Final = (
    rf"(?:\[[0-9A-Fa-f:.]{{2,45}}\]|[A-Za-z0-9._~!$&'()*+;=%-]{{1,{NAME_MAX}}})(?::[0-9]{{1,5}})?"
)


def is_authority(text: str) -> bool:
    """Whether it may stand in a request's Host, as it is."""
    return "%" not in text and re.fullmatch(_AUTHORITY, text) is not None


def _check(pattern: str, words: str) -> AfterValidator:
    compiled = re.compile(pattern)  # each is one class after the other: it takes linear time

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            shown = repr(text) if len(text) <= 60 else f"{text[:60]!r}…"
            raise ValueError(f"{shown} {words}")
        return text

    return AfterValidator(check)


def _schema(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$"})


Name = Annotated[
    str, _check(_NAME, f"is no name: it is one line of at most {NAME_MAX} characters"), _schema(_NAME)
]
Label = Annotated[
    str, _check(_LABEL, f"is no label: it is at most {NAME_MAX} characters of ASCII"), _schema(_LABEL)
]
HeaderName = Annotated[str, _check(_TOKEN, "is no header name: it is letters, digits and -"), _schema(_TOKEN)]
MethodName = Annotated[str, _check(_TOKEN, "is no method: it is one word, like GET"), _schema(_TOKEN)]
HeaderValue = Annotated[
    str,
    _check(_VALUE, f"has characters that no header may have, or more than {VALUE_MAX} of them"),
    _schema(_VALUE),
]
Target = Annotated[
    str,
    _check(
        _TARGET, f"is no path: it is at most {VALUE_MAX} visible characters of ASCII; write %20 for a space"
    ),
    _schema(_TARGET),
]
CookieText = Annotated[
    str, _check(_COOKIE, "is nothing that may stand in a cookie: visible ASCII without ;"), _schema(_COOKIE)
]
HostName = Annotated[str, _check(_HOST, "is no host name: it is letters, digits, dots and -"), _schema(_HOST)]
Authority = Annotated[
    str, _check(_AUTHORITY, "is no authority: it is HOST or HOST:PORT"), _schema(_AUTHORITY)
]
