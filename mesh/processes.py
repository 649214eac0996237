"""The supervisor's end of the fork server's channel: start processes, signal them, hear of their end."""

import asyncio
import json
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

from mesh.errors import ForkServerLost, SpawnFailed
from mesh.identity import same_process, signal_checked


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run: one of our modules (`main(argv)` after a fork) or any command (fork and exec).

    `env` is laid over the fork server's own environment. Output is appended to the file `log`.
    """

    name: str
    log: Path
    module: str | None = None
    argv: tuple[str, ...] = ()
    command: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)  # with tokens
    cwd: Path | None = None

    def __post_init__(self) -> None:
        if (self.module is None) == (self.command is None):
            raise ValueError(f"{self.name}: either a module or a command")

    def request(self, number: int) -> dict[str, Any]:
        """The spawn request of the channel's protocol (see mesh.forkserver)."""
        body: dict[str, Any] = {
            "id": number,
            "name": self.name,
            "log": str(self.log),
            "env": dict(self.env),
            "cwd": str(self.cwd) if self.cwd else None,
        }
        if self.command is not None:
            return body | {"command": list(self.command)}
        return body | {"module": self.module, "argv": list(self.argv)}


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: by itself with `code`, or by `signal`."""

    code: int | None
    signal: int | None

    def __str__(self) -> str:
        if self.signal is None:
            return f"exited with {self.code}"
        try:
            return f"killed by {signal.Signals(self.signal).name}"
        except ValueError:
            return f"killed by signal {self.signal}"


class Process:
    """One started process; `watcher` is called after every change of `stopped`, `ready_line` or `exit`."""

    def __init__(self, spec: ProcessSpec, pid: int, start: str, watcher: Callable[["Process"], None]) -> None:
        self.spec = spec
        self.pid = pid
        self.start = start
        self.stopped = False
        self.ready_line: str | None = None
        self.exit: Exit | None = None
        self.ended = asyncio.Event()
        self.watcher = watcher

    def __repr__(self) -> str:
        state = str(self.exit) if self.exit else "stopped" if self.stopped else "running"
        return f"<Process {self.spec.name} {self.pid} {state}>"


@dataclass(slots=True)
class _Pending:
    spec: ProcessSpec
    watcher: Callable[[Process], None]
    started: asyncio.Future[Process]


class Processes(asyncio.Protocol):
    """Every process of the mesh, by the fork server's reports, in the order in which it made them.

    When the channel closes without `close`, `lost` is set and every waiting `spawn` raises ForkServerLost.
    """

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._number = 0
        self._pending: dict[int, _Pending] = {}
        self._running: dict[int, Process] = {}

    @classmethod
    async def connect(cls, channel: socket.socket) -> "Processes":
        """Take over the supervisor's end of the socket pair."""
        channel.setblocking(False)
        _, protocol = await asyncio.get_running_loop().create_unix_connection(cls, sock=channel)
        return protocol

    async def spawn(self, spec: ProcessSpec, watcher: Callable[[Process], None]) -> Process:
        """Start a process; raises SpawnFailed with the system's words, or ForkServerLost.

        It returns after the fork; `ready_line` comes later, when the program says it serves.
        """
        if self._transport is None or self.lost.is_set():
            raise ForkServerLost("the fork server is gone")
        self._number += 1
        started: asyncio.Future[Process] = asyncio.get_running_loop().create_future()
        self._pending[self._number] = _Pending(spec, watcher, started)
        self._send(spec.request(self._number))
        return await started

    def signal(self, process: Process, number: int) -> None:
        """Send a signal to the process's whole group; nothing happens once it has ended."""
        if process.exit is not None:
            return
        if not self.lost.is_set():
            self._send({"signal": number, "pid": process.pid})
        else:
            still = partial(same_process, process.pid, process.start)
            signal_checked(process.pid, number, still, group=True)

    def running(self) -> tuple[Process, ...]:
        """Those whose end was not reported."""
        return tuple(self._running.values())

    def close(self) -> None:
        """Close the channel: the fork server kills what still runs and ends."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _send(self, message: Mapping[str, Any]) -> None:
        if self._transport is not None:
            self._transport.write(json.dumps(message).encode() + b"\n")

    # asyncio.Protocol, called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The channel is ours."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not of asyncio's classes

    def data_received(self, data: bytes) -> None:
        """Reports; a line may come in pieces."""
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = bytearray(rest)
        for line in lines:
            self._report(json.loads(line))

    def connection_lost(self, exc: Exception | None) -> None:
        """The fork server died, unless we closed the channel ourselves."""
        self.lost.set()
        for pending in self._pending.values():
            if not pending.started.done():
                pending.started.set_exception(ForkServerLost("the fork server is gone"))
        self._pending.clear()

    def _report(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._started(message)
            return
        for word in ("ready", "stopped", "continued", "exit"):
            if word in message:
                process = self._running.get(message[word])
                if process is not None:
                    self._changed(process, word, message)
                return

    def _started(self, message: dict[str, Any]) -> None:
        pending = self._pending.pop(message["id"])
        if "error" in message:
            if not pending.started.done():
                pending.started.set_exception(SpawnFailed(f"{pending.spec.name}: {message['error']}"))
            return
        process = Process(pending.spec, message["pid"], message["start"], pending.watcher)
        # entered here, not by the waiting coroutine: the next line may already report its end
        self._running[process.pid] = process
        if pending.started.done():  # whoever asked for it has given up
            self.signal(process, signal.SIGKILL)
        else:
            pending.started.set_result(process)

    def _changed(self, process: Process, word: str, message: dict[str, Any]) -> None:
        if word == "ready":
            process.ready_line = message["line"]
        elif word == "exit":
            del self._running[process.pid]
            process.exit = Exit(message["code"], message["signal"])
            process.ended.set()
        else:
            process.stopped = word == "stopped"
        process.watcher(process)
