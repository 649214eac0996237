"""The limit of open files, seen by a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import resource
from sidecar.io.files import raise_limit
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(raise_limit({wanted}), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "expected"),
    [
        (256, 1024, 100, "100 264"),
        (256, 1024, 1000, "480 1024"),
        (1024, 1024, 100, "100 1024"),
    ],
)
def test_the_soft_limit_is_raised_as_far_as_it_may(soft: int, hard: int, wanted: int, expected: str) -> None:
    """Never lowered, never beyond the hard one; the answer is what there is room for."""
    code = CODE.format(soft=soft, hard=hard, wanted=wanted)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == expected
