"""When checks expire, when instances that stay critical go, and what an alias says: rules over a clock.

Nothing here knows a loop: the agent asks `expired(now)` as often as it likes.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from registry.model import CRITICAL, PASSING, Check

MIN_DEREGISTER_AFTER = 60.0
"""Seconds. Consul's floor for DeregisterCriticalServiceAfter: shorter values are raised to it."""

MIN_INTERVAL = 1.0
"""Seconds between two runs of an HTTP or TCP check; Consul raises what is below."""

MAX_OUTPUT = 4096
"""Bytes of a check's output that are kept, as in Consul; the head is cut, because the end says why."""


LEFT_OVERS = 1024
"""Entries of dropped and moved deadlines that may stand in the heap before it is made anew."""


class Deadlines:
    """Names with a deadline each, in seconds of the caller's clock.

    Moving a deadline is one dictionary write: the heap keeps the old entry and corrects itself when
    that comes up. 5,000 heartbeats of 5 s cost 1,000 writes a second and no heap work.
    """

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        # The one entry of each name that counts; others in the heap are left-overs of moves.
        self._queued: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, name: str) -> bool:
        return name in self._due

    def set(self, name: str, due: float) -> None:
        """Start or move a deadline."""
        self._due[name] = due
        queued = self._queued.get(name)
        if queued is None or due < queued:
            self._queue(name, due)

    def _queue(self, name: str, due: float) -> None:
        if len(self._heap) > LEFT_OVERS + 2 * len(self._due):
            # sessions of a day that end after a second would stand in it for two days
            self._queued = dict(self._due)
            self._heap = [(when, one) for one, when in self._due.items() if one != name]
            heapq.heapify(self._heap)
        self._queued[name] = due
        heapq.heappush(self._heap, (due, name))

    def drop(self, name: str) -> None:
        """Forget a name; unknown names are fine."""
        self._due.pop(name, None)

    def expired(self, now: float) -> list[str]:
        """Take out and return every name that is due, earliest first."""
        taken: list[str] = []
        while self._heap and self._heap[0][0] <= now:
            queued, name = heapq.heappop(self._heap)
            if self._queued.get(name) != queued:
                continue
            del self._queued[name]
            due = self._due.get(name)
            if due is None:
                continue
            if due <= now:
                del self._due[name]
                taken.append(name)
            else:
                self._queue(name, due)
        return taken


class Ttls:
    """TTL checks: each must be heard of within its TTL, or it is critical."""

    def __init__(self) -> None:
        self._ttl: dict[str, float] = {}
        self._deadlines = Deadlines()

    def __contains__(self, check_id: str) -> bool:
        return check_id in self._ttl

    def start(self, check_id: str, ttl: float, now: float) -> None:
        """Begin, or begin anew, with a full TTL."""
        self._ttl[check_id] = ttl
        self._deadlines.set(check_id, now + ttl)

    def heard(self, check_id: str, now: float) -> bool:
        """It reported; False when no such TTL check is known."""
        ttl = self._ttl.get(check_id)
        if ttl is None:
            return False
        self._deadlines.set(check_id, now + ttl)
        return True

    def stop(self, check_id: str) -> None:
        """Forget it."""
        self._ttl.pop(check_id, None)
        self._deadlines.drop(check_id)

    def retry(self, check_id: str, due: float) -> None:
        """Its expiry could not be kept (a full disk): let it expire again then."""
        if check_id in self._ttl:
            self._deadlines.set(check_id, due)

    def expired(self, now: float) -> list[str]:
        """Checks not heard of in time; each is returned once until it is heard again."""
        return self._deadlines.expired(now)


class CriticalSince:
    """How long each check has been critical, for those whose service shall go after a while."""

    def __init__(self) -> None:
        self._after: dict[str, float] = {}
        self._deadlines = Deadlines()

    def watch(self, check_id: str, after: float) -> None:
        """Deregister after this many seconds of critical; 0 = never."""
        if after > 0:
            self._after[check_id] = max(after, MIN_DEREGISTER_AFTER)

    def status(self, check_id: str, status: str, now: float) -> None:
        """The check's status now; only a change from or to critical matters."""
        after = self._after.get(check_id)
        if after is None:
            return
        if status != CRITICAL:
            self._deadlines.drop(check_id)
        elif check_id not in self._deadlines:
            self._deadlines.set(check_id, now + after)

    def stop(self, check_id: str) -> None:
        """Forget it."""
        self._after.pop(check_id, None)
        self._deadlines.drop(check_id)

    def overdue(self, now: float) -> list[str]:
        """Checks whose service must go now."""
        return self._deadlines.expired(now)


def clip_output(output: str) -> str:
    """The output as it is kept: its last 4 KiB, with Consul's word about the rest."""
    data = output.encode()
    if len(data) <= MAX_OUTPUT:
        return output
    kept = data[-MAX_OUTPUT:].decode("utf-8", "ignore")
    return f"Captured {MAX_OUTPUT} of {len(data)} bytes\n...\n{kept}"


def alias_status(checks: Iterable[Check]) -> tuple[str, str]:
    """What an alias says of the checks it mirrors: the worst of them, with that check's words."""
    status, output = PASSING, "No checks found."
    for check in checks:
        if check.status == PASSING:
            if status == PASSING:
                output = "All checks passing."
            continue
        status = check.status
        output = f'Aliased check "{check.name}" failing: {check.output}'
        if status == CRITICAL:
            break
    return status, output
