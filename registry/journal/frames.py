"""One record, one line: "CHECKSUM JSON\\n". Readable with less, cut anywhere, and the cut shows."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

_PREFIX = 9
"""Eight hexadecimal digits and a blank."""


def pack(record: Any) -> bytes:
    """The line of one record; JSON escapes line ends, so a line is a record."""
    body = json.dumps(record, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def unpack(line: bytes) -> Any:
    """The record of one line, or Junk; ValueError when it is not whole."""
    if len(line) <= _PREFIX or not line.endswith(b"\n"):
        raise ValueError("cut off")
    body = line[_PREFIX:-1]
    if line[:_PREFIX] != b"%08x " % zlib.crc32(body):
        raise ValueError("the checksum does not fit")
    try:
        return json.loads(body.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as bad:
        return Junk(str(bad))


@dataclass(frozen=True, slots=True)
class Junk:
    """A line that is as it was written, and no record: we never wrote it."""

    reason: str


class Records:
    """Iterate the whole records of a file's bytes; `good` and `problem` then say where and why it ended.

    Junk is given like a record, because what follows it is as whole as what was before.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.good = 0
        """Bytes up to the end of the last good record."""
        self.count = 0
        self.line = b""
        """Of the record that was given last."""
        self.problem = ""

    def __iter__(self) -> Iterator[Any]:
        while self.good < len(self._data):
            end = self._data.find(b"\n", self.good) + 1 or len(self._data)
            self.line = self._data[self.good : end]
            try:
                record = unpack(self.line)
            except ValueError as bad:
                self.problem = f"record {self.count + 1} at byte {self.good}: {bad}"
                return
            yield record
            self.good = end
            self.count += 1


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")
