"""What a row takes of memory, about: enough to know when there is too much."""

from __future__ import annotations

from typing import Any, Final

from registry.model import KVEntry

ROW: Final = 320
"""Bytes of a row's places in tables and indexes, beside what stands in it. So, an instance with its check
takes 2.7 KiB: as measured."""


def size_of(row: Any) -> int:
    """Bytes, from above for what is large: a long text counts for more than it takes."""
    if row is None:
        return 0
    if isinstance(row, int):
        return ROW  # of a tombstone; its key counts where it is put
    if isinstance(row, KVEntry):
        return ROW + len(row.key) + len(row.value)
    # how a row is written is as long as what it holds; to walk through it takes five times the time
    return ROW + len(repr(row))
