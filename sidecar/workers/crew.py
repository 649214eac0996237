"""The workers' processes: started, heard, asked, started again when they die."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config import Config
from ..errors import ConfigError
from .channel import Channel

log = logging.getLogger("sidecar.workers")

# A worker that does not answer so long is shown as it was last seen.
ANSWER_S = 1.0
# A worker that died is started again after this long, which doubles up to the other with each death ...
RESTART_S = 0.1
RESTART_MAX_S = 10.0
# ... of one that had not served this long.
STEADY_S = 10.0
# From the end of the drain to the end of the process: last words, traces.
END_S = 3.0
ROOT = Path(__file__).parent.parent.parent

Message = dict[str, Any]


class Place:
    """Where a worker stands: number 1 to N; the process in it may change."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: asyncio.subprocess.Process | None = None
        self.channel: Channel | None = None
        self.serving = False
        self.silent = False  # it has not answered the last question
        self.restarts = 0
        self.last: dict[str, Any] = {}  # its last answer to each question
        self.first: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._numbers = 0

    def send(self, message: Message) -> None:
        """Nothing happens if there is no process."""
        if self.channel is not None:
            self.channel.send(message)

    async def ask(self, what: str) -> None:
        """`last[what]` is fresh afterwards, unless the worker is `silent`."""
        self._numbers += 1
        number = self._numbers
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        self.send({"ask": number, "what": what})
        try:
            async with asyncio.timeout(ANSWER_S):
                await future
            self.silent = False
        except TimeoutError:
            self.silent = True
        finally:
            self._asked.pop(number, None)

    def answered(self, message: Message) -> None:
        self.last[message["what"]] = message["value"]
        future = self._asked.get(message["answer"])
        if future is not None and not future.done():
            future.set_result(None)

    def ended(self) -> None:
        """The process is gone; who waits for an answer gets none."""
        self.process = self.channel = None
        self.serving = False
        self.last = {}
        for future in self._asked.values():
            if not future.done():
                future.set_result(None)


class Crew:
    """All workers.

    Args:
        config: with addresses that all of them can share.
        greet: what a new worker must be told. hear: an event. gone: the process of a place has died.
    """

    def __init__(
        self,
        config: Config,
        greet: Callable[[], list[Message]],
        hear: Callable[[Place, Message], None],
        gone: Callable[[Place, str], None],
        clock: Callable[[], float],
    ) -> None:
        self.places = [Place(number) for number in range(1, config.workers + 1)]
        self._config = config
        self._greet = greet
        self._hear = hear
        self._gone = gone
        self._clock = clock
        self._stopping = False
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self, tasks: asyncio.TaskGroup) -> dict[str, str]:
        """Start all; returns the bound addresses once every one serves.

        Raises:
            ConfigError: when one refuses, or dies before it serves.
        """
        for place in self.places:
            self._keepers.append(tasks.create_task(self._keep(place), name=f"worker {place.number}"))
        bound = await asyncio.gather(*(place.first for place in self.places))
        return bound[0]

    async def ask(self, what: str) -> None:
        """Ask all that serve."""
        await asyncio.gather(*(place.ask(what) for place in self.places if place.serving))

    def tell(self, message: Message, but: Place | None = None) -> None:
        """Tell all, except one."""
        for place in self.places:
            if place is not but:
                place.send(message)

    async def stop(self) -> None:
        """SIGTERM to all; who has not drained in time is killed."""
        self._stopping = True
        for place in self.places:
            if place.process is not None:
                _signal(place.process, signal.SIGTERM)
            if not place.first.done():
                place.first.cancel()
        for keeper, place in zip(self._keepers, self.places, strict=False):
            if place.process is None:
                keeper.cancel()
        if self._keepers:
            await asyncio.wait(self._keepers, timeout=self._config.drain_timeout + END_S)
        for place in self.places:
            if place.process is not None:
                log.warning("worker %d has not ended in time and is killed", place.number)
                _signal(place.process, signal.SIGKILL)

    # ---- one place -----------------------------------------------------------------------------------

    async def _keep(self, place: Place) -> None:
        deaths = 0
        while not self._stopping:
            began = self._clock()
            words = await self._live(place)
            self._gone(place, words)  # it still has its last answers
            place.ended()
            if self._stopping:
                return
            if not place.first.done():
                place.first.set_exception(ConfigError(words))
                return  # who cannot start at all would not start the second time
            deaths = 0 if self._clock() - began > STEADY_S else deaths + 1
            place.restarts += 1
            log.warning("%s; it is started again", words)
            await asyncio.sleep(min(RESTART_MAX_S, RESTART_S * 2 ** min(deaths, 16)))

    async def _live(self, place: Place) -> str:
        """One process, from its start to its end; returns how it ended."""
        ours, theirs = socket.socketpair()
        try:
            process = await self._spawn(theirs.fileno())
            channel = await Channel.over(ours)
        except OSError as error:
            ours.close()
            return f"worker {place.number} cannot be started: {error.strerror or error}"
        except asyncio.CancelledError:
            ours.close()  # a process that came into being sees that, and ends
            raise
        finally:
            theirs.close()
        known = tuple(at for at in (self._config.admin, self._config.status) if at is not None and at.port)
        config = replace(
            self._config, workers=1, worker=place.number, admin=None, status=None, protected=known
        )
        channel.send({"config": base64.b64encode(pickle.dumps(config)).decode()})
        place.process, place.channel = process, channel
        for message in self._greet():
            channel.send(message)
        if self._stopping:
            _signal(process, signal.SIGTERM)
        refused = ""
        async for message in channel.messages():
            if "refused" in message:
                refused = message["refused"]
            else:
                self._take(place, message)
        place.serving = False
        await channel.close()
        try:
            async with asyncio.timeout(END_S):
                code = await process.wait()
        except TimeoutError:
            _signal(process, signal.SIGKILL)
            code = await process.wait()
        return refused or f"worker {place.number} (pid {process.pid}) ended with {_words(code)}"

    def _take(self, place: Place, message: Message) -> None:
        if "answer" in message:
            place.answered(message)
        elif "event" in message:
            self._hear(place, message)
        elif "counts" in message:
            place.last.update(message["counts"])
        elif "ready" in message:
            place.serving = True
            if not place.first.done():
                place.first.set_result(message["ready"])

    async def _spawn(self, fd: int) -> asyncio.subprocess.Process:
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sidecar.workers", str(fd)),
            pass_fds=(fd,),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,  # the ready line is the manager's
            env={**os.environ, "PYTHONPATH": path},
        )


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if process.returncode is None:
        process.send_signal(number)


def _words(code: int) -> str:
    return f"code {code}" if code >= 0 else signal.Signals(-code).name
