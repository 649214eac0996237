"""Header operations of a route: set, add, remove, in this order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

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
class HeaderOps:
    """Names keep their case on the wire and are compared without it."""

    set: tuple[tuple[bytes, bytes], ...] = ()
    add: tuple[tuple[bytes, bytes], ...] = ()
    remove: frozenset[bytes] = frozenset()  # lower case

    def __bool__(self) -> bool:
        return bool(self.set or self.add or self.remove)

    def apply(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """A new list; the order of what stays is kept."""
        gone = self.remove | {name.lower() for name, _ in self.set}
        kept = [(name, value) for name, value in headers if name.lower() not in gone]
        return [*kept, *self.set, *self.add]


NONE: Final = HeaderOps()
