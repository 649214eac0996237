"""What all tests have.

Property tests are judged by what they find, not by how busy the machine is: no deadline on an example.
"""

import socket
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("mesh", deadline=None)
settings.load_profile("mesh")


@pytest.fixture
def busy() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]
