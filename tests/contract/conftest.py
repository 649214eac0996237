"""Every contract test runs twice: against the embedded registry, always, and against a real Consul.

The real one is the binary of CONSUL_BIN, of the path, or of `../shared/ci/consul`, else the agent at
CONSUL_HTTP_ADDR. Without any, those runs are skipped with the reason; with CI=true they fail.
"""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator

import aiohttp
import pytest

from tests.contract import servers
from tests.contract.http import Http
from tests.contract.servers import Running

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def embedded() -> Iterator[Running]:
    running = servers.start_embedded()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def consul() -> Iterator[Running]:
    address = os.environ.get("CONSUL_HTTP_ADDR")
    if servers.consul_binary() is None and address:
        running = servers.consul_at_address(address)
    else:
        running = servers.start_consul()
    yield running
    running.stop()


@pytest.fixture(params=["embedded", "consul"])
def registry(request: pytest.FixtureRequest) -> Running:
    running: Running = request.getfixturevalue(request.param)
    return running


@pytest.fixture
async def http(registry: Running) -> AsyncIterator[Http]:
    async with aiohttp.ClientSession() as session:
        yield Http(session, registry)


@pytest.fixture
def name() -> str:
    """A name that no other test uses: the registries live as long as the run."""
    return f"t{next(_NUMBERS)}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def names(name: str) -> Callable[[str], str]:
    """More such names: `names("a")` is always the same one in one test."""
    return lambda suffix: f"{name}-{suffix}"
