"""The last five minutes, a number a second, of the whole, of each service and of each call.

Pure and bounded: a row of floats for each series and second; at a hundred services and 150 calls 20 MB.
"""

from collections import deque
from collections.abc import Container, Mapping
from typing import Any

SECONDS = 300
# Names of services come from a topology file of at most so many; more series than this are not kept.
MAX_SERIES = 1000

WHOLE = ("offered_rps", "rps", "p50_ms", "p99_ms", "service_p50_ms", "service_p99_ms", "error_rate")
PART = ("rps", "p50_ms", "p99_ms", "error_rate")

Row = tuple[float | None, ...]
EMPTY: dict[str, Any] = {"keys": PART, "times": [], "rows": []}


class History:
    """`take` once a second; times are seconds since the epoch."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=SECONDS)
        self._whole: deque[Row] = deque(maxlen=SECONDS)
        self._series: dict[str, deque[tuple[float, Row]]] = {}

    def take(self, at: float, picture: Mapping[str, Any]) -> Row:
        """Keep a second; returns the row of the whole."""
        load = picture.get("load") or {}
        last = load.get("last_second") or {} if load.get("running") else {}
        row = tuple(last.get(key) for key in WHOLE)
        self._times.append(at)
        self._whole.append(row)
        for group in ("nodes", "edges"):
            for name, document in picture[group].items():
                series = self._series.get(name)
                if series is None:
                    if len(self._series) >= MAX_SERIES:
                        continue
                    series = self._series[name] = deque(maxlen=SECONDS)
                series.append((at, tuple(document.get(key) for key in PART)))
        return row

    def keep(self, names: Container[str]) -> None:
        """Forget the services, and the calls between them, that are not of these names."""
        for series in [each for each in self._series if not all(one in names for one in each.split(">"))]:
            del self._series[series]

    def whole(self) -> dict[str, Any]:
        """`keys`, `times` and one row for each time."""
        return {"keys": WHOLE, "times": list(self._times), "rows": list(self._whole)}

    def of(self, name: str) -> dict[str, Any] | None:
        """Likewise of a service (`orders`) or a call (`gateway>orders`); None when it is not known."""
        series = self._series.get(name)
        if series is None:
            return None
        return {"keys": PART, "times": [at for at, _ in series], "rows": [row for _, row in series]}
