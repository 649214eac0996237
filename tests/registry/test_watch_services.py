"""The watch of service names, against the embedded server as a process."""

from __future__ import annotations

import asyncio

from registry.client import RegistryClient, ServiceRegistration
from tests.registry.programs import start


async def test_names_come_at_first_and_with_each_change() -> None:
    """A new name wakes the watch; a further instance of a known one does not."""
    program = await start("--http", "127.0.0.1:0", "--ephemeral")
    try:
        async with RegistryClient(program.http) as client, asyncio.timeout(10):
            watch = client.watch_services()
            assert await anext(watch) == {"consul"}
            await client.register(ServiceRegistration(id="orders-1", name="orders"))
            assert await anext(watch) == {"consul", "orders"}
            await client.register(ServiceRegistration(id="orders-2", name="orders"))
            await client.register(ServiceRegistration(id="users-1", name="users"))
            assert await anext(watch) == {"consul", "orders", "users"}
            assert client.staleness("services") == 0.0
    finally:
        assert await program.stop() == 0
