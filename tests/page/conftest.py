"""A real mesh and a real browser, once for all tests of the page."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.real_mesh import RealMesh, real_mesh
from tests.page.browser import VIEWPORT, chromium, need_browser

RATE = "40"
LOAD_MS = 90_000  # a machine that runs other tests, too, has to load some thirty modules


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Skipped with the reason where there is no browser, but never in CI: there it is a failure."""
    need_browser()
    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def mesh(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    """The shop with its traffic; asked for after the browser, so that it does not start in vain."""
    directory: Path = tmp_path_factory.mktemp("page")
    with real_mesh(directory, "shop", "--rate", RATE) as found:
        yield found


@pytest.fixture
def page(browser: Any, mesh: RealMesh) -> Iterator[Any]:
    """The live page in a browser of its own; any error on its console fails the test."""
    said: list[str] = []
    context = browser.new_context(viewport=VIEWPORT)
    found = context.new_page()
    found.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    found.on("pageerror", lambda error: said.append(str(error)))
    found.goto(mesh.link)
    found.wait_for_selector('[data-instance="orders-1"]', timeout=LOAD_MS)
    yield found
    context.close()
    assert said == []
