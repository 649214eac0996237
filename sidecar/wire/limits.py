"""How much of each thing a peer may send before it is refused."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Caps on one message; llhttp itself has none. Bytes, but for the two counts."""

    # Envoy's default is 60 KiB, nginx' 32 KiB. llhttp is quadratic in one header's length before it
    # calls us (16 MiB took 2.2 s), so the cap is held on raw bytes, not on parsed fields.
    head_bytes: int = 64 * 1024
    # nginx and HAProxy: the request line has to fit one 8 or 16 KiB buffer.
    target_bytes: int = 16 * 1024
    # HAProxy's tune.http.maxhdr is 101, Envoy's 100; cookies and tracing of two vendors fit below this.
    header_count: int = 128
    # Trailers are dropped here, so nobody needs many.
    trailer_bytes: int = 8 * 1024
    # What chunk extensions of one message may take together; they are dropped, so more is abuse.
    chunk_overhead_bytes: int = 16 * 1024
    # None = any size: bodies are streamed, so size costs no memory.
    body_bytes: int | None = None

    def with_room(self) -> Limits:
        """For what comes from another sidecar: what that one may take, and what it and its routes add."""
        return dataclasses.replace(
            self, head_bytes=self.head_bytes + ADDED_BYTES, header_count=self.header_count + ADDED_FIELDS
        )


# A sidecar adds some twelve fields of 600 bytes; the rest is for the headers that a VirtualService adds.
ADDED_FIELDS = 64
ADDED_BYTES = 4 * 1024
DEFAULT_LIMITS = Limits()
