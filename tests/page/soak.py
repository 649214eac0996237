"""Does the live page stay small? `python -m tests.page.soak --minutes 60`.

Runs the shop with traffic and a page open, kills and heals an instance at times, and reads twice a minute
the memory of the control process and of the sidecar that has most (PSS), and of the page (JavaScript heap
after a collection). Prints a line of JSON a reading and at the end the slopes, fitted to the second half: by
then every bounded store is full.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.e2e.real_mesh import RealMesh, real_mesh
from tests.page.browser import VIEWPORT, chromium, missing

# At least so many sampled requests, events and changes a second: the issue asks for 20.
LEAST_EVENTS_PER_S = 20.0
READ_EVERY_S = 30.0
ACT_EVERY = 4  # readings
# Memory may breathe; more than this in an hour is a leak.
MOST_MB_PER_HOUR = 20.0

COUNT = """() => {
  window.soak = { messages: 0, flights: 0 };
  const count = () => { window.soak.messages += 1; };
  for (const topic of ['change', 'second', 'event', 'watch']) mesh.model.on(topic, count);
  mesh.model.on('flights', ({ flights }) => { window.soak.flights += flights.length; });
}"""


def process_mb(pid: int) -> float:
    """Proportional set size where Linux says it, else the resident one."""
    for name, key in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            for line in Path(f"/proc/{pid}/{name}").read_text().splitlines():
                if line.startswith(key):
                    return int(line.split()[1]) / 1024
        except OSError:
            continue
    return math.nan


def slope(points: list[tuple[float, float]]) -> float:
    """Least squares, per hour, of (seconds, MB)."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return 3600 * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def reading(page: Any, session: Any, mesh: RealMesh, began: float) -> dict[str, float]:
    """The two memories, and how much the page has been told."""
    session.send("HeapProfiler.collectGarbage")
    metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    told = page.evaluate("() => window.soak")
    status = mesh.status()
    sidecars = [one["pids"]["sidecar"] for one in (*status["instances"], *status["extras"])]
    return {
        "s": round(time.monotonic() - began, 1),
        "page_mb": round(metrics["JSHeapUsedSize"] / 2**20, 2),
        "page_nodes": metrics["Nodes"],
        "control_mb": round(process_mb(status["supervisor"]["pid"]), 2),
        "sidecar_mb": round(max(process_mb(pid) for pid in sidecars if pid), 2),
        "told": told["messages"] + told["flights"],
    }


def soak(mesh: RealMesh, browser: Any, minutes: float, rate: float) -> bool:
    """Read until the time is over; whether both memories are flat and enough happened."""
    mesh.ok("load", "--rate", f"{rate:g}")
    page = browser.new_context(viewport=VIEWPORT).new_page()
    page.goto(mesh.link)
    page.wait_for_selector('[data-instance="orders-1"]', timeout=60_000)
    page.evaluate(COUNT)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    began, readings = time.monotonic(), list[dict[str, float]]()
    while time.monotonic() - began < minutes * 60:
        page.wait_for_timeout(READ_EVERY_S * 1000)
        readings.append(reading(page, session, mesh, began))
        sys.stdout.write(json.dumps(readings[-1]) + "\n")
        sys.stdout.flush()
        if len(readings) % ACT_EVERY == 0:
            for action in ("kill", "heal"):
                mesh.ask(f"/api/instances/orders-2/{action}", "POST")
    half = readings[len(readings) // 2 :]
    span = readings[-1]["s"] - readings[0]["s"]
    result = {
        "minutes": round(readings[-1]["s"] / 60, 1),
        "told_per_s": round((readings[-1]["told"] - readings[0]["told"]) / span, 1) if span else 0.0,
        "page_mb_per_hour": round(slope([(one["s"], one["page_mb"]) for one in half]), 2),
        "control_mb_per_hour": round(slope([(one["s"], one["control_mb"]) for one in half]), 2),
        "sidecar_mb_per_hour": round(slope([(one["s"], one["sidecar_mb"]) for one in half]), 2),
    }
    flat = all(value <= MOST_MB_PER_HOUR for key, value in result.items() if key.endswith("_per_hour"))
    enough = result["told_per_s"] >= LEAST_EVENTS_PER_S
    sys.stdout.write(json.dumps({**result, "flat": flat, "enough": enough}) + "\n")
    return flat and enough


def main() -> int:
    """0 flat, 1 not so or no browser."""
    parser = argparse.ArgumentParser(prog="python -m tests.page.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=40.0, help="requests per second at the door")
    options = parser.parse_args()
    lacks = missing()
    if lacks:
        sys.stderr.write(f"no soak: {lacks}\n")
        return 1
    with (
        tempfile.TemporaryDirectory() as directory,
        real_mesh(Path(directory), "shop") as mesh,
        chromium() as browser,
    ):
        return 0 if soak(mesh, browser, options.minutes, options.rate) else 1


if __name__ == "__main__":
    sys.exit(main())
