"""Where a mesh keeps its policies: the registry's keys `mesh/policy/<Kind>/<name>`, which sidecars watch
(`mesh/policy/<Kind>/<namespace>/<name>` outside the namespace `default`).

The value of a key is the document as it was written, as JSON; its flags are when, in milliseconds since the
epoch (0 = by another hand). The embedded registry forgets when it is restarted, so what is known is put back.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mesh.errors import MeshError, UsageError
from mesh.policy_names import HOME
from mesh.policy_names import key_of as policy_key
from sidecar.routing.kubernetes import without_server_fields, write_time
from sidecar.routing.plain import NotPlain, read_json

if TYPE_CHECKING:
    from registry.client import KVEntry, RegistryClient

log = logging.getLogger("mesh.policies")

PREFIX = "mesh/policy"

# A registry that says it serves takes a key at once; one of somebody else's may be electing its leader.
ATTEMPTS = 20
PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Stored:
    """One key: `key` is Kind/name, `raw` None when it is no JSON object, `at` None when nobody knows."""

    key: str
    raw: Mapping[str, Any] | None
    at: float | None
    index: int


class PolicyStore:
    """The policies of one mesh; `seed` are those of its topology. Every method may raise MeshError.

    `token` is the registry's, if it asks for one.
    """

    def __init__(
        self,
        registry_url: str,
        seed: Iterable[Mapping[str, Any]],
        wall_clock: Callable[[], float],
        token: str | None = None,
    ) -> None:
        self._url = registry_url
        self._token = token
        self._wall_clock = wall_clock
        now = wall_clock()
        self._known = {
            key_of(policy): (_encoded(_created(policy, now)), _milliseconds(now)) for policy in seed
        }

    async def begin(self) -> list[str]:
        """For a registry that others used before: exactly ours are there then. Returns the keys that went."""
        async with self._client() as client:
            entries = await self._patiently(lambda: client.kv_list(f"{PREFIX}/"))
            foreign = [entry.key for entry in entries if entry.key not in self._known]
            await self._put_back(client, foreign)
        return [_short(key) for key in foreign]

    async def adopt_or_restore(self) -> None:
        """For a registry that outlives us: what it holds counts; when it is empty, what we know."""
        async with self._client() as client:
            entries = await client.kv_list(f"{PREFIX}/")
            if entries:
                self._believe(entries)
            else:
                await self._put_back(client, ())

    async def restore(self) -> None:
        """After the registry was started again, and forgot: put back what was there."""
        if self._known:  # most meshes have none, and the client's imports take a tenth of a second of a start
            async with self._client() as client:
                await self._put_back(client, ())

    async def read(self) -> list[Stored]:
        """What is there now, in the order of the keys."""
        async with self._client() as client:
            entries = await client.kv_list(f"{PREFIX}/")
        # not believed: it may be the emptiness of a registry that `restore` is about to fill
        return [_stored(entry) for entry in entries]

    async def write(
        self, put: Sequence[Mapping[str, Any]], remove: Sequence[str], before: Sequence[Stored]
    ) -> bool:
        """All of it or nothing; False when it is not `before` any more that is there. `remove`: Kind/name."""
        from registry.client import MAX_BYTES, MAX_OPERATIONS, KVOperation, in_parts

        indexes = {f"{PREFIX}/{each.key}": each.index for each in before}
        now = _milliseconds(self._wall_clock())
        steps = [
            KVOperation(key, _encoded(policy), now, indexes.get(key, 0))
            for policy in put
            for key in [key_of(policy)]
        ]
        steps += [KVOperation(f"{PREFIX}/{key}", None, 0, indexes[f"{PREFIX}/{key}"]) for key in remove]
        if len(list(in_parts(steps))) > 1 or any(step.size > MAX_BYTES for step in steps):
            size = sum(step.size for step in steps)
            raise UsageError(
                f"{len(steps)} changes at once, of {size} bytes; a transaction holds {MAX_OPERATIONS} and "
                f"{MAX_BYTES}: do it in parts"
            )
        async with self._client() as client:
            if steps and not await client.kv_transaction(steps):
                return False
        for step in steps:
            if step.value is None:
                self._known.pop(step.key, None)
            else:
                self._known[step.key] = (step.value, step.flags)
        return True

    async def follow(self) -> AsyncIterator[list[Stored]]:
        """The policies at first and after each change, whoever made it; without end."""
        async with self._client() as client:
            async for entries in client.watch_kv(f"{PREFIX}/"):
                self._believe(entries)
                yield [_stored(entry) for entry in entries]

    def _believe(self, entries: Iterable["KVEntry"]) -> None:
        self._known = {entry.key: (entry.value, entry.flags) for entry in entries}

    async def _put_back(self, client: "RegistryClient", remove: Iterable[str]) -> None:
        from registry.client import KVOperation, in_parts

        steps = [KVOperation(key, value, at) for key, (value, at) in self._known.items()]
        steps += [KVOperation(key, None) for key in remove]
        for part in in_parts(steps):
            await self._patiently(lambda part=part: client.kv_transaction(part))  # type: ignore[misc]  # bound now

    async def _patiently(self, call: Callable[[], Any]) -> Any:
        from registry.client import RegistryError

        attempt = 1
        while True:
            try:
                return await call()
            except RegistryError as error:
                log.warning("policies (attempt %d of %d): %s", attempt, ATTEMPTS, error)
                if attempt == ATTEMPTS:
                    raise
            attempt += 1
            await asyncio.sleep(PAUSE_S)

    @asynccontextmanager
    async def _client(self) -> AsyncIterator["RegistryClient"]:
        from registry.client import RegistryClient, RegistryError

        try:
            async with RegistryClient(self._url, token=self._token) as client:
                yield client
        except RegistryError as error:
            raise MeshError(f"the registry does not take or tell policies: {error}") from error


def key_of(policy: Mapping[str, Any]) -> str:
    """Where a document lives; raises UsageError when it has no kind or no name."""
    metadata = policy.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    kind, name, namespace = policy.get("kind"), metadata.get("name"), metadata.get("namespace", HOME)
    if not (isinstance(kind, str) and isinstance(name, str) and isinstance(namespace, str)):
        raise UsageError('a policy needs "kind" and "metadata.name"')
    return f"{PREFIX}/{policy_key(kind, name, namespace)}"


def _created(policy: Mapping[str, Any], now: float) -> Mapping[str, Any]:
    """The document with the time of its creation, by which sidecars order documents for one host."""
    policy = without_server_fields(policy)
    metadata = policy.get("metadata")
    if not isinstance(metadata, Mapping) or metadata.get("creationTimestamp"):
        return policy
    return {**policy, "metadata": {**metadata, "creationTimestamp": write_time(now)}}


def _encoded(policy: Mapping[str, Any]) -> bytes:
    return json.dumps(policy).encode()


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _short(key: str) -> str:
    return key.removeprefix(f"{PREFIX}/")


def _stored(entry: "KVEntry") -> Stored:
    try:
        raw = read_json(entry.value)
    except NotPlain:
        raw = None
    return Stored(
        _short(entry.key),
        raw if isinstance(raw, dict) else None,
        entry.flags / 1000 if entry.flags else None,
        entry.modify_index,
    )
