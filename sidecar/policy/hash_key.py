"""What of a request decides where it goes, when a policy wants the same key at the same endpoint."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from .errors import PolicyError, check_range

RING_MIN: Final = 1024
RING_MAX: Final = 65_536
"""Points that take a tenth of a second to make, at every change of the set; Envoy's limit is 8 million."""

TABLE_SIZE: Final = 65_537
"""Of maglev, as in Envoy."""

TABLE_MAX: Final = 262_144
"""Places that take a tenth of a second to fill; Envoy's own limit is 5 million."""


@dataclass(frozen=True, slots=True)
class NewCookie:
    """How the cookie is made for who has none; `ttl_s` 0 = as long as the browser runs."""

    ttl_s: float
    path: str = ""
    attributes: tuple[tuple[str, str], ...] = ()

    def field(self, name: str, value: bytes) -> bytes:
        """The value of Set-Cookie."""
        parts = [b'%b="%b"' % (name.encode(), value)]
        if self.ttl_s > 0:
            parts.append(b"Max-Age=%d" % max(1, self.ttl_s))
        if self.path:
            parts.append(b"Path=%b" % self.path.encode())
        parts += [(f"{key}={word}" if word else key).encode() for key, word in self.attributes]
        return b"; ".join([*parts, b"HttpOnly"])


@dataclass(frozen=True, slots=True)
class HashKey:
    """What of a request is hashed: a header or cookie or query parameter of that name, or the peer's
    address. `new`: the cookie is made where there is none.
    """

    kind: Literal["header", "cookie", "query", "source"]
    name: str = ""
    minimum_ring_size: int = RING_MIN
    table_size: int = TABLE_SIZE
    new: NewCookie | None = None

    def __post_init__(self) -> None:
        if self.kind != "source" and not self.name:
            raise PolicyError("consistentHash", f"needs the name of the {self.kind}")
        check_range("consistentHash.minimumRingSize", self.minimum_ring_size, 1, RING_MAX)
        check_range("consistentHash.maglev.tableSize", self.table_size, 2, TABLE_MAX)
        if not is_prime(self.table_size):
            raise PolicyError("consistentHash.maglev.tableSize", f"must be a prime, not {self.table_size}")

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
                        return found.strip(b'"')
        return None


def is_prime(number: int) -> bool:
    """Of a number as small as a table's size."""
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


def hash_of(value: bytes) -> int:
    """64 bits, the same in every process (Python's own hash is not)."""
    return int.from_bytes(hashlib.blake2b(value, digest_size=8).digest(), "big")
