"""Time around sessions: when a TTL session ends, and for how long its locks stay untouchable."""

from __future__ import annotations

from registry.checks import Deadlines
from registry.model import Session

TTL_GRACE = 2.0
"""Consul ends a session after twice its TTL at the latest, and so do we: late renewals are no fault."""

MIN_TTL = 10.0
MAX_TTL = 86400.0
MAX_LOCK_DELAY = 60.0
MAX_DELAYS = 10_000
"""Locks in their delay: beyond it the oldest may be taken early, as after a restart of the registry."""


class Leases:
    """Deadlines of TTL sessions, and the lock-delays that their end began."""

    def __init__(self) -> None:
        self._sessions = Deadlines()
        self._locked_until: dict[str, float] = {}

    def start(self, session: Session, now: float) -> None:
        """Count from now; a session without TTL never ends by time."""
        if session.ttl > 0:
            self._sessions.set(session.id, now + session.ttl * TTL_GRACE)

    renew = start

    def stop(self, session_id: str) -> None:
        """The session ended another way."""
        self._sessions.drop(session_id)

    def expired(self, now: float) -> list[str]:
        """Sessions that must end now."""
        for key in [key for key, until in self._locked_until.items() if until <= now]:
            del self._locked_until[key]
        return self._sessions.expired(now)

    def delay(self, key: str, seconds: float, now: float) -> None:
        """Nobody may take this lock for a while: its last holder may still believe that it holds it."""
        self._locked_until[key] = now + min(seconds, MAX_LOCK_DELAY)
        if len(self._locked_until) > MAX_DELAYS:
            del self._locked_until[next(iter(self._locked_until))]

    def delayed(self, key: str, now: float) -> bool:
        """Whether this lock is in its lock-delay."""
        return self._locked_until.get(key, 0.0) > now
