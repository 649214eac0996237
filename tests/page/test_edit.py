"""Services and calls changed on the page: it happens in real processes, and the saved file says so."""

from pathlib import Path
from typing import Any

import pytest

from services.script import load_topology
from tests.e2e.real_mesh import RealMesh, alive, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

SLOW_MS = 60_000  # a loaded machine starts processes slowly


def card(name: str) -> str:
    return f'[data-service="{name}"]'


def row(name: str) -> str:
    return f'[data-instance="{name}"]'


def calls(mesh: RealMesh) -> list[list[str]]:
    found = mesh.ask("/api/topology").json()["calls"]
    assert isinstance(found, list)
    return found


def open_editor(page: Any, name: str) -> None:
    page.click(f"{card(name)} > header")
    page.click(f'[data-key="edit-{name}"] > summary')
    page.wait_for_function("() => document.querySelector('.editor .fields input').value !== ''")


def test_a_service_is_added_called_changed_and_removed(page: Any, mesh: RealMesh, tmp_path: Path) -> None:
    """By the dialog, by a line that is drawn, by the form, by its button; and saved in between."""
    page.click("#add")
    page.fill("#adding-name", "Reviews!")
    page.click("#adding-submit")  # the browser itself says what a name is
    assert page.is_visible("#adding")
    page.fill("#adding-name", "reviews")
    page.fill('#adding [name="replicas"]', "1")
    page.click("#adding-submit")
    page.wait_for_selector(row("reviews-1"), timeout=SLOW_MS)
    until(lambda: mesh.instance("reviews-1")["healthy"], 60)
    page.wait_for_selector("#adding", state="hidden", timeout=SLOW_MS)

    handle = page.locator(f"{card('catalog')} .port").bounding_box()
    target = page.locator(f"{card('reviews')} > header").bounding_box()
    page.mouse.move(handle["x"] + 7, handle["y"] + 7)
    page.mouse.down()
    page.mouse.move(target["x"] + 20, target["y"] + 8, steps=4)
    page.mouse.up()
    until(lambda: ["catalog", "reviews"] in calls(mesh), 60)
    until(lambda: mesh.snapshot("reviews-1")["inbound"]["requests"] > 5, 60)

    open_editor(page, "reviews")
    page.fill('.editor [aria-label="Replicas"]', "2")
    page.fill('.editor [aria-label="Latency p50, ms"]', "40")
    page.click('.editor button:text("Apply")')
    page.wait_for_selector(row("reviews-2"), timeout=SLOW_MS)
    until(lambda: (mesh.snapshot("reviews-1")["inbound"]["window"]["p50_ms"] or 0) > 35, 60)

    with page.expect_download() as download:
        page.click("#save")
    saved = tmp_path / download.value.suggested_filename
    download.value.save_as(saved)
    assert saved.name == "shop.yaml"
    topology = load_topology(str(saved))
    assert topology.service("reviews").replicas == 2
    assert "reviews" in {call.service for call in topology.service("catalog").calls()}
    assert "8 services, 18 instances" in mesh.ok("validate", str(saved))

    pids = mesh.instance("reviews-1")["pids"]
    page.click('.editor button:text("Remove service")')
    page.click('.editor button:text("Really remove it?")')
    page.wait_for_selector(card("reviews"), state="detached", timeout=SLOW_MS)
    assert not any(alive(pid) for pid in pids.values())
    assert ["catalog", "reviews"] not in calls(mesh)
    page.click("#tab-events")
    page.wait_for_selector('#events :text("remove reviews")')


def test_calls_by_keyboard(page: Any, mesh: RealMesh) -> None:
    """E opens the form of the focused instance's service; the same form connects, the call's panel cuts."""
    page.focus(row("users-1"))
    page.keyboard.press("e")
    page.wait_for_selector('[data-key="edit-users"][open]')
    page.wait_for_selector('.editor select option[value="inventory"]', state="attached")
    page.select_option(".editor select", "inventory")
    page.focus('.editor button:text("Connect")')
    page.keyboard.press("Enter")
    until(lambda: ["users", "inventory"] in calls(mesh), 60)
    page.wait_for_selector('#overview [data-edge="users>inventory"]', timeout=60_000)
    page.click('#overview [data-edge="users>inventory"] button')
    page.click('button:text("Stop users from calling inventory")')
    until(lambda: ["users", "inventory"] not in calls(mesh), 60)
    page.keyboard.press("Escape")
