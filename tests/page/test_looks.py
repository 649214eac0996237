"""How the page looks: readable in both themes, nothing on top of anything, for keyboards and calm eyes."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.real_mesh import RealMesh, until, wait

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
CROWD = (Path(__file__).parent / "crowd.js").read_text()
TABS = ("overview", "detection", "traces", "events", "faults")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_word_can_be_read(page: Any, theme: str) -> None:
    """4.5 : 1 in every tab, in the menu and the dialogs (WCAG AA)."""
    page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
    for name in TABS:
        page.click(f"#tab-{name}")
        wait(0.2)
        assert page.evaluate(CONTRAST) == [], name
    page.click("#tab-overview")
    page.click('[data-service="orders"] .name')
    page.click('[data-key="edit-orders"] > summary')
    page.click('[data-instance="orders-1"]', button="right")
    page.evaluate("() => document.getElementById('adding').show()")
    assert page.evaluate(CONTRAST) == []


@pytest.mark.parametrize("width", [820, 1024, 1280, 1920])
def test_the_bar_has_room_for_all_of_it(page: Any, width: int) -> None:
    """No control lies on another or outside, at a high rate with a known ceiling too."""
    page.set_viewport_size({"width": width, "height": 800})
    page.evaluate(
        """() => { Object.assign(mesh.model.load, { rate_now: 12345, ceiling: 23456 });
                   mesh.model.tell('change', { load: mesh.model.load }); }"""
    )
    assert (
        page.evaluate(
            """() => {
          const shown = [...document.querySelectorAll('.bar :is(h1, #phase, input, select, button,'
            + ' #rate-now, .lamp)')].filter((one) => one.getClientRects().length);
          const box = (one) => one.getBoundingClientRect();
          const name = (one) => one.id || one.textContent;
          const wrong = shown.filter((one) => box(one).right > innerWidth + 1 || box(one).left < 0).map(name);
          shown.forEach((one, index) => shown.slice(index + 1).forEach((other) => {
            const [a, b] = [box(one), box(other)];
            const apart = a.right <= b.left + 1 || b.right <= a.left + 1
              || a.bottom <= b.top + 1 || b.bottom <= a.top + 1;
            if (!apart) wrong.push(`${name(one)} on ${name(other)}`);
          }));
          return wrong;
        }"""
        )
        == []
    )


def test_numbers_do_not_grow_when_they_are_rounded(page: Any) -> None:
    """9.96 is 10, not 10.0, which no card has room for; none is without its unit."""
    said = page.evaluate(
        """async () => {
          const { ms, rate, percent, after } = await import('/page/js/format.js');
          return [rate(9.94), rate(9.96), rate(0.01), rate(0), rate(12345),
                  ms(9.96), ms(999.6), ms(9996),
                  percent(0.0996), percent(0.0004), percent(0.25), after(999.7), after(9996)];
        }"""
    )
    assert said == [
        "9.9", "10", "<0.1", "0", "12.3k", "10 ms", "1.00 s", "10 s",
        "10 %", "<0.1 %", "25 %", "1.00 s", "10.0 s",
    ]  # fmt: skip


def test_a_hundred_services_can_be_told_apart(page: Any) -> None:
    """At 1280 x 720: every name is large enough to read, and no card lies on another or outside."""
    page.evaluate(CROWD, 0)
    found = page.evaluate(
        """() => {
          const box = (one) => one.getBoundingClientRect();
          const cards = [...document.querySelectorAll('.node')];
          const stage = box(document.getElementById('stage'));
          const apart = (a, b) => a.right <= b.left || b.right <= a.left
            || a.bottom <= b.top || b.bottom <= a.top;
          const inside = (a) => a.left >= stage.left && a.right <= stage.right && a.bottom <= stage.bottom;
          const name = document.querySelector('[data-service="s99"] .name');
          return {
            cards: cards.length,
            px: parseFloat(getComputedStyle(name).fontSize) * mesh.scene.camera.scale,
            fits: name.scrollWidth <= name.clientWidth && cards.every((one) => inside(box(one))),
            apart: cards.every((one, index) => cards.slice(index + 1)
              .every((other) => apart(box(one), box(other)))),
          };
        }"""
    )
    assert found.pop("px") >= 8
    assert found == {"cards": 101, "fits": True, "apart": True}


def test_the_traffic_is_there_at_once(page: Any, mesh: RealMesh) -> None:
    """The slider does not stand at nothing until the rate changes."""
    page.reload()
    page.wait_for_selector('[data-instance="orders-1"]')
    assert float(page.input_value("#rate-number")) == mesh.load()["rate"]


def test_who_wants_no_motion_gets_none(page: Any) -> None:
    """At once, not only with the next visit; and the dots come back."""
    page.emulate_media(reduced_motion="reduce")
    page.wait_for_selector('#dots[aria-pressed="false"]')
    assert page.evaluate("() => mesh.scene.particles.count") == 0
    assert page.evaluate("() => getComputedStyle(document.querySelector('.inst')).animationName") == "none"
    page.evaluate("() => document.querySelector('.inst').classList.add('busy')")
    moving = "() => getComputedStyle(document.querySelector('.inst > i')).animationName"
    assert page.evaluate(moving) == "none"
    page.emulate_media(reduced_motion="no-preference")
    page.wait_for_selector('#dots[aria-pressed="true"]')
    page.evaluate("() => document.querySelector('.inst').classList.add('busy')")
    assert page.evaluate(moving) == "busy"


def test_a_service_by_keyboard(page: Any) -> None:
    """Its name is a button that says what it stands for; what has the focus can be seen."""
    page.focus('[data-service="users"] .name')
    label = page.get_attribute('[data-service="users"] .name', "aria-label")
    assert label.startswith("users, ")
    assert "requests per second" in label
    page.keyboard.press("Shift")  # from here on the focus is the keyboard's
    assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_selector('[data-service="users"] .name[aria-pressed="true"]')
    assert page.inner_text("#overview h2").startswith("users")
    page.keyboard.press("e")
    page.wait_for_selector('[data-key="edit-users"][open]')


def test_only_containers_can_be_cut_off(page: Any) -> None:
    """Processes share this machine's network."""
    for containers in (False, True):
        page.evaluate("containers => { mesh.model.graph.containers = containers; }", containers)
        page.click('[data-instance="users-1"]', button="right")
        assert page.is_visible('#menu >> text="Cut off"') == containers
        page.keyboard.press("Escape")


