"""Headless Chromium, as Debian packages it, driven by Playwright; and what is missing, in words."""

import atexit
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest

# The container has no sandbox and no GPU, and nothing of it should call home.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
VIEWPORT = {"width": 1280, "height": 720}


def missing() -> str | None:
    """What the browser tests lack on this machine, with the remedy; None when they can run."""
    try:
        import playwright.sync_api  # noqa: F401  # only whether it is there
    except ImportError:
        return "Playwright is not installed: pip install playwright"
    if executable() is None:
        return "no Chromium: apt-get install chromium, or name one by CHROMIUM=/path"
    return None


def need_browser() -> None:
    """Skips with the reason where there is none, but never in CI: there it is a failure."""
    lacks = missing()
    if lacks and os.environ.get("CI"):
        pytest.fail(f"the page cannot be tested: {lacks}")
    if lacks:
        pytest.skip(lacks)


def executable() -> str | None:
    """The browser's path."""
    named = os.environ.get("CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


@cache
def driver() -> Any:
    """Playwright, one for the process: a second one cannot start beside it in the same thread."""
    from playwright.sync_api import sync_playwright

    started = sync_playwright().start()
    atexit.register(started.stop)
    return started


@contextmanager
def chromium(*flags: str) -> Iterator[Any]:
    """A browser; its profile is new and goes with it."""
    browser = driver().chromium.launch(executable_path=executable(), args=[*FLAGS, *flags])
    try:
        yield browser
    finally:
        browser.close()
