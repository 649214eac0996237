"""The copies of a request that its route asks for: where to, and the body until it is whole.

A copy is sent when the request is complete, so its body is kept that long, apart from what is kept for a
retry: up to Envoy's limit for one, and for all of a sidecar together up to a `Room`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .upload import Upload
from .wire.events import Body

if TYPE_CHECKING:
    from .exchange_state import ExchangeState
    from .routing.route import Route

# All bodies of copies that one listener holds at once, those on their way included. 64 of the largest by
# default: a destination that takes nothing must not cost the sidecar its memory.
ROOM_BYTES = 64 * 1024 * 1024


class Room:
    """What is left of the bytes that may be held."""

    __slots__ = ("left",)

    def __init__(self, size: int = ROOM_BYTES) -> None:
        self.left = size

    def take(self, size: int) -> bool:
        if size > self.left:
            return False
        self.left -= size
        return True

    def give(self, size: int) -> None:
        self.left += size


class Copies:
    """The copies of one request to the destinations `keys`, as `route` wants them; `send` or `forget` it."""

    __slots__ = ("_body", "_keys", "_room", "_route", "_size", "refused")

    def __init__(self, exchange: ExchangeState, route: Route, keys: list[str], upload: Upload | None) -> None:
        self._keys = keys
        self._route = route
        self._room = exchange.proxy.copies_room
        self._body: Upload | None = None
        self._size = 0
        self.refused = ""
        """Why none will be sent, in a word for the metric; empty: they will."""
        if upload is not None:
            head = exchange.head
            self._body = Upload(head.body is Body.CHUNKED)
            if head.length > route.mirror_max_body:
                self.refused = "too_large"
            for piece in upload.pieces:
                self.add(piece)

    def add(self, data: bytes) -> None:
        """Another piece of the body."""
        if self.refused or self._body is None:
            return
        size = len(data)
        if self._size + size > self._route.mirror_max_body:
            self.refused = "too_large"
        elif not self._room.take(size):
            self.refused = "no_room"
        else:
            self._size += size
            self._body.add(data)
            return
        self.forget()

    def send(self, exchange: ExchangeState, limit_s: float) -> None:
        """The request is whole, and on its way itself."""
        size, body = self._size, [] if self._body is None else self._body.framed(complete=True)
        self.forget()
        for key in self._keys:
            if self.refused:
                exchange.proxy.not_mirrored(self._route, key, self.refused)
            else:
                exchange.proxy.mirror(exchange, self._route, key, body, size, limit_s)

    def forget(self) -> None:
        """Give back what is held."""
        if self._body is not None:
            self._body.forget()
        self._room.give(self._size)
        self._size = 0
