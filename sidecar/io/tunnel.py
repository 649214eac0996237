"""Two connections whose bytes are relayed as they are: after an Upgrade, and for TCP services."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .deadlines import Deadlines, Timer

# Envoy's idle timeout for TCP is an hour; a WebSocket that is alive pings each minute or so.
TUNNEL_IDLE_S = 3600.0
# The reason of one that was cut because the time of a drain was over.
DRAINED = "drained"


class RawPeer(Protocol):
    """One side of a tunnel; none of these may raise, whatever state the connection is in."""

    def write_raw(self, data: bytes) -> None: ...
    def end_raw(self) -> None:
        """Send the end of the stream; the other direction goes on."""

    def close_raw(self) -> None:
        """Close, after what was written has gone out."""

    def abort_raw(self) -> None: ...
    def read_raw(self, on: bool) -> None: ...


class ByteCounts(Protocol):
    """Where bytes are counted while a tunnel is open."""

    received: int
    sent: int


class Tunnel:
    """Couples a client's and a backend's side: bytes, back-pressure, half-close, loss, one idle timeout.

    Each side reports with itself as the first argument. A side that is lost with an error cuts the other
    one, for a clean close there would make half a stream look whole.

    Args:
        idle_s: without a byte in either direction for this long, both sides are cut.
        over: called once, when the first side is gone.
        counts: bytes are added there as they come, for a tunnel may be open for days.
    """

    __slots__ = (
        "_clock", "_counts", "_deadlines", "_ended", "_idle_s", "_last", "_over", "_timer", "bytes_in",
        "bytes_out", "client", "reason", "upstream",
    )  # fmt: skip

    def __init__(
        self,
        client: RawPeer,
        upstream: RawPeer,
        deadlines: Deadlines,
        idle_s: float,
        clock: Callable[[], float],
        over: Callable[[Tunnel], None] | None = None,
        counts: ByteCounts | None = None,
    ) -> None:
        self.client = client
        self.upstream = upstream
        self.bytes_in = 0  # from the client
        self.bytes_out = 0  # to the client
        self.reason = ""  # why it was cut; empty for an orderly end
        self._clock = clock
        self._deadlines = deadlines
        self._idle_s = idle_s
        self._over = over
        self._counts = counts
        self._ended: RawPeer | None = None  # the first side whose stream ended
        self._last = clock()
        self._timer = Timer(self._look)
        deadlines.arm(self._timer, self._last + idle_s)

    def data(self, source: RawPeer, data: bytes) -> None:
        self._last = self._clock()
        counts = self._counts
        if source is self.client:
            self.bytes_in += len(data)
            if counts is not None:
                counts.received += len(data)
            self.upstream.write_raw(data)
        else:
            self.bytes_out += len(data)
            if counts is not None:
                counts.sent += len(data)
            self.client.write_raw(data)

    def ended(self, source: RawPeer) -> None:
        """The source will send no more; with both ended, both are closed."""
        self._last = self._clock()
        if self._ended is None:
            self._ended = source
            self._other(source).end_raw()
        elif self._ended is not source:
            self.client.close_raw()
            self.upstream.close_raw()

    def lost(self, source: RawPeer, error: Exception | None) -> None:
        """The source's connection is gone."""
        other = self._other(source)
        if error is None:
            other.close_raw()
        else:
            self.reason = self.reason or "connection lost"
            other.abort_raw()
        self._finish()

    def writable(self, side: RawPeer, writable: bool) -> None:
        """A side can take bytes again, or no more for now."""
        self._last = self._clock()
        self._other(side).read_raw(writable)

    def cut(self, reason: str) -> None:
        """End it now."""
        self.reason = self.reason or reason
        self.client.abort_raw()
        self.upstream.abort_raw()

    def _other(self, side: RawPeer) -> RawPeer:
        return self.upstream if side is self.client else self.client

    def _look(self) -> None:
        due = self._last + self._idle_s
        if due <= self._clock():
            self.cut("idle")
        else:
            self._deadlines.arm(self._timer, due)

    def _finish(self) -> None:
        self._timer.retire()
        over, self._over = self._over, None
        if over is not None:
            over(self)
