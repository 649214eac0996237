"""One step of a transaction on keys, as Consul's `/v1/txn` takes it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

MAX_OPERATIONS: Final = 64
"""Consul's limit (and ours) on one transaction."""

MAX_BYTES: Final = 512 * 1024
"""Of one transaction's body; the same."""

_AROUND: Final = 128
"""Bytes of one operation's JSON beside its key and its value."""


@dataclass(frozen=True, slots=True)
class KVOperation:
    """`value` None removes the key. With `index` only if the key's modify index is still that, 0 = absent."""

    key: str
    value: bytes | None
    flags: int = 0
    index: int | None = None

    @property
    def size(self) -> int:
        """Bytes in a transaction's body, at most: the value is sent as base64."""
        return len(self.key.encode()) + 4 * ((len(self.value or b"") + 2) // 3) + _AROUND

    def json(self) -> dict[str, Any]:
        """As Consul takes it."""
        verb = "delete" if self.value is None else "set"
        if self.index is not None:
            verb = "delete-cas" if self.value is None else "cas"
        step: dict[str, Any] = {"Verb": verb, "Key": self.key}
        if self.value is not None:
            step |= {"Value": base64.b64encode(self.value).decode(), "Flags": self.flags}
        if self.index is not None:
            step["Index"] = self.index
        return {"KV": step}


def in_parts(operations: Iterable[KVOperation]) -> Iterator[list[KVOperation]]:
    """As few transactions as their limits allow; an operation that is too large alone stands alone."""
    part: list[KVOperation] = []
    size = 0
    for operation in operations:
        if part and (len(part) == MAX_OPERATIONS or size + operation.size > MAX_BYTES):
            yield part
            part, size = [], 0
        part.append(operation)
        size += operation.size
    if part:
        yield part
