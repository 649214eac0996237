"""How fast a request's body comes, while it is we who read.

Time in which reading is paused, because the other side takes no more, is not the client's. A client that
waits to be asked (`Expect: 100-continue`) is measured from its first byte on.
"""

from __future__ import annotations

import math
from collections.abc import Callable

# The average over this long counts: a mobile client that changes its cell is silent for some seconds.
WINDOW_S = 10.0
# Bytes that came while we ourselves stood still wait in the socket, and are read before this is over.
SECOND_LOOK_S = 0.25


class Pace:
    """`add` what comes, `pause` and `resume`; `look` says whether `rate` bytes/s were there in every window.

    A window ends when its bytes are there, and the next one begins then.

    Args:
        waits: nothing is expected before the first byte.
    """

    __slots__ = ("_clock", "_got", "_looked", "_need", "_paused", "_since")

    def __init__(self, rate: int, waits: bool, clock: Callable[[], float]) -> None:
        self._need = rate * WINDOW_S
        self._clock = clock
        self._got = 0
        self._since = math.inf if waits else clock()
        self._paused = math.inf
        self._looked = False

    def add(self, size: int) -> None:
        self._got += size
        if self._got >= self._need or self._since == math.inf:
            self._got = 0
            self._since = self._clock()
            self._looked = False

    def pause(self) -> None:
        self._paused = min(self._paused, self._clock())

    def resume(self) -> None:
        if self._paused < math.inf:
            self._since += self._clock() - self._paused
            self._paused = math.inf

    def look(self) -> float:
        """Seconds until it is time to look again; 0 = it is too slow."""
        if self._paused < math.inf or self._since == math.inf:
            return WINDOW_S
        left = self._since + WINDOW_S - self._clock()
        if left > 0:
            self._looked = False
            return left
        if not self._looked:
            self._looked = True
            return SECOND_LOOK_S
        return 0.0
