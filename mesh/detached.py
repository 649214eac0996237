"""The two ends of the pipe between a mesh that goes on by itself and the command that started it.

One JSON object a line: {"progress": …} while it starts, then {"up": status} or {"failed": words, "code": n}.
"""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mesh.errors import MeshError
from mesh.plain import plain

ERASE_LINE = "\x1b[K"

if TYPE_CHECKING:
    from mesh.supervisor import Supervisor


class PipeShow:
    """Tells the command that waits at the other end; nobody there is no reason to stop."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    async def run(self, supervisor: "Supervisor") -> None:
        """Report each step of the start, then close."""
        from mesh.supervisor import MeshPhase

        def told() -> bool:
            self._tell({"progress": supervisor.progress()})
            return supervisor.phase is not MeshPhase.STARTING

        await supervisor.changes.wait_for(told, None)
        if supervisor.phase is MeshPhase.UP:
            self._tell({"up": supervisor.status()})
        self._close()

    def failed(self, error: MeshError) -> None:
        """It did not come up."""
        self._tell({"failed": str(error), "code": error.exit_code})
        self._close()

    def _tell(self, message: dict[str, Any]) -> None:
        if self._fd is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._fd, json.dumps(message).encode() + b"\n")

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def follow(fd: int, pid: int, log: Path) -> int:
    """Print what the detached supervisor `pid` says through its pipe; returns the exit code."""
    from mesh.show import progress_line, summary

    try:
        with os.fdopen(fd) as pipe:
            for line in pipe:
                message = json.loads(line)
                if "progress" in message and sys.stderr.isatty():
                    sys.stderr.write(f"\r{ERASE_LINE}{plain(progress_line(message['progress']))}")
                elif sys.stderr.isatty():
                    sys.stderr.write(f"\r{ERASE_LINE}")
                if "failed" in message:
                    os.waitpid(pid, 0)
                    sys.stderr.write(f"mesh up: {plain(message['failed'])}\n")
                    return int(message["code"])
                if "up" in message:
                    sys.stdout.write("\n".join(map(plain, summary(message["up"], detached=True))) + "\n")
                    return 0 if message["up"]["ready_s"] is not None else MeshError.exit_code
    except KeyboardInterrupt:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        raise
    os.waitpid(pid, 0)
    raise MeshError(f"the mesh did not start (its log: {log})")
