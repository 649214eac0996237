"""Import once, fork many: a replica costs a fork, milliseconds, not a Python start with all its imports.

Runs as `python -P -m mesh.forkserver --preload MODULE,…` with one end of a socket pair as standard input.
One JSON object a line, both ways:

    -> {"id": 1, "name": "orders-1.sidecar", "log": FILE, "env": {…}, "cwd": DIR|null,
        "module": "sidecar.__main__", "argv": […]}        or  "command": ["node", "server.js"]
    <- {"id": 1, "pid": 17, "start": IDENTITY}            or  {"id": 1, "error": WORDS}
    -> {"signal": 9, "pid": 17}                            to the process group; ignored once it has exited
    <- {"ready": 17, "line": TEXT}                         the first line a module printed on stdout
    <- {"stopped": 17} {"continued": 17} {"exit": 17, "code": 0, "signal": null}

The process has one thread, no event loop, and opens no socket, because a fork copies only the calling
thread and every open descriptor. When its channel closes, which also happens when the supervisor was
killed with SIGKILL, it kills the process group of every child and ends.
"""

import argparse
import contextlib
import errno
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from mesh.errors import StateRefused
from mesh.identity import identity, kill_group
from mesh.private_directory import UMASK, open_private
from mesh.state import Journal, Leader

CHANNEL_FD = 0
READ_BYTES = 65536
READY_LINE_BYTES = 4096  # a ready line holds four addresses; more than this is not one
COMM_BYTES = 15  # what Linux keeps of a process name
EXIT_NOT_STARTED = 127  # as a shell says for a command that it could not run


@dataclass(slots=True)
class Child:
    """A process that was started and not reaped yet."""

    leader: Leader
    stdout: int | None  # read end of a module's standard output; a command writes to its log itself
    log: int
    head: bytearray = field(default_factory=bytearray)
    ready: bool = False

    @property
    def pid(self) -> int:
        """Of the leader of its group."""
        return self.leader.pid


