"""How the app behind us is: asked each second, and told at once when a connection to it is refused."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

# Consul's convention for HTTP checks: 2xx passing, 429 warning, everything else critical.
# One that failed is asked more often, and one that is only starting all the time: people wait for it.
RECOVERY_INTERVAL_S = 0.25
START_INTERVAL_S = 0.05
TIMEOUT_S = 1.0
# A busy app may miss one answer; a second one in a row is no accident. A refused connection counts at once.
TIMEOUTS_TO_CRITICAL = 2
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")
_ANSWER_BYTES = 4096


class AppHealth:
    """The app's status: `passing`, `warning` or `critical`, with a reason.

    Args:
        path: the path that is asked; None = a TCP connect is enough.
        interval: seconds between two questions while it is passing.
        changed: called after each change of status.
    """

    def __init__(
        self,
        host: str,
        port: int,
        path: str | None,
        interval: float,
        changed: Callable[[str, str], None],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._host = host
        self._port = port
        self._path = path
        self._interval = interval
        self._changed = changed
        self._sleep = sleep
        self._timeouts = 0
        self._forced = ""
        self._was_passing = False
        self.status = "critical"
        self.reason = "not asked yet"

    def force(self, failing: bool) -> None:
        """An operator's word (`/healthcheck/fail|ok`) stands above what the app says."""
        self._forced = "failed by an operator" if failing else ""
        if failing:
            self._set("critical", self._forced)

    def refused(self) -> None:
        """The data path could not connect: no need to wait for the next question."""
        self._set("critical", "connection refused")

    async def run(self) -> None:
        """Ask without end."""
        while True:
            await self.check()
            if self.status == "passing":
                self._was_passing = True
                await self._sleep(self._interval)
            else:
                await self._sleep(RECOVERY_INTERVAL_S if self._was_passing else START_INTERVAL_S)

    async def check(self) -> None:
        """Ask once."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status, reason = await self._ask()
        except TimeoutError:
            self._timeouts += 1
            if self._timeouts >= TIMEOUTS_TO_CRITICAL or self.status == "critical":
                self._set("critical", f"no answer within {TIMEOUT_S:g} s")
            return
        except OSError as error:
            self._timeouts = 0
            self._set("critical", f"cannot connect: {error.strerror or error}")
            return
        self._timeouts = 0
        self._set(status, reason)

    async def _ask(self) -> tuple[str, str]:
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=_ANSWER_BYTES)
        try:
            if self._path is None:
                return "passing", ""
            writer.write(
                f"GET {self._path} HTTP/1.1\r\nhost: {self._host}:{self._port}\r\n"
                "user-agent: mesh-sidecar\r\nconnection: close\r\n\r\n".encode()
            )
            head = await reader.read(_ANSWER_BYTES)
        finally:
            writer.close()
        match = _STATUS.match(head)
        if match is None:
            return "critical", f"GET {self._path}: not an HTTP answer"
        code = int(match.group(1))
        if 200 <= code < 300:
            return "passing", ""
        reason = f"GET {self._path} answered {code}"
        return ("warning" if code == 429 else "critical"), reason

    def _set(self, status: str, reason: str) -> None:
        if self._forced and status != "critical":
            return
        if (status, reason) != (self.status, self.reason):
            changed = status != self.status
            self.status, self.reason = status, reason
            if changed:
                self._changed(status, reason)
