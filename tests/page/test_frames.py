"""What the picture costs: 100 services and 2,000 dots, frames and processor time measured and printed."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.page.browser import VIEWPORT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

SECONDS = 4.0
DOTS = 2000
# Of the frames that the machine's renderer manages for one dot on an empty page, busy or not.
LEAST_SHARE_OF_FRAMES = 0.5
MOST_OF_A_CORE = 0.30

CROWD = Path(__file__).with_name("crowd.js").read_text()

# What this machine's renderer can do at all: a canvas of the same size, cleared for each frame.
BARE = """() => new Promise((done) => {
  const canvas = document.createElement('canvas');
  canvas.width = innerWidth; canvas.height = innerHeight;
  document.body.append(canvas);
  const context = canvas.getContext('2d'); const began = performance.now(); let frames = 0;
  const frame = () => {
    frames += 1;
    context.clearRect(0, 0, canvas.width, canvas.height); context.fillRect(frames % 500, 10, 5, 5);
    if (performance.now() - began < 3000) requestAnimationFrame(frame);
    else done(frames / ((performance.now() - began) / 1000));
  };
  requestAnimationFrame(frame);
})"""


def browser_seconds() -> float:
    """Processor time of every Chromium process on the machine; 0 where there is no /proc."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = stat.read_text().partition(") ")
            if "chrom" in name:
                ticks += sum(int(word) for word in rest.split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def test_frames_and_processor_time(browser: Any, mesh: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The page's own share of one core stays under its bar; the frames are printed."""
    context = browser.new_context(viewport=VIEWPORT)
    page = context.new_page()
    page.set_content("<!doctype html><title>bare</title>")
    bare = page.evaluate(BARE)
    page.goto(mesh.link)
    page.wait_for_selector('[data-instance="orders-1"]')
    # the stream of the real mesh is cut, the crowd stands in its place
    page.route("**/api/stream", lambda route: route.abort())
    page.evaluate(
        "() => { Object.defineProperty(document, 'hidden', { configurable: true, get: () => true });"
        " document.dispatchEvent(new Event('visibilitychange')); }"
    )
    page.evaluate(CROWD, DOTS)
    page.wait_for_timeout(1500)
    session = context.new_cdp_session(page)
    # the thread's own processor time: what else runs on the machine does not count
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def numbers() -> dict[str, float]:
        metrics = session.send("Performance.getMetrics")["metrics"]
        found = {one["name"]: one["value"] for one in metrics}
        found["frames"] = page.evaluate("() => mesh.scene.frames")
        found["at"] = page.evaluate("() => performance.now() / 1000")
        return found

    before, spent = numbers(), browser_seconds()
    page.wait_for_timeout(SECONDS * 1000)
    after, spent = numbers(), browser_seconds() - spent
    span = after["at"] - before["at"]
    result = {
        "services": page.locator("[data-service]").count() - 1,
        "dots": page.evaluate("() => mesh.scene.particles.count"),
        "bare_frames_per_s": round(bare, 1),
        "frames_per_s": round((after["frames"] - before["frames"]) / span, 1),
        "all_of_chromium_share": round(spent / span, 3),  # its software renderer and compositor, too
        "main_thread_share": round((after["TaskDuration"] - before["TaskDuration"]) / span, 3),
        "script_share": round((after["ScriptDuration"] - before["ScriptDuration"]) / span, 3),
    }
    context.close()
    with capsys.disabled():
        print(f"\npage: {json.dumps(result)}")  # noqa: T201  # the measurement is to be read
    assert result["services"] == 100
    assert result["dots"] > DOTS * 0.8
    assert result["frames_per_s"] >= LEAST_SHARE_OF_FRAMES * bare
    assert result["main_thread_share"] < MOST_OF_A_CORE
