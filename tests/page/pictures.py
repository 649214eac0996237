"""Takes the pictures of the live page that the README shows: `python -m tests.page.pictures`.

Starts the shop, opens the page, kills and heals an instance, opens a trace, adds a service; writes
mesh/page/pictures/*.png.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.e2e.real_mesh import RealMesh, real_mesh, wait
from tests.page.browser import chromium, missing

PICTURES = Path(__file__).parents[2] / "mesh" / "page" / "pictures"
SIZE = {"width": 1440, "height": 810}
RATE = "30"
SETTLED_S = 12  # by then the charts have a line, and every breaker is calm
NOTICED_S = 2.6  # the registry still knows it, the breakers are open


def take(mesh: RealMesh, browser: Any) -> None:
    """All of them, dark but for one."""
    page = browser.new_context(viewport=SIZE, color_scheme="dark").new_page()
    page.goto(mesh.link)
    page.wait_for_selector('[data-instance="orders-2"].green')
    wait(SETTLED_S)
    page.screenshot(path=PICTURES / "rest.png")
    page.click('[data-instance="orders-2"]')
    page.click("#tab-detection")
    wait(NOTICED_S)
    page.screenshot(path=PICTURES / "node-down.png")
    trace = page.evaluate(RETRIED)
    page.click('[data-instance="orders-2"]')
    page.evaluate(f"async () => (await import('/page/js/waterfall.js')).openTrace('{trace}')")
    wait(1)
    page.screenshot(path=PICTURES / "trace.png")
    page.keyboard.press("Escape")
    page.click('[data-service="orders"] > header')
    page.click("#theme")
    page.mouse.move(1, 400)
    wait(SETTLED_S)
    page.screenshot(path=PICTURES / "light.png")
    page.click("#theme")
    page.click("#add")
    page.fill("#adding-name", "reviews")
    page.select_option("#adding-caller", "catalog")
    page.click("#adding-submit")
    page.wait_for_selector('[data-instance="reviews-2"].green')
    page.click('[data-key="edit-reviews"] > summary')
    page.hover('[data-service="reviews"] > header')
    wait(SETTLED_S)
    page.screenshot(path=PICTURES / "edit.png")


# A trace in which the kill shows: one that was retried, or else the newest.
RETRIED = """async () => {
  const { ask } = await import('/page/js/token.js');
  for (let tries = 0; tries < 20; tries += 1) {
    const { traces } = await (await ask('/api/recent?kind=retried&limit=1')).json();
    if (traces.length) return traces[0].id;
    await new Promise((done) => setTimeout(done, 500));
  }
  return (await (await ask('/api/recent?limit=1')).json()).traces[0].id;
}"""


def main() -> int:
    """0 done, 1 without a browser."""
    lacks = missing()
    if lacks:
        sys.stderr.write(f"no pictures: {lacks}\n")
        return 1
    PICTURES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as directory,
        real_mesh(Path(directory), "shop", "--rate", RATE) as mesh,
        chromium() as browser,
    ):
        take(mesh, browser)
    return 0


if __name__ == "__main__":
    sys.exit(main())
