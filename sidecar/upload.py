"""The request's body on its way to a backend, and what is kept of it for another try."""

from __future__ import annotations

from collections.abc import Sequence

from .wire.serialize import chunk, last_chunk

# A request body up to this size is kept for a retry (Linkerd's bound); beyond it there is none.
REPLAY_BYTES = 64 * 1024


class Upload:
    """Collects a body's pieces until they are sent, and keeps them while another try may need them."""

    __slots__ = ("_chunked", "_pieces", "size", "trailers")

    def __init__(self, chunked: bool) -> None:
        self._chunked = chunked
        self._pieces: list[bytes] = []
        self.size = 0
        self.trailers: list[bytes] = []
        """The field lines behind it."""

    @property
    def too_large(self) -> bool:
        """Whether it is more than is kept for a retry."""
        return self.size > REPLAY_BYTES

    @property
    def pieces(self) -> Sequence[bytes]:
        """What is kept, as it came."""
        return self._pieces

    def add(self, data: bytes) -> None:
        self._pieces.append(data)
        self.size += len(data)

    def forget(self) -> None:
        """It was sent and is too large to keep."""
        self._pieces = []
        self.size = 0

    def frame(self, data: bytes) -> bytes:
        """A piece as it goes on the wire."""
        return chunk(data) if self._chunked else data

    def end(self) -> list[bytes]:
        """What follows the last piece."""
        return [last_chunk(self.trailers)] if self._chunked else []

    def framed(self, complete: bool) -> list[bytes]:
        """All that is here, as it goes on the wire."""
        pieces = [chunk(piece) for piece in self._pieces] if self._chunked else list(self._pieces)
        return pieces + self.end() if complete else pieces
