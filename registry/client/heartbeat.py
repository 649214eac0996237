"""Keeping one instance registered and alive, through every restart of the registry."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from registry.client.cursor import Backoff
from registry.client.records import ServiceRegistration
from registry.errors import NotFound, RegistryError, RegistryUnavailable
from registry.model import CRITICAL

log = logging.getLogger("registry.heartbeat")

STOP_TIMEOUT: Final = 2.0
"""Seconds that saying good-bye may take: a registry that is gone must not hold up a shutdown."""

SPREAD: Final = 0.1
"""Share by which an interval varies either way, so that a hundred heartbeats do not march in step."""

Probe = Callable[[], tuple[str, str]]


class Registrar(Protocol):
    """What a heartbeat needs of a client."""

    async def register(self, service: ServiceRegistration) -> None: ...
    async def deregister(self, service_id: str) -> None: ...
    async def update_check(self, check_id: str, status: str, output: str = "") -> None: ...


class Heartbeat:
    """Registers, reports what `probe()` says each `interval` seconds, and registers again when forgotten.

    `probe` answers (status, output) at once. The registration's first check must be a TTL check.
    Run `run()` as a task; `stop()` deregisters and ends it; `nudge()` reports now.
    """

    def __init__(
        self,
        client: Registrar,
        registration: ServiceRegistration,
        probe: Probe,
        interval: float = 1.0,
        *,
        backoff: Backoff | None = None,
        rng: random.Random | None = None,
    ) -> None:
        if not registration.checks or not registration.checks[0].ttl:
            raise ValueError(
                f"registration {registration.id!r}: the first check of a heartbeat is a TTL check"
            )
        if interval >= registration.checks[0].ttl:
            raise ValueError(f"registration {registration.id!r}: the interval must be shorter than the TTL")
        self._client = client
        self._registration = registration
        self._check_id = registration.check_ids()[0]
        self._probe = probe
        self._interval = interval
        self._rng = rng or random.Random()
        self._backoff = backoff or Backoff(self._rng)
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        self._stopping = False
        self.registered = False
        self.registrations = 0
        self.last_error: RegistryError | None = None

    async def run(self) -> None:
        """Keep the instance alive until `stop()`. Never raises what the registry does."""
        self._ended.clear()
        try:
            while not self._stopping:
                delay = await self.beat()
                await self._sleep(delay)
        finally:
            self._ended.set()

    async def beat(self) -> float:
        """One report, or one registration; seconds until the next."""
        status, output = self._probe()
        was_registered = self.registered
        try:
            if was_registered:
                await self._client.update_check(self._check_id, status, output)
            else:
                await self._client.register(self._as(status))
                self.registered = True
                self.registrations += 1
                # A registration carries a status, but a check that is known keeps its own, and the words.
                await self._client.update_check(self._check_id, status, output)
        except NotFound as forgotten:
            # The registry lost us: say so and register at once, for callers are already looking.
            self._failed(forgotten, "is unknown to the registry, registering it again")
            self.registered = False
            # At once, but once: a registry that forgets as fast as it is told gets the back-off.
            return 0.0 if was_registered else self._backoff.failed()
        except RegistryError as lost:
            self._failed(lost, "cannot report to the registry")
            return self._backoff.failed()
        if self.last_error is not None:
            log.info("the registry takes reports of %s again", self._registration.id)
            self.last_error = None
        self._backoff.worked()
        return self._interval * (1 - SPREAD + 2 * SPREAD * self._rng.random())

    def nudge(self) -> None:
        """Report the current status now: a change of health must not wait for the interval."""
        self._wake.set()

    async def stop(self) -> None:
        """Stop reporting and deregister, if the registry answers within STOP_TIMEOUT."""
        self._stopping = True
        self._wake.set()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await self._ended.wait()
                await self._client.deregister(self._registration.id)
        except (RegistryError, TimeoutError) as lost:
            log.warning(
                "could not deregister %s: %s", self._registration.id, str(lost) or "no answer in time"
            )
        self.registered = False

    def _as(self, status: str) -> ServiceRegistration:
        """The registration with the status of now: a new TTL check would else begin critical."""
        first = replace(self._registration.checks[0], status=status or CRITICAL)
        return replace(self._registration, checks=(first, *self._registration.checks[1:]))

    def _failed(self, error: RegistryError, words: str) -> None:
        if self.last_error is None or type(self.last_error) is not type(error):
            level = logging.INFO if isinstance(error, NotFound | RegistryUnavailable) else logging.ERROR
            log.log(level, "%s %s: %s", self._registration.id, words, error)
        self.last_error = error

    async def _sleep(self, seconds: float) -> None:
        """Until then, or until nudged or stopped."""
        if not self._stopping:
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                pass
        self._wake.clear()
