"""When each layer noticed: a stopwatch that starts with every kill, fault and healing of an instance.

Pure: it is told events (from the sidecars and the supervisor) and attempts (from spans) and keeps the first
or the last of each kind. Times are seconds since the epoch by each process's own clock of the same machine.

A row is `{"key", "ms", "who", "count"}`; the words for `key` are the page's:
    process    the supervisor saw the process end, freeze or serve again
    attempt    the first attempt at it that failed (after healing: that was answered)
    breaker    a caller's breaker opened (half-open: first probe; closed: the last of them closed)
    health     its own sidecar's health check failed, or passed again
    registry   a caller was told that it left, or joined
    last       the last attempt that was still routed to it; what an open breaker lets through is a probe
    full       it has its full share of the traffic again
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

KEPT = 30
# What comes later than this after the cause has another cause.
WATCHED_S = 60.0
DOWNWARD = frozenset({"kill", "pause", "drain", "cut", "ended", "fault"})
# Faults in force that are remembered; more than anybody gives at a time.
MAX_FAULTS = 1000
# What happens to an instance in the seconds that an action on it takes, at most: ten at 1,000 requests/s.
MAX_HELD = 10_000
# Names and reasons come from sidecars, whose documents come from anybody: more of them is not kept.
MAX_NAME, MAX_WORDS = 256, 1024

Row = dict[str, Any]


class Stopwatch:
    """One cause and what followed it; `document()` is what the page shows.

    An attempt of `slow_s` or longer counts as one that failed: the delay that a fault gives it.
    """

    def __init__(
        self, number: int, at: float, instance: str, action: str, part: str, note: str, slow_s: float
    ) -> None:
        self.id, self.at, self.instance, self.action, self.part = number, at, instance, action, part
        self.note, self.slow_s = note[:MAX_WORDS], slow_s
        self.down = action in DOWNWARD
        self.opened: dict[str, float] = {}  # caller -> when its breaker opened
        self._rows: dict[str, Row] = {}

    def watches(self, at: float) -> bool:
        """Whether something at that time can be its doing."""
        return 0 <= at - self.at <= WATCHED_S

    def first(self, key: str, at: float, who: str) -> bool:
        """Count it; the first one's time stays."""
        row = self._rows.get(key)
        if row is None or at < self.at + row["ms"] / 1000:
            self._rows[key] = self._row(key, at, who, 1 if row is None else row["count"] + 1)
            return True
        row["count"] += 1
        return True

    def last(self, key: str, at: float, who: str) -> bool:
        """Count it; the last one's time stays."""
        row = self._rows.get(key)
        if row is not None and at <= self.at + row["ms"] / 1000:
            row["count"] += 1
            return False
        self._rows[key] = self._row(key, at, who, 1 if row is None else row["count"] + 1)
        return True

    def _row(self, key: str, at: float, who: str, count: int) -> Row:
        return {"key": key, "ms": round((at - self.at) * 1000, 1), "who": who, "count": count}

    def document(self) -> dict[str, Any]:
        """Rows in the order of their times."""
        return {
            "id": self.id,
            "at": round(self.at, 6),
            "instance": self.instance,
            "action": self.action,
            "part": self.part,
            "note": self.note,
            "down": self.down,
            "rows": sorted(self._rows.values(), key=lambda row: row["ms"]),
        }


class Trial:
    """Something that somebody is about to do: a cause if it is done, nothing if it is refused or fails."""

    __slots__ = ("action", "at", "instance", "part")

    def __init__(self, at: float, instance: str, action: str, part: str) -> None:
        self.at, self.instance, self.action, self.part = at, instance, action, part


