"""What of a request decides where it goes, when a policy wants the same key at the same endpoint."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from .errors import PolicyError, check_range

RING_MIN: Final = 1024
RING_MAX: Final = 65_536


@dataclass(frozen=True, slots=True)
class HashKey:
    """What of a request is hashed: a header or cookie or query parameter of that name, or the peer's
    address.
    """

    kind: Literal["header", "cookie", "query", "source"]
    name: str = ""
    minimum_ring_size: int = RING_MIN

    def __post_init__(self) -> None:
        if self.kind != "source" and not self.name:
            raise PolicyError("consistentHash", f"needs the name of the {self.kind}")
        check_range("consistentHash.minimumRingSize", self.minimum_ring_size, 1, RING_MAX)

    def of(self, path: bytes, headers: Sequence[tuple[bytes, bytes]], source: str) -> int | None:
        """The key of one request; None if it has none (then any endpoint will do)."""
        value = self._value(path, headers, source)
        return None if value is None else hash_of(value)

    def _value(self, path: bytes, headers: Sequence[tuple[bytes, bytes]], source: str) -> bytes | None:
        if self.kind == "source":
            return source.encode()
        wanted = self.name.encode()
        if self.kind == "query":
            for part in path.partition(b"?")[2].split(b"&"):
                name, _, value = part.partition(b"=")
                if name == wanted:
                    return value
            return None
        if self.kind == "header":
            wanted = wanted.lower()
            return next((value for name, value in headers if name.lower() == wanted), None)
        for name, value in headers:
            if name.lower() == b"cookie":
                for pair in value.split(b";"):
                    key, _, found = pair.strip().partition(b"=")
                    if key == wanted:
                        return found
        return None


def hash_of(value: bytes) -> int:
    """64 bits, the same in every process (Python's own hash is not)."""
    return int.from_bytes(hashlib.blake2b(value, digest_size=8).digest(), "big")
