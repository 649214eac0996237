"""When a request with a body is passed on, and what it holds until then.

Who holds a place, at the app or in the bulkhead of an upstream, keeps it from others. So a place is taken by
what has been sent, not by a head that promises it:

1. A body that comes whole with its head, or is whole within `HOLD_S`, or of which more than `REPLAY_BYTES`
   are here, is passed on then, and takes its place then. Nearly every request ends here.
2. What is still short after `HOLD_S` is *late*. It is passed on as it comes, so that a stream reaches its
   reader, but of one destination only `late_places` requests at once are late: a quarter of an upstream's
   bulkhead, one at the app (we cannot see how many threads it has). The next one goes on being held, and is
   passed on when the first of the late ones is whole, long or answered; or when it is itself whole.
3. All the while a body must come at the minimum rate (`io.pace`), until its answer has begun; else 408.
   From then on the two streams are the app's and the client's own affair.

So a hundred uploads of a byte a second take one place at the app for ten seconds, and nobody else waits
(unless the app has no other: `--max-late-uploads 0` keeps even that one free).

A client that expects `100 Continue` sends nothing before it is asked: it is late at once, so that the app may
ask it; if it must be held, we do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .attempt import Target
    from .exchange import Exchange

# Who has a whole body sends it in one or two writes, an app its small answer too (`answer.py` holds that back
# for as long); what drips reaches its reader as it comes.
HOLD_S = 0.05
# Late requests at the app: each may keep a thread of it waiting, and some apps have only two.
MAX_LATE_UPLOADS = 1
# All held bodies of one listener together: a thousand of the largest. Past it, the one that has been held for
# longest is refused, for an honest one is through in no time.
MAX_HELD_BYTES = 64 * 1024 * 1024


class Holding:
    """The requests of one listener that are held back or late."""

    __slots__ = ("_late", "_promoting", "_queues", "held", "size")

    def __init__(self) -> None:
        self.held: dict[Exchange, int] = {}
        """In the order in which they came, with their bytes."""
        self.size = 0
        self._late: dict[str, int] = {}
        self._queues: dict[str, dict[Exchange, None]] = {}  # thousands may leave at once, from anywhere in it
        self._promoting: set[str] = set()

    @property
    def late(self) -> int:
        """How many are passed on while they come."""
        return sum(self._late.values())

    def add(self, exchange: Exchange, size: int) -> None:
        """The exchange is held, with so many bytes more."""
        self.held[exchange] = self.held.get(exchange, 0) + size
        self.size += size
        while self.size > MAX_HELD_BYTES:
            next(iter(self.held)).held_for_too_long()

    def leave(self, exchange: Exchange, target: Target) -> None:
        """It is held no more."""
        self.size -= self.held.pop(exchange, 0)
        queue = self._queues.get(target.name)
        if queue is not None and exchange in queue:
            del queue[exchange]
            if not queue:
                del self._queues[target.name]

    def admit(self, exchange: Exchange, target: Target) -> bool:
        """Whether it may be late now (then `done` once); else `late_admitted` is called when it may."""
        late = self._late.get(target.name, 0)
        if late < target.late_places:
            self._late[target.name] = late + 1
            return True
        if target.late_places:
            self._queues.setdefault(target.name, {})[exchange] = None
        return False

    def done(self, target: Target) -> None:
        """One that was late is not late any more: the next one is."""
        name, late = target.name, self._late
        late[name] -= 1
        if name in self._promoting:  # the next one was refused at once: the loop below goes on
            return
        self._promoting.add(name)
        try:
            while (queue := self._queues.get(name)) and late[name] < target.late_places:
                late[name] += 1
                next(iter(queue)).late_admitted()
        finally:
            self._promoting.discard(name)
        if not late[name]:
            del late[name]
