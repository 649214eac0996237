"""The word that this sidecar puts on its answers: how the app is, how late our loop, how busy both are."""

from __future__ import annotations

from collections.abc import Callable

from .balance.health import render_report

# Callers move in steps of a tenth: a report made for each answer would say no more than ten a second do.
RENDER_EVERY_S = 0.1


class LoadReport:
    """`value()` is that of the field `endpoint-load-metrics`.

    Args:
        health: passing, warning or critical; a change is told at once.
        lag: seconds that the event loop is late. used: part of the concurrency limit in use, 0 to 1.
    """

    __slots__ = ("_clock", "_health", "_lag", "_rendered_at", "_used", "_value", "_word")

    def __init__(
        self,
        health: Callable[[], str],
        lag: Callable[[], float],
        used: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._health = health
        self._lag = lag
        self._used = used
        self._clock = clock
        self._rendered_at = float("-inf")
        self._word = ""
        self._value = b""

    def value(self) -> bytes:
        """The header's value."""
        word, now = self._health(), self._clock()
        if word != self._word or now - self._rendered_at >= RENDER_EVERY_S:
            self._word, self._rendered_at = word, now
            self._value = render_report(word, self._lag(), self._used())
        return self._value
