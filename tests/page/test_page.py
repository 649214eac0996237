"""The live page in a real browser against a real mesh: what it shows is so, and what it does happens."""

import json
import re
from typing import Any

import pytest

from services.script import load_topology
from tests.e2e.real_mesh import RealMesh, alive, http, until, wait

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

OFFLINE_S = 1.0  # by then the colour has changed after the process ended
SHARE = 0.02


def row(name: str) -> str:
    return f'[data-instance="{name}"]'


def colour(page: Any, name: str) -> str:
    return str(page.evaluate("name => document.querySelector(`[data-instance='${name}']`).className", name))


def heal(mesh: RealMesh, name: str) -> None:
    mesh.ok("heal", name)
    until(lambda: mesh.instance(name)["healthy"])


def test_the_picture_is_the_topology(page: Any) -> None:
    """Every service, every instance and every call of the file, and no other."""
    shop = load_topology("shop")
    services = page.eval_on_selector_all("[data-service]", "all => all.map(one => one.dataset.service)")
    assert sorted(services) == sorted(["ingress", *(service.name for service in shop.services)])
    rows = page.eval_on_selector_all(".node [data-instance]", "all => all.map(one => one.dataset.instance)")
    assert sorted(rows) == sorted(["ingress", *(instance.name for instance in shop.instances())])
    page.wait_for_selector(".calls [data-edge]")
    edges = page.eval_on_selector_all(".calls [data-edge]", "all => all.map(one => one.dataset.edge)")
    calls = {f"{service.name}>{call.service}" for service in shop.services for call in service.calls()}
    assert sorted(edges) == sorted({f"ingress>{shop.entrypoint.name}", *calls})


def test_a_click_kills_the_process_and_another_brings_it_back(page: Any, mesh: RealMesh) -> None:
    """Both pids are gone, the colour changes within a second, traffic goes elsewhere, nothing fails."""
    before = mesh.instance("orders-2")["pids"]
    others = {name: mesh.snapshot(name)["inbound"]["requests"] for name in ("orders-1", "orders-3")}
    mesh.reset_load()
    places = page.evaluate("() => [...document.querySelectorAll('.node')].map(one => one.style.transform)")
    page.click(row("orders-2"))
    until(lambda: not alive(before["app"]) and not alive(before["sidecar"]), 5)
    page.wait_for_selector(f"{row('orders-2')}.red", timeout=OFFLINE_S * 1000)
    wait(3)
    for name, count in others.items():
        assert mesh.snapshot(name)["inbound"]["requests"] > count
    assert mesh.load()["failed"] == 0
    page.click(row("orders-2"))
    until(lambda: mesh.instance("orders-2")["healthy"], 15)
    page.wait_for_selector(f"{row('orders-2')}.green", timeout=15_000)
    after = mesh.instance("orders-2")["pids"]
    assert after["app"] != before["app"]
    assert places == page.evaluate(
        "() => [...document.querySelectorAll('.node')].map(one => one.style.transform)"
    )


def test_who_noticed_and_when(page: Any, mesh: RealMesh) -> None:
    """After a kill the callers' attempts, the supervisor, the breakers and the registry, in milliseconds."""
    page.click("#tab-detection")
    page.click(row("payments-3"))
    card = "section.watch[data-watch='payments-3']"
    for key in ("process", "attempt", "breaker", "registry", "last"):
        page.wait_for_selector(f"{card} [data-row={key}]", timeout=20_000)
    document = mesh.ask("/api/detections").json()["detections"][-1]
    assert (document["instance"], document["action"]) == ("payments-3", "kill")
    assert all(0 <= one["ms"] < 30_000 for one in document["rows"])
    heal(mesh, "payments-3")


def test_the_slider_changes_the_rate_that_the_ingress_measures(page: Any, mesh: RealMesh) -> None:
    """Open loop, at once, and the pattern likewise."""
    page.evaluate(
        "() => { const one = document.getElementById('rate'); one.value = 500;"
        " one.dispatchEvent(new Event('input', { bubbles: true })); }"
    )
    wanted = float(page.input_value("#rate-number"))
    assert wanted != 40
    until(lambda: mesh.load()["rate"] == wanted, 5)

    def measured() -> bool:
        rate = mesh.snapshot("ingress")["outbound"]["window"]["rps"]
        return bool(abs(rate - wanted) < 0.1 * wanted)

    until(measured, 30)
    page.select_option("#pattern", "sine")
    until(lambda: mesh.load()["pattern"].startswith("sine"), 5)
    page.select_option("#pattern", "constant")
    until(lambda: mesh.load()["pattern"] == "constant", 5)
    page.fill("#rate-number", "40")
    page.press("#rate-number", "Enter")
    until(lambda: mesh.load()["rate"] == 40, 5)


