"""The two registries that the contract is held against: ours as a program, and a real Consul."""

from __future__ import annotations

import functools
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROVIDER = ROOT.parent / "shared" / "ci" / "consul"
"""An executable that puts a Consul on this machine and prints its path, where there is one."""

NODE = "testnode"


@dataclass
class Running:
    """A registry that serves at `address` (HOST:PORT); `kind` is "embedded" or "consul"."""

    kind: str
    address: str
    process: subprocess.Popen[bytes] | None = None
    directory: str = ""
    version: tuple[int, ...] = field(default=(1, 8, 7))

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def get(self, path: str) -> Any:
        """The JSON of /v1/PATH."""
        with urllib.request.urlopen(f"{self.url}/v1/{path}", timeout=5) as answer:
            return json.load(answer)

    def stop(self) -> None:
        """End the process and forget its files."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            for stream in (self.process.stdout, self.process.stderr):
                if stream is not None:
                    stream.close()
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)


@functools.cache
def consul_binary() -> str | None:
    """A Consul: CONSUL_BIN, the one on the path, or what the provider beside the repository puts there."""
    if named := os.environ.get("CONSUL_BIN"):
        return named
    if found := shutil.which("consul"):
        return found
    if os.access(PROVIDER, os.X_OK):
        with suppress(OSError, subprocess.SubprocessError):
            made = subprocess.run([str(PROVIDER)], capture_output=True, text=True, timeout=300, check=True)
            return made.stdout.strip() or None
    return None


def missing(what: str, remedy: str) -> None:
    """Skip, saying why; in CI a proof that cannot be made is a failure."""
    reason = f"{what} is not on this machine: {remedy}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def require_consul() -> str:
    """The path of a Consul binary, or a skip (a failure in CI)."""
    binary = consul_binary()
    if binary is None:
        missing("a Consul binary", "set CONSUL_BIN or put `consul` on the path")
    assert binary is not None
    return binary


def start_embedded(*arguments: str) -> Running:
    """Ours, as a process of its own, in memory."""
    command = [sys.executable, "-m", "registry", "--http", "127.0.0.1:0", "--node", NODE]
    process = subprocess.Popen(
        [*command, *(arguments or ("--ephemeral",))],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    return Running("embedded", json.loads(line)["http"], process)


def start_consul() -> Running:
    """Real Consul in dev mode on free ports."""
    binary = require_consul()
    http, server, lan, wan = _free_ports(4)
    directory = tempfile.mkdtemp(prefix="consul-")
    command = [binary, "agent", "-dev", "-client", "127.0.0.1", "-bind", "127.0.0.1", "-node", NODE]
    ports = {"http": http, "server": server, "serf_lan": lan, "serf_wan": wan, "dns": -1, "grpc": -1}
    # Consul refuses to start when its limit does not fit under the limit of open files.
    connections = min(4000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
    config = Path(directory) / "config.json"
    config.write_text(
        json.dumps({"ports": ports, "log_level": "err", "limits": {"http_max_conns_per_client": connections}})
    )
    process = subprocess.Popen(
        [*command, "-config-file", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    running = Running("consul", f"127.0.0.1:{http}", process, directory)
    try:
        _wait_for(running)
    except BaseException:
        running.stop()
        raise
    return running


def consul_at_address(address: str) -> Running:
    """A real Consul that somebody else runs (CONSUL_HTTP_ADDR)."""
    running = Running("consul", address.removeprefix("http://"))
    _wait_for(running)
    return running


def _wait_for(running: Running) -> None:
    """Until it leads itself and its own node passes: before that, writes and sessions are refused."""
    deadline = time.monotonic() + 30  # noqa: TID251 - a process starts in real time
    while time.monotonic() < deadline:  # noqa: TID251
        with suppress(OSError, urllib.error.URLError, ValueError):
            node = running.get("agent/self")["Config"]["NodeName"]
            version = running.get("agent/self")["Config"]["Version"]
            checks = running.get(f"health/node/{node}")
            if any(check["CheckID"] == "serfHealth" and check["Status"] == "passing" for check in checks):
                running.version = tuple(int(part) for part in version.split("+")[0].split("-")[0].split("."))
                return
        time.sleep(0.05)  # noqa: TID251
    raise TimeoutError(f"Consul at {running.address} did not become ready")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