class Detection:
    """The last causes; every method returns the stopwatch that changed, or None."""

    def __init__(self) -> None:
        self._watches: deque[Stopwatch] = deque(maxlen=KEPT)
        self._current: dict[str, Stopwatch] = {}
        self._faults: dict[tuple[str, str], float] = {}  # (instance, fault) -> when its time is over
        self._trials: dict[str, list[Trial]] = {}  # of instances that somebody is about to do something to
        self._held: dict[str, list[Callable[[], Stopwatch | None]]] = {}  # what came meanwhile
        self._last = 0

    def documents(self) -> list[dict[str, Any]]:
        """Oldest first."""
        return [each.document() for each in self._watches]

    def watched(self, now: float) -> frozenset[str]:
        """Instances whose attempts matter now."""
        return frozenset(name for name, each in self._current.items() if each.watches(now)) | set(
            self._trials
        )

    def began(
        self, at: float, instance: str, action: str, part: str, note: str = "", slow_s: float = math.inf
    ) -> Stopwatch:
        """Somebody did something to an instance, or it ended by itself; `note` says more of why."""
        self._last += 1
        watch = Stopwatch(self._last, at, instance, action, part, note, slow_s)
        self._watches.append(watch)
        self._current[instance] = watch
        return watch

    def trying(self, at: float, instance: str, action: str, part: str) -> Trial:
        """Somebody is about to do this; until it is `settled`, what happens to the instance is held back."""
        trial = Trial(at, instance, action, part)
        self._trials.setdefault(instance, []).append(trial)
        return trial

    def settled(self, trial: Trial, done: bool) -> Stopwatch | None:
        """It was done, or it was refused or failed; what was held back counts for what the cause then is."""
        instance = trial.instance
        watch = self.began(trial.at, instance, trial.action, trial.part) if done else None
        trials = self._trials[instance]
        trials.remove(trial)
        if not trials:
            del self._trials[instance]
            for count in self._held.pop(instance, ()):
                watch = count() or watch
        return watch

    def tries(self, instance: str) -> bool:
        """Whether somebody is about to do something to it."""
        return instance in self._trials

    def _hold(self, instance: str, count: Callable[[], Stopwatch | None]) -> bool:
        """Whether it counts later, when it is known what it is the doing of."""
        if instance not in self._trials:
            return False
        held = self._held.setdefault(instance, [])
        if len(held) < MAX_HELD:
            held.append(count)
        return True

    def back(self, at: float, instance: str) -> Stopwatch | None:
        """It serves again and nobody healed it: what follows is no longer the doing of its end."""
        if self._hold(instance, lambda: self.back(at, instance)):
            return None
        watch = self._current.get(instance)
        return self.began(at, instance, "back", "") if watch is not None and watch.down else None

    def event(self, event: Mapping[str, Any]) -> Stopwatch | None:
        """One of the journal."""
        kind, at, source = event["kind"], event["time"], event["source"]
        if kind == "fault" and event.get("endpoint") == source:
            return self._fault(event)
        own = kind in ("state", "health", "drain")
        instance = str(event.get("instance") or (source if own else event.get("endpoint")))
        if self._hold(instance, lambda: self.event(event)):
            return None
        watch = self._watch(instance, at)
        if watch is None:
            return None
        after = event.get("after")
        changed = False
        match kind:
            case "state":
                changed = (after == "healthy") != watch.down and watch.first("process", at, "supervisor")
            case "health":
                changed = (after == "passing") != watch.down and watch.first("health", at, source)
            case "membership":
                changed = (after == "member") != watch.down and watch.first("registry", at, source)
            case "told":
                changed = (after == "passing") != watch.down and watch.first("registry", at, source)
            case "breaker":
                changed = self._breaker(watch, str(after), at, source)
            case "ramp":
                changed = not watch.down and after == "100%" and watch.last("full", at, source)
        return watch if changed else None

    def _fault(self, event: Mapping[str, Any]) -> Stopwatch | None:
        """Its own sidecar acts on a fault from now on, or no longer."""
        at, instance, numbers = event["time"], event["source"], event.get("numbers") or {}
        key = (instance, str(event.get("fault"))[:MAX_NAME])
        slow_s = (numbers.get("delay_ms") or math.inf) / 1000
        if event.get("after") != "applied":
            watch = self._current.get(instance)
            if self._faults.pop(key, None) is None or watch is None or watch.action != "fault":
                return None
            return self.began(at, instance, "fault-over", "", slow_s=slow_s)
        # a sidecar that was started again reads the fault that it had: that is no other cause
        again = at < self._faults.pop(key, -math.inf)
        self._faults[key] = at + (numbers.get("ttl_s") or math.inf)
        if len(self._faults) > MAX_FAULTS:
            del self._faults[next(iter(self._faults))]
        if again:
            return None
        return self.began(at, instance, "fault", "", str(event.get("reason") or ""), slow_s)

    @staticmethod
    def _breaker(watch: Stopwatch, after: str, at: float, source: str) -> bool:
        if watch.down:
            if after == "closed":
                watch.opened.pop(source, None)
            if after != "open":
                return False
            watch.opened.setdefault(source, at)
            return watch.first("breaker", at, source)
        if after == "half-open":
            return watch.first("half-open", at, source)
        return after == "closed" and watch.last("closed", at, source)

    def attempt(self, instance: str, at: float, ended: float, failed: bool, caller: str) -> Stopwatch | None:
        """An attempt at an instance began at `at`."""
        if self._hold(instance, lambda: self.attempt(instance, at, ended, failed, caller)):
            return None
        watch = self._watch(instance, at)
        if watch is None:
            return None
        changed = False
        if (failed or ended - at >= watch.slow_s) == watch.down:
            changed = watch.first("attempt", ended, caller)
        if watch.down and at <= watch.opened.get(caller, math.inf):
            changed = watch.last("last", at, caller) or changed
        return watch if changed else None

    def _watch(self, instance: str, at: float) -> Stopwatch | None:
        watch = self._current.get(instance)
        return watch if watch is not None and watch.watches(at) else None
