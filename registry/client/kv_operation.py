"""One step of a transaction on keys, as Consul's `/v1/txn` takes it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Final

MAX_OPERATIONS: Final = 64
"""Consul's limit (and ours) on one transaction."""


@dataclass(frozen=True, slots=True)
class KVOperation:
    """`value` None removes the key. With `index` only if the key's modify index is still that, 0 = absent."""

    key: str
    value: bytes | None
    flags: int = 0
    index: int | None = None

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
