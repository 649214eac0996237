"""How much traffic the mesh and its load generator carry at most, measured whenever it was too much."""

from collections.abc import Mapping
from typing import Any

# One late second is the machine's, not the mesh's; so many in a row are its limit.
STRUGGLING_S = 4
# A generator that is late but gets its answers says nothing of the most that is possible.
SHORT = 0.95


class Ceiling:
    """`rate` is requests/s answered while more were asked for; None while nobody has asked for too much."""

    def __init__(self) -> None:
        self.rate: float | None = None
        self._answered: list[float] = []

    def take(self, load: Mapping[str, Any]) -> None:
        """The load generator's status, once a second."""
        last = load.get("last_second") or {}
        answered, asked = (float(last.get(key) or 0.0) for key in ("rps", "offered_rps"))
        warned = load.get("generator_ok") is False or load.get("system_ok") is False
        if not load.get("running") or not warned or answered >= SHORT * asked:
            self._answered.clear()
            if self.rate is not None and answered > self.rate:
                self.forget()  # it can do more than was measured
            return
        self._answered = [*self._answered, answered][-STRUGGLING_S:]
        if len(self._answered) == STRUGGLING_S:
            self.rate = round(sum(self._answered) / STRUGGLING_S, 1) or None

    def forget(self) -> None:
        """The mesh is another one now."""
        self.rate = None
        self._answered.clear()
