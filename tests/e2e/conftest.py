"""What is there before a mesh: a registry that is somebody's own."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture
def own_registry() -> Iterator[str]:
    """Its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "registry", "--http", "127.0.0.1:0", "--ephemeral"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    yield f"http://{json.loads(process.stdout.readline())['http']}"
    process.terminate()
    process.wait(10)
    process.stdout.close()
