"""The registry that other packages' tests run against."""

import pytest

from registry.client import RegistryClient, RegistryUnavailable
from registry.store import Store
from tests.fakes.registry import running_registry


async def test_it_serves_until_its_block_ends() -> None:
    async with running_registry() as registry, RegistryClient(registry.address) as client:
        assert await client.kv_put("k", b"v")
    async with RegistryClient(registry.address) as client:
        with pytest.raises(RegistryUnavailable):
            await client.kv_get("k")


@pytest.mark.parametrize(("kept", "value"), [(True, b"v"), (False, None)])
async def test_on_the_same_port_it_comes_back_with_its_store_or_empty(
    kept: bool, value: bytes | None
) -> None:
    store = Store()
    async with running_registry(store=store) as registry, RegistryClient(registry.address) as client:
        await client.kv_put("k", b"v")
    port = int(registry.address.rpartition(":")[2])
    async with (
        running_registry(port=port, store=store if kept else None) as registry,
        RegistryClient(registry.address) as client,
    ):
        entry = await client.kv_get("k")
        assert (entry.value if entry else None) == value
