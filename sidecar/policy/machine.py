"""pybreaker as the keeper of the state: closed, open, half-open, and who is told of a change.

Its own counters, timers and `call` are not used: a breaker's evidence comes from attempts that another layer
makes, and time comes from an injected clock.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final

import pybreaker


class State(IntEnum):
    """The three states; the numbers are those of the `circuit_breaker_state` metric."""

    CLOSED = 0
    OPEN = 1
    HALF_OPEN = 2


WORDS: Final = {State.CLOSED: "closed", State.OPEN: "open", State.HALF_OPEN: "half-open"}


class _Storage(pybreaker.CircuitBreakerStorage):
    """pybreaker's memory without its wall clock: `opened_at` is not kept, our own `until` rules."""

    def __init__(self) -> None:
        super().__init__("endpoint")
        self._state = pybreaker.STATE_CLOSED

    @property
    def state(self) -> str:
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        self._state = state

    @property
    def counter(self) -> int:
        return 0

    @property
    def success_counter(self) -> int:
        return 0

    @property
    def opened_at(self) -> None:
        return None

    @opened_at.setter
    def opened_at(self, datetime: object) -> None:
        pass


_STATES: Final = {
    pybreaker.STATE_CLOSED: State.CLOSED,
    pybreaker.STATE_OPEN: State.OPEN,
    pybreaker.STATE_HALF_OPEN: State.HALF_OPEN,
}


class _Transitions(pybreaker.CircuitBreakerListener):
    """Hands pybreaker's transitions on."""

    def __init__(self, moved: Callable[[State, State], None]) -> None:
        self._moved = moved

    def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
        self._moved(_STATES[old_state.name], _STATES[new_state.name])


class Machine(pybreaker.CircuitBreaker):
    """`open()`, `half_open()`, `close()`; each calls `moved(old, new)`, also when old is new."""

    def __init__(self, moved: Callable[[State, State], None]) -> None:
        super().__init__(state_storage=_Storage(), listeners=[_Transitions(moved)])
