"""Starts the fork server, as its parent: the supervisor's end of `mesh.forkserver`."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mesh.private_directory import open_private


@dataclass(frozen=True, slots=True)
class Launched:
    """A fork server process and the supervisor's end of its channel."""

    process: subprocess.Popen[bytes]
    channel: socket.socket

    END_S = 5.0  # it only sends SIGKILL and waits for the kernel

    def end(self, *, used: bool = True) -> None:
        """Close the channel, which kills every child, and wait; the process is gone afterwards.

        One that was not used has no children: it need not finish its imports first.
        """
        self.channel.close()
        if not used:
            self.process.kill()
        try:
            self.process.wait(self.END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def launch(preload: Sequence[str], log: Path, journal: Path, umask: int = -1) -> Launched:
    """Start a fork server process; it imports while the caller does other things.

    `umask` is for the commands that it starts; -1 leaves them the caller's.
    """
    ours, theirs = socket.socketpair()
    environment = os.environ | {
        # urllib's and requests' proxy look-up calls into frameworks on macOS that crash after a fork,
        # and none of our own programs may take a detour through somebody's proxy
        "NO_PROXY": "*",
        "no_proxy": "*",
        "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
    }
    # -P: a `services` or `registry` folder where the user stands is not ours
    command = [sys.executable, "-P", "-m", "mesh.forkserver"]
    command += ["--preload", ",".join(preload), "--journal", str(journal)]
    errors = open_private(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC)
    with theirs, os.fdopen(errors, "wb"):
        process = subprocess.Popen(
            command,
            stdin=theirs.fileno(),
            stdout=errors,
            stderr=errors,
            env=environment,
            start_new_session=True,
            umask=umask,
        )
    return Launched(process, ours)
