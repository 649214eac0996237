"""The page's scripts are typed by their JSDoc comments; TypeScript reads those and checks them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "mesh" / "page"


def compiler() -> list[str]:
    """`TSC`, a tsc.js for node; skips where there is none."""
    script, node = os.environ.get("TSC"), shutil.which("node")
    if script is None or node is None:
        pytest.skip("TSC names no tsc.js of TypeScript 5 (npm pack typescript), or node is missing")
    return [node, script]


def test_the_scripts_are_typed() -> None:
    """As strict as it gets, without a build step: nothing is emitted."""
    done = subprocess.run(
        [*compiler(), "-p", str(PAGE / "jsconfig.json")], capture_output=True, text=True, check=False
    )
    assert done.stdout == ""
    assert done.returncode == 0


def test_a_wrong_type_is_found(tmp_path: Path) -> None:
    """Or the test above would pass with no compiler behind it."""
    (tmp_path / "wrong.js").write_text(
        "/** @param {number} a */\nexport function f(a) { return a.length; }\n"
    )
    (tmp_path / "jsconfig.json").write_text((PAGE / "jsconfig.json").read_text().replace("js/*.js", "*.js"))
    done = subprocess.run(
        [*compiler(), "-p", str(tmp_path / "jsconfig.json")], capture_output=True, text=True, check=False
    )
    assert "wrong.js(2," in done.stdout
