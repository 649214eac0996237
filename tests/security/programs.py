"""Our programs as people start them on their own, and this machine's address on its network."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

WAIT_S = 30


@dataclass(frozen=True)
class Program:
    """A running `python -m NAME`; `bound` are its addresses, by name."""

    process: subprocess.Popen[str]
    bound: dict[str, str]

    @property
    def alive(self) -> bool:
        return self.process.poll() is None


@contextmanager
def program(name: str, *argv: str, env: Mapping[str, str] | None = None) -> Iterator[Program]:
    """Started, and gone when the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", name, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**_environment(), **(env or {})},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"{name} {argv} did not start"
        yield Program(process, json.loads(line))
    finally:
        process.terminate()
        try:
            process.wait(WAIT_S)
        finally:
            process.kill()
            process.communicate()


def refused(name: str, *argv: str) -> tuple[int, str]:
    """Exit code and standard error of a program that does not start."""
    done = subprocess.run(
        [sys.executable, "-m", name, *argv],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        env=_environment(),
        check=False,
    )
    return done.returncode, done.stderr


def _environment() -> dict[str, str]:
    # what is set for somebody's own meshes would guard, or open, the one of the test
    theirs = ("SIDECAR_", "REGISTRY_", "LOADGEN_", "MESH_")
    return {key: value for key, value in os.environ.items() if not key.startswith(theirs)}


def network_address() -> str | None:
    """An address of this machine that is not loopback: who comes from it is no neighbour on loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; it only asks the routing table
        except OSError:
            return None
        address = str(probe.getsockname()[0])
        return None if address.startswith("127.") else address
