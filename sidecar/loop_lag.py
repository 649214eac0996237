"""How late the event loop is: the first sign of a Python proxy that is overloaded."""

from __future__ import annotations

from collections.abc import Callable

from .io.deadlines import Deadlines, Timer

# Five looks a second notice an overload within half a second, and cost an idle sidecar nothing to speak of.
TICK_S = 0.2
# Of one core, over the time since the last tick: from here on the lateness is our own doing.
BUSY_SHARE = 0.5


class LoopLag:
    """Tells `observe` at each tick how late it was, in seconds.

    One late tick alone counts as none: a process that was stopped, or a laptop that slept, is not overloaded.
    So the smaller one of a reading and the reading before it is told. And where other programs have the
    cores, every sidecar of the machine is late together: turning requests away would make a slow mesh a
    failing one, and free nothing. So a tick is late only if this process itself was busy.

    Args:
        cpu: seconds of processor time that this process has used.
    """

    __slots__ = ("_clock", "_cpu", "_deadlines", "_due", "_observe", "_previous", "_timer", "_used")

    def __init__(
        self,
        deadlines: Deadlines,
        observe: Callable[[float], None],
        cpu: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._cpu = cpu
        self._used = cpu()
        self._deadlines = deadlines
        self._observe = observe
        self._clock = clock
        self._timer = Timer(self._tick)
        self._previous = 0.0
        self._due = 0.0

    def start(self) -> None:
        """Tick from now on, for as long as the deadlines run."""
        self._due = self._clock() + TICK_S
        self._deadlines.arm(self._timer, self._due)

    def _tick(self) -> None:
        lag = max(0.0, self._clock() - self._due)
        before, self._used = self._used, self._cpu()
        if self._used - before < BUSY_SHARE * (TICK_S + lag):
            lag = 0.0
        self._observe(min(lag, self._previous))
        self._previous = lag
        self.start()