def test_a_fault_is_timed_marked_and_told_of(page: Any, mesh: RealMesh) -> None:
    """By the stopwatch of detection, a mark on the chart that can be read, one line for all sidecars."""
    page.click("#tab-events")
    told = page.locator("#events li >> text=/^policies/")
    before = told.count()
    page.evaluate(
        """() => import('/page/js/actions.js').then(({ call }) => call('POST', '/api/faults',
             { target: 'inventory-1', delay: { duration: '400ms', percentage: 100 }, ttl: '60s' }))"""
    )
    page.click("#tab-detection")
    card = "section.watch[data-watch='inventory-1']"
    page.wait_for_selector(f"{card} >> text=has a fault", timeout=20_000)
    page.wait_for_selector(f"{card} [data-row=attempt]", timeout=30_000)

    watches = mesh.ask("/api/detections").json()["detections"]
    [watch] = [one for one in watches if one["instance"] == "inventory-1" and one["action"] == "fault"]
    assert "delay of 400 ms" in watch["note"]
    times = [row["ms"] for row in watch["rows"]]
    assert times == sorted(times)
    assert times[0] >= 0
    page.click("#tab-overview")
    wait(1.5)
    x = page.evaluate(
        """() => {
          const canvas = document.querySelector('canvas[data-chart=rps]');
          const mark = mesh.model.marks.find((one) => one.words.startsWith('fault at inventory-1'));
          const width = canvas.clientWidth - 4;
          return width - ((mesh.model.history.times.at(-1) - mark.at) / 300) * width;
        }"""
    )
    page.hover("canvas[data-chart=rps]", position={"x": x, "y": 30})
    page.wait_for_selector("#tip >> text=fault at inventory-1 began")
    assert "answered" in page.inner_text("#tip")
    page.click("#tab-events")
    page.wait_for_selector("#events >> text=documents in force")
    assert told.count() - before < 4  # not a line for each of 17 sidecars
    page.evaluate("() => import('/page/js/actions.js').then(({ call }) => call('DELETE', '/api/faults'))")
    page.click("#tab-detection")
    page.wait_for_selector(f"{card} >> text=is rid of its fault", timeout=20_000)


def test_traces_by_status(page: Any, mesh: RealMesh) -> None:
    """A class, a code, or no answer; what is none of these is refused with words."""
    recent = "/api/recent?limit=5&status="
    until(lambda: mesh.ask(f"{recent}2xx").json()["traces"], 10)
    assert {one["status"] for one in mesh.ask(f"{recent}200").json()["traces"]} == {200}
    assert mesh.ask(f"{recent}4xx").json()["traces"] == []
    answer = mesh.ask(f"{recent}abc")
    assert (answer.status, answer.json()["error"]) == (400, "status: write 503, or 5xx, or 0 for no answer")
    page.click("#tab-traces")
    page.wait_for_selector("#traces [data-trace]", timeout=15_000)
    page.select_option('#traces [aria-label="Outcome or status"]', "4xx")
    page.wait_for_selector("#traces :text('No trace like this')")
