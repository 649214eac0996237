"""What the mesh knows of one instance, and what follows from it: its state in one word, with the reason.

Pure: the supervisor tells it what happened (started, ready, frozen, ended, snapshot) and asks what to do.

starting   a part has not said yet that it serves, or the sidecar has not heard from the app
healthy    both parts run and the app says it is well
degraded   it serves, but something is wrong
down       a part is gone, or the app says it is not well
paused     a part is frozen (SIGSTOP)
draining   it finishes what it has and takes nothing new
"""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mesh.errors import UsageError
from mesh.plan import InstancePlan, Kind, Part
from mesh.processes import Exit

# A part that ends by itself is started again after this long, twice as long each time it does it again.
RESTART_FIRST_S = 0.5
RESTART_LONGEST_S = 30.0
# A part that ran this long had started well: the next restart is a first one.
STABLE_S = 30.0

# Somebody asked for these ends, `mesh kill` or a person with a shell; a restart would undo what they wanted.
ASKED_FOR = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})

# Of what a program said last, so that a table's row stays one line.
LAST_WORDS = 120

# One slow answer of a busy sidecar says nothing; this many in a row do.
SILENT_AFTER_MISSES = 3

# An app that was never well since its start is still starting for this long, and ill after it: a Node or
# JVM program takes a while to listen.
STARTING_GRACE_S = 10.0


class State(StrEnum):
    """An instance's state; the words are those of the command, the API and the page."""

    STARTING = "starting"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    DOWN = "down"
    PAUSED = "paused"
    DRAINING = "draining"


class Phase(StrEnum):
    """A part's process: idle before its first start, ended after its last."""

    IDLE = "idle"
    STARTING = "starting"
    RUNNING = "running"
    FROZEN = "frozen"
    ENDED = "ended"


@dataclass(slots=True)
class PartRecord:
    """What is known of one process of an instance; times are the clock's."""

    phase: Phase = Phase.IDLE
    pid: int | None = None
    started_at: float = 0.0
    restarts: int = 0
    restart_at: float | None = None
    words: str = ""  # how it ended, or why it did not start
    quick_ends: int = 0

    @property
    def alive(self) -> bool:
        """Whether there is a process."""
        return self.phase in (Phase.STARTING, Phase.RUNNING, Phase.FROZEN)


@dataclass(frozen=True, slots=True)
class Standing:
    """The answer to 'how is it': the word, and why it is not `healthy`."""

    state: State
    reason: str = ""


