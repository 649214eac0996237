"""The whole mesh: how fast it starts, what it takes, and what a failure costs its callers."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STARTS = 5
RATE = 300
SETTLE_S = 8.0
REGISTRY_GONE_S = 30.0


class Mesh:
    """A mesh in a folder of its own, by its command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *argv: str) -> str:
        command = [sys.executable, "-m", "mesh", *argv]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True).stdout

    def status(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self("status", "--json"))
        return result

    def load(self) -> dict[str, Any]:
        result: dict[str, Any] = self.status()["load"]
        return result


@contextmanager
def running(topology: str, *options: str) -> Iterator[Mesh]:
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as name:
        mesh = Mesh(Path(name))
        mesh("up", topology, "--detach", "--port", "0", "--control-port", "0", *options)
        try:
            yield mesh
        finally:
            mesh("down")


def pss_mb(pid: int) -> float | None:
    """Proportional set size: shared pages count by share. Linux only."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return None


def start_up() -> list[str]:
    times, ready, downs = [], [], []
    sizes: dict[str, list[float]] = {"sidecar": [], "app": []}
    for number in range(STARTS):
        with tempfile.TemporaryDirectory(prefix="mesh-bench-") as name:
            mesh = Mesh(Path(name))
            before = time.monotonic()
            mesh("up", "shop", "--detach", "--port", "0", "--control-port", "0")
            times.append(time.monotonic() - before)
            status = mesh.status()
            ready.append(status["ready_s"])
            if number == STARTS - 1:
                time.sleep(10)  # under its traffic
                for instance in mesh.status()["instances"]:
                    for part, pid in instance["pids"].items():
                        size = pss_mb(pid) if pid else None
                        if size is not None:
                            sizes[part].append(size)
            before = time.monotonic()
            mesh("down")
            downs.append(time.monotonic() - before)
    lines = [
        "| shop topology: 16 replicas, 36 processes | median | worst |",
        "| --- | ---: | ---: |",
        f"| command to all healthy, s | {statistics.median(times):.2f} | {max(times):.2f} |",
        f"| the same as `mesh status` says it, s | {statistics.median(ready):.2f} | {max(ready):.2f} |",
        f"| `mesh down`, s | {statistics.median(downs):.2f} | {max(downs):.2f} |",
    ]
    for part, values in sizes.items():
        if values:
            lines.append(f"| PSS of a {part}, MB | {statistics.median(values):.1f} | {max(values):.1f} |")
    return lines


def window_p99(mesh: Mesh) -> float:
    """p99 of the last ten seconds, from the intended start, in ms."""
    value: float = mesh.load()["window"]["p99_ms"]
    return value


def failure(mesh: Mesh, name: str, action: list[str], undo: list[str], hold_s: float) -> str:
    """One failure under load: what was sent and failed until well after the undo, and p99 around it."""
    time.sleep(SETTLE_S + 3)
    before_p99 = window_p99(mesh)
    start = mesh.load()
    mesh(*action)
    acted = time.monotonic()
    time.sleep(max(0.0, 12.0 - (time.monotonic() - acted)))  # the window is then second 2 to 12 after the act
    during_p99 = window_p99(mesh)
    time.sleep(max(0.0, hold_s - (time.monotonic() - acted)))
    mesh(*undo)
    time.sleep(SETTLE_S)
    end = mesh.load()
    sent, failed = end["sent"] - start["sent"], end["failed"] - start["failed"]
    ratio = during_p99 / before_p99
    return f"| {name} | {sent:,} | {failed} | {before_p99:.1f} | {during_p99:.1f} | {ratio:.2f} |"


def failures() -> list[str]:
    lines = [
        f"`star`, three replicas, {RATE} requests/s, latencies from the intended start:",
        "",
        "| failure | requests | failed | p99 before, ms | p99 of s 2-12 after, ms | ratio |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    with running("star", "--rate", str(RATE)) as mesh:
        replica = mesh.status()["instances"][1]["name"]
        for part in ("app", "sidecar", "both"):
            kill, heal = ["kill", replica, "--part", part], ["heal", replica]
            lines.append(failure(mesh, f"`mesh kill --part {part}`", kill, heal, 0))
        lines.append(failure(mesh, "`mesh pause`", ["pause", replica], ["resume", replica], 0))
        gone, back = ["kill", "registry"], ["heal", "registry"]
        lines.append(failure(mesh, f"registry gone {REGISTRY_GONE_S:.0f} s", gone, back, REGISTRY_GONE_S))
    return lines


def run() -> str:
    return "\n".join([*start_up(), "", *failures()])
