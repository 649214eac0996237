"""Header operations of a route: set, add, remove, in this order."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from .header_format import HeaderFormat

Headers = Sequence[tuple[bytes, bytes]]

# These carry framing or belong to one hop: a document that writes them would break messages.
FORBIDDEN: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"host",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


@dataclass(frozen=True, slots=True)
class Formatted:
    """A header whose value each request makes anew; `replaces`: set, not added."""

    name: bytes
    format: HeaderFormat
    replaces: bool


@dataclass(frozen=True, slots=True)
class HeaderOps:
    """Names keep their case on the wire and are compared without it."""

    set: tuple[tuple[bytes, bytes], ...] = ()
    add: tuple[tuple[bytes, bytes], ...] = ()
    remove: frozenset[bytes] = frozenset()  # lower case
    formatted: tuple[Formatted, ...] = ()
    gone: frozenset[bytes] = field(init=False, compare=False)
    """What of the message as it came does not pass: what is removed, or set anew."""
    lines: list[bytes] = field(init=False, compare=False)
    """What is set and added, as field lines."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "gone", self.remove | {name.lower() for name, _ in self.set})
        lines = [b"%b: %b\r\n" % pair for pair in (*self.set, *self.add)]
        object.__setattr__(self, "lines", lines)

    def __bool__(self) -> bool:
        return bool(self.set or self.add or self.remove or self.formatted)

    def apply(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """A new list; the order of what stays is kept."""
        kept = [(name, value) for name, value in headers if name.lower() not in self.gone]
        return [*kept, *self.set, *self.add]


NONE: Final = HeaderOps()