class ForkServer:
    """The loop: requests from the channel, output and exits of the children, reports to the channel."""

    def __init__(self, channel: socket.socket, journal: Journal | None, umask: int) -> None:
        self._channel = channel
        self._umask = umask  # the person's, for their own programs
        self._journal = journal
        self._children: dict[int, Child] = {}
        self._outputs: dict[int, Child] = {}  # by the descriptor that is polled
        self._poll = select.poll()
        self._buffer = bytearray()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._stopping = False

    def run(self) -> None:
        """Serve until the channel closes or a SIGTERM arrives; then kill every child and return."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to act on
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._poll.register(self._channel, select.POLLIN)
        self._poll.register(self._wake_read, select.POLLIN)
        try:
            while not self._stopping:
                for fd, _ in self._poll.poll():
                    self._serve(fd)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the supervisor died while a report was on its way
        finally:
            self._kill_all()

    def _serve(self, fd: int) -> None:
        if fd == self._wake_read:
            self._drain_wakeups()
            self._reap()
        elif fd == self._channel.fileno():
            self._read_channel()
        elif fd in self._outputs:  # or else it was closed by a reap in this round
            self._read_output(fd, self._outputs[fd])

    def _on_term(self, *_: object) -> None:
        self._stopping = True

    def _drain_wakeups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_read, 512):
                pass

    # channel

    def _read_channel(self) -> None:
        data = self._channel.recv(READ_BYTES)
        if not data:
            self._stopping = True
            return
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = bytearray(rest)
        for line in lines:
            request = json.loads(line)
            if "signal" in request:
                self._signal(request)
            else:
                self._spawn(request)

    def _report(self, **message: Any) -> None:
        self._channel.sendall(json.dumps(message).encode() + b"\n")

    def _signal(self, request: Mapping[str, Any]) -> None:
        # only while it is not reaped: nobody else can have got its pid
        if request["pid"] in self._children:
            _signal_child(request["pid"], request["signal"])

    # starting

    def _spawn(self, request: Mapping[str, Any]) -> None:
        try:
            child = self._fork(request)
        except (OSError, StateRefused) as error:
            self._report(id=request["id"], error=getattr(error, "strerror", None) or str(error))
            return
        self._children[child.pid] = child
        if child.stdout is not None:
            self._outputs[child.stdout] = child
            self._poll.register(child.stdout, select.POLLIN)
        if self._journal is not None:
            self._journal.add(child.leader, [other.leader for other in self._children.values()])
        self._report(id=request["id"], pid=child.pid, start=child.leader.start)

    def _fork(self, request: Mapping[str, Any]) -> Child:
        command = request.get("command")
        if command is not None:
            self._check_command(command, request)
        log = open_private(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        stdout: int | None = None
        write_end = log
        if command is None:
            stdout, write_end = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._in_child(request, write_end, log)
        if command is None:
            os.close(write_end)
        return Child(Leader(pid, identity(pid) or "", request["name"]), stdout, log)

    @staticmethod
    def _check_command(command: Sequence[str], request: Mapping[str, Any]) -> None:
        cwd = request.get("cwd") or os.getcwd()
        path = request["env"].get("PATH", os.environ.get("PATH"))
        name = command[0] if os.sep not in command[0] else str(Path(cwd, command[0]))
        if shutil.which(name, path=path) is None:
            raise FileNotFoundError(errno.ENOENT, f"there is no program {command[0]!r}")

    def _in_child(self, request: Mapping[str, Any], stdout: int, log: int) -> NoReturn:
        code = EXIT_NOT_STARTED
        try:
            self._become(request, stdout, log)
            command = request.get("command")
            if command is not None:
                os.execvp(command[0], list(command))
            code = _call_main(request["module"], request["argv"])
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _become(self, request: Mapping[str, Any], stdout: int, log: int) -> None:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        if request.get("command") is not None:
            os.umask(self._umask)
        else:
            # as in a Python that was started the ordinary way
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        os.setsid()  # its own session: no terminal, and a process group that one signal reaches
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (stdout, 1), (log, 2)):
            os.dup2(source, target)
        for name in os.listdir("/dev/fd"):
            if int(name) > 2:
                with contextlib.suppress(OSError):  # the listing's own descriptor is closed already
                    os.close(int(name))
        os.environ.update(request["env"])
        if request.get("cwd"):
            os.chdir(request["cwd"])
        _set_process_name(request["name"])

    # ending

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid not in self._children:
                continue
            if os.WIFSTOPPED(status):
                self._report(stopped=pid)
            elif os.WIFCONTINUED(status):
                self._report(continued=pid)
            else:
                self._bury(self._children.pop(pid), status)

    def _bury(self, child: Child, status: int) -> None:
        kill_group(child.pid)  # what a command started does not outlive it
        fd = child.stdout
        if fd is not None:
            os.set_blocking(fd, False)
            with contextlib.suppress(BlockingIOError):
                while child.stdout is not None:
                    self._read_output(fd, child)
            self._close_output(child)
        os.close(child.log)
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        self._report(exit=child.pid, code=code, signal=number)

    def _read_output(self, fd: int, child: Child) -> None:
        data = os.read(fd, READ_BYTES)
        if not data:
            self._close_output(child)
            return
        with contextlib.suppress(OSError):  # a full disk costs the log, not the mesh
            os.write(child.log, data)
        if child.ready:
            return
        child.head += data
        line, found, _ = child.head.partition(b"\n")
        if found or len(child.head) > READY_LINE_BYTES:
            child.ready = True
            self._report(ready=child.pid, line=line[:READY_LINE_BYTES].decode(errors="replace"))
            child.head.clear()

    def _close_output(self, child: Child) -> None:
        if child.stdout is not None:
            self._poll.unregister(child.stdout)
            del self._outputs[child.stdout]
            os.close(child.stdout)
            child.stdout = None

    def _kill_all(self) -> None:
        for pid in self._children:
            _signal_child(pid, signal.SIGKILL)
        for pid in list(self._children):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
            kill_group(pid)


def _signal_child(pid: int, number: int) -> None:
    """To the process group of a child that was not reaped yet, or to it alone before it made its group."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _call_main(module: str, argv: Sequence[str]) -> int:
    """`module.main(argv)` as the interpreter would run it; returns the exit code."""
    sys.argv = [module, *argv]
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a text file here
    try:
        return int(importlib.import_module(module).main(list(argv)) or 0)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception:
        traceback.print_exc()
        return 1


def _set_process_name(name: str) -> None:
    """What `ps -o comm` and `top` show, where the system lets a process say so."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/comm").write_bytes(name.encode()[:COMM_BYTES])


def _preload(modules: Sequence[str]) -> None:
    # the collector would walk the growing heap again and again for nothing: imports make no garbage
    gc.disable()
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception:
            # the child that needs it tries again and says so in its own log
            sys.stderr.write(f"cannot preload {module}\n{traceback.format_exc()}")
    gc.collect()
    gc.freeze()  # a collection in a child must not touch, and so copy, the pages that all share
    gc.enable()


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the fork server process."""
    parser = argparse.ArgumentParser(prog="mesh.forkserver", description=__doc__.splitlines()[0])
    parser.add_argument("--preload", default="", help="modules to import first, separated by commas")
    parser.add_argument("--journal", type=Path, help="file that records every child")
    options = parser.parse_args(argv)
    umask = os.umask(UMASK)  # of what our own programs write
    channel = socket.socket(fileno=os.dup(CHANNEL_FD))
    _preload([module for module in options.preload.split(",") if module])
    ForkServer(channel, Journal(options.journal) if options.journal else None, umask).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
