"""What all tests have.

Property tests are judged by what they find, not by how busy the machine is: no deadline on an example.
"""

import socket
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("mesh", deadline=None)
settings.load_profile("mesh")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests in a browser come last: Playwright's loop runs in this thread from its first use to the end,
    and no test with a loop of its own can run beside it.
    """
    items.sort(key=lambda item: "browser" in getattr(item, "fixturenames", ()))


@pytest.fixture
def busy() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]