class Instance:
    """One instance's record; every method that tells it something is called once per event."""

    def __init__(self, plan: InstancePlan, clock: Callable[[], float]) -> None:
        self.plan = plan
        self.parts: dict[Part, PartRecord] = {part: PartRecord() for part in plan.parts}
        self.snapshot: Mapping[str, Any] | None = None
        self._misses = 0
        self._miss_words = ""
        self._passed = False  # whether the app was well at any time since a part was started
        self._clock = clock

    def __repr__(self) -> str:
        standing = self.standing()
        reason = f" ({standing.reason})" if standing.reason else ""
        return f"<Instance {self.plan.name} {standing.state}{reason}>"

    # what happened

    def spawned(self, part: Part, pid: int) -> None:
        """A process was started; a command serves when it answers, one of ours when it says so."""
        record = self.parts[part]
        if record.phase is Phase.ENDED:
            record.restarts += 1
        record.phase = Phase.RUNNING if self.plan.parts[part].command is not None else Phase.STARTING
        record.pid = pid
        record.started_at = self._clock()
        record.restart_at = None
        record.words = ""
        self._passed = False
        self._forget_snapshot()

    def ready(self, part: Part) -> None:
        """It printed its ready line."""
        if self.parts[part].phase is Phase.STARTING:
            self.parts[part].phase = Phase.RUNNING

    def frozen(self, part: Part, stopped: bool, ready: bool) -> None:
        """It was stopped or continued, by us or by anybody."""
        record = self.parts[part]
        if record.alive:
            record.phase = Phase.FROZEN if stopped else Phase.RUNNING if ready else Phase.STARTING

    def ended(self, part: Part, end: Exit, last_words: str = "") -> float | None:
        """It is gone; returns the seconds after which it is to be started again, None if it stays down.

        `last_words`, the end of its log, are the reason when it failed by itself.
        """
        record = self.parts[part]
        record.phase = Phase.ENDED
        record.pid = None
        record.words = str(end)
        if part is Part.SIDECAR:
            self._forget_snapshot()
        if end.signal in ASKED_FOR or end.code == 0:
            return None
        if last_words:
            record.words += f" ({last_words[:LAST_WORDS]})"
        return self._restart_in(record)

    def not_started(self, part: Part, words: str) -> float:
        """The start failed; returns the seconds after which to try again."""
        record = self.parts[part]
        record.phase = Phase.ENDED
        record.pid = None
        record.words = f"did not start: {words}"
        return self._restart_in(record)

    def stay_down(self, part: Part) -> None:
        """No restart, until it is asked for."""
        record = self.parts[part]
        record.restart_at = None
        record.quick_ends = 0

    def observed(self, snapshot: Mapping[str, Any]) -> None:
        """The sidecar answered."""
        self.snapshot = snapshot
        self._misses = 0
        app = snapshot.get("app")
        self._passed = self._passed or not isinstance(app, Mapping) or app.get("status") != "critical"

    def missed(self, words: str) -> None:
        """The sidecar did not answer."""
        self._misses += 1
        self._miss_words = words

    # what follows

    def chosen(self, part: Part | None) -> tuple[Part, ...]:
        """That part, or for None all there are; raises UsageError for one that it has not."""
        if part is None:
            return tuple(self.parts)
        if part not in self.parts:
            raise UsageError(f"{self.plan.name} has no {part} (it has only its {' and '.join(self.parts)})")
        return (part,)

    def standing(self) -> Standing:
        """The state in one word, the worst first, with the reason."""
        return (
            self._ended()
            or self._frozen()
            or self._starting()
            or (self._by_snapshot() if Part.SIDECAR in self.parts else Standing(State.HEALTHY))
        )

    @property
    def healthy(self) -> bool:
        """Whether it takes requests and does well."""
        return self.standing().state is State.HEALTHY

    def _ended(self) -> Standing | None:
        gone = [part for part, record in self.parts.items() if record.phase is Phase.ENDED]
        if gone:
            return Standing(State.DOWN, ", ".join(self._about(part) for part in gone))
        if self.plan.kind is Kind.LOADGEN and self.parts[Part.APP].phase is Phase.IDLE:
            return Standing(State.DOWN, "not started (mesh load --rate N starts it)")
        return None

    def _about(self, part: Part) -> str:
        record = self.parts[part]
        words = f"{part} {record.words}"
        if record.restart_at is not None:
            words += f", starts again in {max(0.0, record.restart_at - self._clock()):.1f} s"
        return words

    def _frozen(self) -> Standing | None:
        parts = [part for part, record in self.parts.items() if record.phase is Phase.FROZEN]
        return Standing(State.PAUSED, f"{' and '.join(parts)} paused") if parts else None

    def _starting(self) -> Standing | None:
        parts = [part for part, record in self.parts.items() if record.phase in (Phase.IDLE, Phase.STARTING)]
        return Standing(State.STARTING, f"{' and '.join(parts)} starting") if parts else None

    def _by_snapshot(self) -> Standing:
        if self._misses >= SILENT_AFTER_MISSES:
            return Standing(State.DOWN, f"the sidecar does not answer: {self._miss_words}")
        if self.snapshot is None:
            return Standing(State.STARTING, "the sidecar has not answered yet")
        if self.snapshot.get("state") == "draining":
            return Standing(State.DRAINING, "it takes no new requests")
        app = self.snapshot.get("app")
        if not isinstance(app, Mapping):
            return Standing(State.HEALTHY)
        reason = str(app.get("reason") or "")
        match app.get("status"):
            case "passing":
                return Standing(State.HEALTHY)
            case "warning":
                return Standing(State.DEGRADED, reason or "the app says so")
            case _ if not self._passed and self._clock() - self._started_at() < STARTING_GRACE_S:
                return Standing(State.STARTING, reason or "the app does not answer yet")
            case _:
                return Standing(State.DOWN, reason or "the app says so")

    def _started_at(self) -> float:
        return max(record.started_at for record in self.parts.values())

    def _restart_in(self, record: PartRecord) -> float:
        if self._clock() - record.started_at >= STABLE_S:
            record.quick_ends = 0
        delay = min(RESTART_FIRST_S * 2.0**record.quick_ends, RESTART_LONGEST_S)
        record.quick_ends = min(record.quick_ends + 1, 16)
        record.restart_at = self._clock() + delay
        return delay

    def _forget_snapshot(self) -> None:
        self.snapshot = None
        self._misses = 0
