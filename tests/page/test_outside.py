"""What a mesh calls outside of itself, on the page: a card as a service has, and nothing to press."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.real_mesh import real_mesh
from tests.fakes.outside import HOST, entry, outside
from tests.page.browser import VIEWPORT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

SHOWN_MS = 60_000


def test_a_host_outside_has_a_card(browser: Any, tmp_path: Path) -> None:
    """Once it is called: its rate, its endpoint, the line to it; no menu, no editor, not counted."""
    said: list[str] = []
    with outside() as server:
        topology = {
            "services": [{"name": "shop", "script": [{"call": HOST}]}],
            "policies": [entry(server.server_port)],
        }
        (tmp_path / "outside.yaml").write_text(json.dumps(topology))
        with real_mesh(tmp_path, "outside.yaml", "--rate", "20") as mesh:
            page = browser.new_context(viewport=VIEWPORT).new_page()
            page.on("pageerror", lambda error: said.append(str(error)))
            page.goto(mesh.link)
            card = page.locator(f'.node.outside[data-service="{HOST}"]')
            card.wait_for(timeout=SHOWN_MS)
            assert card.locator(".inst").inner_text().strip().startswith(f"127.0.0.1:{server.server_port}")
            assert card.locator("[data-instance], [data-menu], [data-connect]").count() == 0
            page.wait_for_function(
                '(host) => +document.querySelector(`[data-service="${host}"] header .num`).textContent > 5',
                arg=HOST,
                timeout=SHOWN_MS,
            )
            page.wait_for_function("() => document.getElementById('phase').textContent === '1 of 1 healthy'")
            card.locator("header .name").click()
            page.wait_for_selector(f'[data-edge="shop>{HOST}"]', timeout=SHOWN_MS)
            assert page.locator(".editor").count() == 0
            row = page.locator('[data-key="instances"] tbody tr')
            assert row.locator("td").nth(1).inner_text() == "outside"
            row.click()
            assert page.locator("#menu").is_hidden()
    assert said == []
