"""The engine, or the reason why there is none; and the one mesh that most of these tests look at."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.docker.project import Project


@pytest.fixture(scope="session")
def engine() -> None:
    """Skips where there is no engine; in CI, where there has to be one, that is a failure."""
    words = ""
    if shutil.which("docker") is None:
        words = "there is no docker command"
    elif subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        words = "no Docker engine answers"
    elif subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        words = "Docker has no Compose v2"
    if words and os.environ.get("CI") == "true":
        pytest.fail(words)
    if words:
        pytest.skip(words)


@pytest.fixture(scope="package")  # its forty containers must not stay up beside the tests that follow
def shop(engine: None) -> Iterator[Project]:
    """The committed compose.yaml, up and healthy."""
    # a fifth of the requests is traced: enough to find one, little enough for two cores
    project = Project("meshtest", variables={"TRACE_SAMPLE": "0.2"})
    project.down()
    try:
        project.took = project.up()
        yield project
    finally:
        project.down()