def test_a_dot_is_a_real_request(page: Any, mesh: RealMesh) -> None:
    """The trace id of the dot that was clicked stands in the ingress's access log."""
    page.wait_for_function("() => mesh.scene.particles.count > 3", timeout=15_000)
    found = page.evaluate(
        """async () => {
             const { scene } = mesh;
             scene.particles.step = () => {}; // they stand still, so that a mouse can hit one
             const { particles, camera } = scene;
             for (let i = 0; i < particles.count; i += 1) {
               const x = particles.x[i] * camera.scale + camera.x;
               const y = particles.y[i] * camera.scale + camera.y;
               const box = scene.stage.getBoundingClientRect();
               if (document.elementFromPoint(x + box.left, y + box.top)?.closest('.node')) continue;
               return [x + box.left, y + box.top];
             }
           }"""
    )
    page.mouse.click(*found)
    page.wait_for_selector("dialog#waterfall[open]")
    trace = page.inner_text("#trace-id")
    assert re.fullmatch("[0-9a-f]{32}", trace)
    log = mesh.state.access_log_path("ingress")
    lines = until(lambda: [line for line in log.read_text().splitlines() if trace in line], 5)
    assert json.loads(lines[0])["trace_id"] == trace
    assert page.locator(".span-bar").count() > 5
    page.keyboard.press("Escape")


def test_the_panel_says_what_the_metrics_say(page: Any, mesh: RealMesh) -> None:
    """The rate of a service, on the page and from its sidecars' own counters, within two percent."""

    def counted(name: str, reporter: str) -> float:
        text = http(f"http://127.0.0.1:{mesh.instance(name)['ports']['admin']}/metrics").body.decode()
        lines = [line for line in text.splitlines() if line.startswith("istio_requests_total{")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if f'reporter="{reporter}"' in line)

    def now() -> float:
        return float(page.evaluate("() => performance.now() / 1000"))

    def agrees() -> bool:
        """The rate over the ten seconds that the page's window spans, too."""
        begun = {name: (now(), counted(name, "destination")) for name in ("gateway-1", "gateway-2")}
        wait(10)
        rate = sum((counted(name, "destination") - was) / (now() - at) for name, (at, was) in begun.items())
        shown = float(page.evaluate("() => mesh.model.nodes.get('gateway').rps"))
        return abs(shown - rate) <= SHARE * rate

    page.click('[data-service="gateway"] > header')
    page.wait_for_selector('#overview [data-stat="rps"]')
    until(agrees, 60)
    shown = page.evaluate("() => mesh.model.nodes.get('gateway').rps")
    text = page.inner_text('#overview [data-stat="rps"] b').removesuffix("/s")
    assert abs(float(text) - shown) <= 1 + SHARE * shown
    page.keyboard.press("Escape")


def test_everything_by_keyboard(page: Any, mesh: RealMesh) -> None:
    """Enter kills and heals, M opens the menu, Escape closes it, numbers choose the tab."""
    page.focus(row("users-1"))
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{row('users-1')}.red", timeout=5_000)
    until(lambda: mesh.instance("users-1")["state"] == "down", 5)
    wait(0.5)
    page.focus(row("users-1"))
    page.keyboard.press("Enter")
    until(lambda: mesh.instance("users-1")["healthy"], 15)
    page.focus(row("users-2"))
    page.keyboard.press("m")
    assert page.is_visible("#menu")
    page.keyboard.press("Escape")
    assert not page.is_visible("#menu")
    page.keyboard.press("3")
    assert page.is_visible("#traces .filters")
    page.wait_for_selector("[data-trace]", timeout=10_000)


def test_pause_is_a_grey_failure_and_heal_ends_it(page: Any, mesh: RealMesh) -> None:
    """By the menu: the process lives but is stopped."""
    page.click(row("inventory-2"), button="right")
    page.click("#menu >> text=SIGSTOP, grey failure")
    until(lambda: mesh.instance("inventory-2")["state"] == "paused", 5)
    page.wait_for_selector(f"{row('inventory-2')}.red[data-state=paused]", timeout=5_000)
    wait(0.5)
    page.click(row("inventory-2"))
    until(lambda: mesh.instance("inventory-2")["healthy"], 15)


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1024, 768), (820, 1180)])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits(page: Any, width: int, height: int, theme: str) -> None:
    """Nothing wider than the window; every card inside the stage."""
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": width, "height": height})
    page.reload()
    page.wait_for_selector('[data-instance="orders-1"]')
    wait(0.5)
    assert page.evaluate("() => document.documentElement.dataset.theme") == theme
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate(
        """() => {
          const box = (one) => one.getBoundingClientRect();
          const stage = box(document.getElementById('stage'));
          return [...document.querySelectorAll('.node')].map(box).every((one) => one.left >= stage.left
            && one.right <= stage.right && one.top >= stage.top && one.bottom <= stage.bottom);
        }"""
    )


def test_a_hidden_tab_costs_nothing(page: Any, mesh: RealMesh) -> None:
    """Its stream is closed while it is hidden, and begins anew when it is seen."""
    page.evaluate(
        """() => { Object.defineProperty(document, 'hidden', { configurable: true, get: () => true });
                   document.dispatchEvent(new Event('visibilitychange')); }"""
    )
    wait(0.5)
    frozen = page.evaluate("() => mesh.model.history.times.length")
    wait(2.5)
    assert page.evaluate("() => mesh.model.history.times.length") == frozen
    page.evaluate("() => { delete document.hidden; document.dispatchEvent(new Event('visibilitychange')); }")
    page.wait_for_function("count => mesh.model.history.times.length !== count", arg=frozen, timeout=5_000)
