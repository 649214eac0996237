"""Puts the policies of a topology where every sidecar watches for them: the registry's key-value store."""

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from mesh.errors import UsageError

if TYPE_CHECKING:
    from registry.client import RegistryClient

log = logging.getLogger("mesh.policies")

PREFIX = "mesh/policy"

# A registry that says it serves takes a key at once; one of somebody else's may be electing its leader.
ATTEMPTS = 20
PAUSE_S = 0.5


async def put_policies(registry_url: str, policies: Iterable[Mapping[str, object]]) -> None:
    """Write each document under `mesh/policy/<Kind>/<name>`; the same again changes nothing."""
    # only now: most meshes have no policies, and the client's imports take a tenth of a second of a start
    from registry.client import RegistryClient

    async with RegistryClient(registry_url) as client:
        for policy in policies:
            await _put(client, key_of(policy), json.dumps(policy).encode())


async def _put(client: "RegistryClient", key: str, document: bytes) -> None:
    from registry.client import RegistryError

    for attempt in range(1, ATTEMPTS + 1):
        try:
            await client.kv_put(key, document)
            return
        except RegistryError as error:
            log.warning("cannot write %s (attempt %d of %d): %s", key, attempt, ATTEMPTS, error)
            await asyncio.sleep(PAUSE_S)


def key_of(policy: Mapping[str, object]) -> str:
    """Where a document lives; raises UsageError when it has no kind or no name."""
    metadata = policy.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    kind = policy.get("kind")
    if not isinstance(kind, str) or not isinstance(name, str):
        raise UsageError('a policy needs "kind" and "metadata.name"')
    return f"{PREFIX}/{kind}/{name}"
