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
