"""HTTP and TCP checks, run on the loop: jittered, bounded in number at once, one task per check."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from registry.model import CRITICAL, PASSING, WARNING, CheckDefinition
from registry.probe_http import ProbeError, Request, ask
from registry.validation import effective_interval

DEFAULT_TIMEOUT: Final = 10.0
"""Seconds; Consul's default for HTTP and TCP checks."""

MAX_AT_ONCE: Final = 256
"""Runs in flight. 1,000 checks a second that answer in 10 ms need ten; what hangs must not take every
socket."""

Report = Callable[[str, str, str], None]


class Prober:
    """Keeps one task per check that has something to run, and reports each result."""

    def __init__(self, report: Report, rng: random.Random) -> None:
        self._report = report
        self._rng = rng
        self._at_once = asyncio.Semaphore(MAX_AT_ONCE)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    def __len__(self) -> int:
        return len(self._tasks)

    def open(self, group: asyncio.TaskGroup) -> None:
        """From here on checks run, as tasks of this group."""
        self._group = group

    def close(self) -> None:
        """Stop every check."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()
        self._group = None

    def change(self, check_id: str, definition: CheckDefinition | None) -> None:
        """This check runs by this definition from now; None, or nothing to run = it stops."""
        old = self._tasks.pop(check_id, None)
        if old is not None:
            old.cancel()
        if definition is None or definition.kind not in ("http", "tcp") or self._group is None:
            return
        self._tasks[check_id] = self._group.create_task(
            self._run(check_id, definition), name=f"check {check_id}"
        )

    async def _run(self, check_id: str, definition: CheckDefinition) -> None:
        interval = effective_interval(definition)
        request = _prebuilt(definition)
        thresholds = Thresholds(definition)
        clock = asyncio.get_running_loop().time
        due = clock() + self._rng.random() * interval
        while True:
            await asyncio.sleep(due - clock())
            async with self._at_once:
                status, output = await self._once(definition, request)
            status = thresholds.settle(status)
            self._report(check_id, status, output)
            # By the plan, not by the end of the last run, so that slow answers do not stretch the interval;
            # a run that overran its slot skips what it missed.
            due = max(due + interval, clock())

    async def _once(self, definition: CheckDefinition, request: Request | None) -> tuple[str, str]:
        timeout = definition.timeout or DEFAULT_TIMEOUT
        try:
            async with asyncio.timeout(timeout):
                if definition.http:
                    return await self._http(definition, request)
                return await self._tcp(definition)
        except TimeoutError:
            target = definition.http or f"dial tcp {definition.tcp}"
            return CRITICAL, f"{target}: context deadline exceeded (no answer within {timeout:g}s)"

    async def _http(self, definition: CheckDefinition, request: Request | None) -> tuple[str, str]:
        method = definition.method or "GET"
        try:
            answer = await ask(request or Request(definition), definition)
        except ProbeError as bad:
            return CRITICAL, f'{method.capitalize()} "{definition.http}": {bad}'
        output = f"HTTP {method} {definition.http}: {answer.status} {answer.reason} Output: "
        return http_status(answer.status), output + answer.body.decode("utf-8", "replace")

    async def _tcp(self, definition: CheckDefinition) -> tuple[str, str]:
        host, _, port = definition.tcp.rpartition(":")
        try:
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, ValueError) as bad:
            return CRITICAL, f"dial tcp {definition.tcp}: {bad}"
        writer.close()
        return PASSING, f"TCP connect {definition.tcp}: Success"


class Thresholds:
    """How many equal results in a row it takes to turn; the first result counts at once, as in Consul."""

    def __init__(self, definition: CheckDefinition) -> None:
        self._to_pass = max(definition.success_before_passing, 1)
        self._to_fail = max(definition.failures_before_critical, 1)
        self._status = ""
        self._passes = 0
        self._fails = 0

    def settle(self, result: str) -> str:
        """The status after this result."""
        good = result != CRITICAL
        self._passes = self._passes + 1 if good else 0
        self._fails = 0 if good else self._fails + 1
        enough = self._passes >= self._to_pass if good else self._fails >= self._to_fail
        if enough or not self._status:
            self._status = result
        return self._status


def http_status(code: int) -> str:
    """2xx passes, 429 warns, everything else is critical."""
    if 200 <= code < 300:
        return PASSING
    return WARNING if code == 429 else CRITICAL


def _prebuilt(definition: CheckDefinition) -> Request | None:
    """The request of an HTTP check; None for others, and for one that cannot be built: each run says why."""
    if not definition.http:
        return None
    try:
        return Request(definition)
    except ProbeError:
        return None
