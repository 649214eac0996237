"""A recording, of the page and of the command, played with nothing running: what happened is seen again."""

import gzip
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mesh.tokens import authorization
from tests.e2e.real_mesh import RealMesh, http, until, wait
from tests.page.browser import VIEWPORT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


@contextmanager
def replayed(file: Path) -> Iterator[str]:
    """`mesh replay FILE` where nothing else runs; gives its link."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mesh", "replay", str(file), "--port", "0"],
        cwd=file.parent,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield line.partition("recorded: ")[2].split()[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()


def test_what_the_page_recorded_is_played(page: Any, browser: Any, mesh: RealMesh, tmp_path: Path) -> None:
    """The picture, the dots, a kill and its traces, paused, sought and by speed; no action works."""
    page.wait_for_function("() => mesh.scene.particles.count > 0", timeout=30_000)
    page.keyboard.press("r")
    wait(4)
    page.click('[data-instance="inventory-1"]')
    page.wait_for_selector('[data-instance="inventory-1"].red', timeout=60_000)
    wait(4)
    with page.expect_download() as download:
        page.keyboard.press("r")
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    mesh.ok("heal", "inventory-1")
    lines = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    assert (lines[0]["recording"], lines[0]["mesh"], lines[1]["event"]) == (1, "shop", "hello")

    with replayed(file) as link:
        context = browser.new_context(viewport=VIEWPORT)
        again = context.new_page()
        said: list[str] = []
        again.on("pageerror", lambda error: said.append(str(error)))
        again.goto(link)
        again.wait_for_selector('[data-instance="inventory-1"].green')
        assert again.locator(".node").count() == 8
        again.wait_for_function("() => mesh.scene.particles.count > 0", timeout=60_000)
        again.focus("#seek")
        again.keyboard.press("End")
        again.wait_for_selector('[data-instance="inventory-1"].red', timeout=10_000)
        again.click("#tab-detection")
        again.wait_for_selector("section.watch[data-watch='inventory-1'] [data-row=process]")
        again.click("#tab-traces")
        again.click("#traces [data-trace] >> nth=0")
        again.wait_for_selector("dialog#waterfall[open] .span-bar >> nth=3")
        again.keyboard.press("Escape")
        again.focus("#seek")
        again.keyboard.press("Home")
        again.wait_for_selector('[data-instance="inventory-1"].green')
        again.select_option("#speed", "8")
        again.click("#play")  # it had come to its end
        again.wait_for_selector('[data-instance="inventory-1"].red', timeout=60_000)
        again.click('[data-instance="inventory-1"]')
        again.wait_for_selector('#toasts :text("nothing of it runs now")')
        url, _, token = link.partition("/#token=")
        answer = http(f"{url}/api/instances/inventory-1/heal", "POST", authorization(token))
        assert (answer.status, answer.json()["error"]) == (409, "this is a recording: nothing of it runs now")
        assert said == []
        context.close()


def test_the_command_records_the_same(mesh: RealMesh, tmp_path: Path) -> None:
    """For a time; a name that is taken, and what is no recording, are one line and code 2."""
    file = tmp_path / "shop.jsonl"
    assert "play it with: mesh replay" in mesh.ok("record", "--for", "3s", "-o", str(file))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines[0]["mesh"] == "shop"
    assert {"hello", "second", "change"} <= {line["event"] for line in lines[1:]}
    ran = mesh.run("record", "-o", str(file))
    assert (ran.code, "is there already" in ran.err) == (2, True)
    with replayed(file) as link:
        url, _, token = link.partition("/#token=")
        until(lambda: http(f"{url}/api/recording", headers=authorization(token)).status == 200)
        assert http(f"{url}/api/recording").status == 401
    (tmp_path / "other.jsonl").write_text('{"some": "thing"}\n')
    for name, words in (("other.jsonl", "not a recording"), ("none.jsonl", "No such file")):
        ran = mesh.run("replay", str(tmp_path / name))
        assert (ran.code, words in ran.err, ran.err.count("\n")) == (2, True, 1)


ADDRESSES = {
    "https://jaeger.example/ui": "https://jaeger.example/ui",
    "http://127.0.0.1:16686": "http://127.0.0.1:16686",
    "javascript:window.pwned=1//": None,
    "\tJaVaScRiPt:window.pwned=1//": None,
    "data:text/html,<script>window.pwned=1</script>": None,
    "vbscript:x": None,
}


def test_a_recording_gives_no_link_but_to_a_page(browser: Any, tmp_path: Path) -> None:
    """It is somebody's file: an address in it that would run as the page's own script is no link at all."""
    address = "javascript:window.pwned=1//"
    evil = "<img src=x onerror=window.pwned=1>"
    hop = [-1, "ingress", f"a-1{evil}", 0.1, 1.0, "ok", 1, 200]
    flight = {
        "id": "f" * 32, "at": 1.0, "ms": 2.0, "status": 200, "failed": False, "name": f"GET a{evil}",
        "hops": [hop, [0, f"a-1{evil}", "b-1", 0.2, 0.5, "error", 2, 503]],
    }  # fmt: skip
    service = {"name": evil, "replicas": 1, "versions": ["v1"], "error_rate": 0, "command": False}
    graph = {
        "name": evil, "ingress": "ingress", "jaeger": address, "containers": False, "entrypoint": evil,
        "services": [service], "calls": [["ingress", evil]],
    }  # fmt: skip
    picture = {"phase": "up", "nodes": {}, "edges": {}, "parts": [], "load": {}}
    events = [
        {
            "id": 1,
            "time": 1.0,
            "source": evil,
            "kind": "breaker",
            "reason": evil,
            "endpoint": evil,
            "after": "open",
        }
    ]
    hello = {
        "graph": graph, "picture": picture, "history": {"keys": [], "times": [], "rows": []},
        "events": events, "watches": [], "now": 1.0,
    }  # fmt: skip
    messages = [
        ("hello", hello),
        ("flights", {"k": 1, "flights": [flight]}),
        ("second", {"at": 2.0, "row": []}),
    ]
    lines = [json.dumps({"recording": 1, "mesh": evil, "at": 1})]
    lines += [
        json.dumps({"t": number / 10, "event": name, "data": data})
        for number, (name, data) in enumerate(messages)
    ]
    (tmp_path / "evil.jsonl").write_text("\n".join(lines) + "\n")
    with replayed(tmp_path / "evil.jsonl") as url:
        context = browser.new_context(viewport=VIEWPORT)
        page = context.new_page()
        page.goto(url)
        page.wait_for_function("() => window.mesh?.model.graph", timeout=60_000)
        page.click("#tab-traces")
        page.click("[data-trace]", timeout=60_000)
        page.wait_for_selector("#waterfall .span-name")
        assert page.eval_on_selector_all("a[href]", "all => all.length") == 0
        assert page.locator("#traces a").is_hidden()
        assert page.locator("#waterfall a").count() == 0
        assert page.evaluate("() => document.querySelectorAll('img').length") == 0
        assert page.evaluate("() => window.pwned") is None
        for one, wanted in ADDRESSES.items():
            made = (
                "async (one) => (await import('/page/js/dom.js')).h('a', { href: one }).getAttribute('href')"
            )
            assert page.evaluate(made, one) == wanted
        context.close()
