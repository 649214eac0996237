"""The engine, or the reason why there is none; and the one mesh that most of these tests look at."""

from collections.abc import Iterator

import pytest

from tests.docker.project import Project, need_engine


@pytest.fixture(scope="session")
def engine() -> None:
    """Skips where there is no engine."""
    need_engine()


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
