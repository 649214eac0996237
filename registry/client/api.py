"""`RegistryClient`: what the mesh asks of a registry."""

from __future__ import annotations

import json
import random
import ssl as tls
import time
from collections.abc import AsyncIterator, Callable, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Any
from urllib.parse import quote

from registry.client.kv_operation import KVOperation
from registry.client.last_good import EMPTY_HOLD, HOLD, LastGood
from registry.client.records import (
    HealthAnswer,
    HealthView,
    ServiceRegistration,
    check_json,
    instances_from,
    kv_from,
)
from registry.client.settle import KVSettle, NamesSettle
from registry.client.transport import Transport
from registry.client.watch import Freshness, Query, follow_health, follow_kv, follow_services
from registry.errors import NotFound, RegistryError
from registry.model import KVEntry

system_clock = time.monotonic  # noqa: TID251 - the one default; tests and simulations pass their own


class RegistryClient:
    """An async context manager; every method raises RegistryError or one of its kinds.

    `address` is "http://host:port", "https://host:port" or "host:port". Token and namespace go as headers,
    the datacenter as a parameter of every call; a token that may change is a function. `ssl` is a context, or
    False to trust any certificate.
    """

    def __init__(
        self,
        address: str,
        *,
        token: str | Callable[[], str] | None = None,
        datacenter: str | None = None,
        namespace: str | None = None,
        ssl: tls.SSLContext | bool = True,
        hold: float = HOLD,
        empty_hold: float = EMPTY_HOLD,
        clock: Callable[[], float] = system_clock,
        rng: random.Random | None = None,
    ) -> None:
        self._transport = Transport(address, token=token, datacenter=datacenter, namespace=namespace, ssl=ssl)
        self._hold = hold
        self._empty_hold = empty_hold
        self._clock = clock
        self._rng = rng or random.Random()
        self._fresh: dict[str, Freshness] = {}

    async def __aenter__(self) -> RegistryClient:
        await self._transport.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.close()

    @property
    def address(self) -> str:
        """Where the registry is, as a URL."""
        return self._transport.target.url

    # This instance

    async def register(self, service: ServiceRegistration) -> None:
        """Add or update an instance; checks it no longer has go."""
        checks = [check_json(check) for check in service.checks]
        await self._transport.consul.agent.service.register(
            service.name,
            service_id=service.id,
            address=service.address or None,
            port=service.port or None,
            tags=list(service.tags) or None,
            meta=dict(service.meta) or None,
            weights={"Passing": service.weights[0], "Warning": service.weights[1]},
            check=checks[0] if checks else None,
            extra_checks=checks[1:],
            replace_existing_checks=True,
        )

    async def deregister(self, service_id: str) -> None:
        """Remove an instance; one that is not there is no error (Consul up to 1.10 says 200, later 404)."""
        await self._transport.consul.agent.service.deregister(service_id)

    async def update_check(self, check_id: str, status: str, output: str = "") -> None:
        """Report a TTL check: passing, warning or critical. NotFound when the registry does not know it."""
        body = json.dumps({"Status": status, "Output": output}).encode()
        await self._transport.put(f"/v1/agent/check/update/{quote(check_id, safe='')}", body)

    async def maintenance(self, service_id: str, enable: bool, reason: str = "") -> None:
        """Put an instance into maintenance (critical for everybody) or take it out."""
        params = f"?enable={'true' if enable else 'false'}&reason={quote(reason, safe='')}"
        await self._transport.put(f"/v1/agent/service/maintenance/{quote(service_id, safe='')}{params}", b"")

    # Everybody

    async def health(
        self,
        service: str,
        *,
        passing: bool = False,
        tag: str | Sequence[str] | None = None,
        filter: str | None = None,
    ) -> HealthAnswer:
        """The instances of a service now."""
        tags = [tag] if isinstance(tag, str) else list(tag or ())
        index, rows = await self._transport.consul.health.service(
            service, passing=passing or None, tag=tags or None, filter_expr=filter
        )
        return HealthAnswer(int(index), instances_from(rows))

    async def services(self) -> dict[str, list[str]]:
        """Service names with their instances' tags."""
        _, answer = await self._transport.consul.catalog.services()
        return dict(answer)

    async def self(self) -> dict[str, Any]:
        """The registry's account of itself (`agent/self`): Config.Version, Config.NodeName and more."""
        _, _, answer = await self._transport.get("/v1/agent/self", {})
        return dict(answer)

    # Keys

    async def kv_get(self, key: str) -> KVEntry | None:
        """One key; None when it is not there."""
        _, row = await self._transport.consul.kv.get(key)
        return kv_from(row) if row else None

    async def kv_list(self, prefix: str) -> list[KVEntry]:
        """Everything under a prefix, in order."""
        _, rows = await self._transport.consul.kv.get(prefix, recurse=True)
        return [kv_from(row) for row in rows or ()]

    async def kv_put(self, key: str, value: bytes, *, cas: int | None = None) -> bool:
        """Write one key (at most 512 KiB); with `cas` only if its modify index is still that, 0 = absent."""
        return bool(await self._transport.consul.kv.put(key, value, cas=cas))

    async def kv_delete(self, key: str, *, recurse: bool = False) -> bool:
        """Remove one key, or with `recurse` everything under it; an absent key counts as removed."""
        return bool(await self._transport.consul.kv.delete(key, recurse=recurse or None))

    async def kv_transaction(self, operations: Sequence[KVOperation]) -> bool:
        """Do all of them (at most MAX_OPERATIONS) or none; False when an index is no longer that one."""
        body = json.dumps([operation.json() for operation in operations]).encode()
        try:
            await self._transport.put("/v1/txn", body)
        except RegistryError as error:
            if error.status == HTTPStatus.CONFLICT:
                return False
            raise
        return True

    # Watches

    def watch_health(self, service: str) -> AsyncIterator[HealthView]:
        """A view for each change of a service's instances, all statuses included; never ends by itself.

        Survives the loss of the registry: the last view stands. Removals right after it came back, and
        an empty set always, are held back (see `LastGood`). Cancel the task that iterates to end it.
        """
        believed = LastGood(hold=self._hold, empty_hold=self._empty_hold)
        return self._follow_health(service, believed, self._watched(f"health/{service}"))

    async def _follow_health(
        self, service: str, believed: LastGood, fresh: Freshness
    ) -> AsyncIterator[HealthView]:
        async with self._transport.line() as line:
            path = f"/v1/health/service/{quote(service, safe='')}"
            query = Query(line, path, {}, fresh, self._clock, self._rng)
            async for view in follow_health(query, believed, self._clock):
                yield view

    def watch_kv(self, prefix: str) -> AsyncIterator[tuple[KVEntry, ...]]:
        """The entries under a prefix, at first (also when there are none) and after each change."""
        return self._follow_kv(prefix, self._watched(f"kv/{prefix}"))

    async def _follow_kv(self, prefix: str, fresh: Freshness) -> AsyncIterator[tuple[KVEntry, ...]]:
        settle = KVSettle(self._hold)
        async with self._transport.line() as line:
            path = f"/v1/kv/{quote(prefix, safe='/')}"
            query = Query(line, path, {"recurse": "1"}, fresh, self._clock, self._rng)
            async for tree in follow_kv(query, settle, self._clock):
                yield tree

    def watch_services(self) -> AsyncIterator[frozenset[str]]:
        """The names of all services, at first and after each change.

        The last ones stand while the registry is lost, and for a while after it came back without them.
        """
        return self._follow_services(self._watched("services"))

    async def _follow_services(self, fresh: Freshness) -> AsyncIterator[frozenset[str]]:
        async with self._transport.line() as line:
            query = Query(line, "/v1/catalog/services", {}, fresh, self._clock, self._rng)
            settle = NamesSettle(self._hold)
            async for names in follow_services(query, settle, self._clock):
                yield names

    def staleness(self, kind_and_name: str) -> float:
        """Seconds for which a watch ("health/orders", "kv/mesh/policy/") has had no good answer; 0.0 = fresh.

        NotFound when nobody watches that.
        """
        fresh = self._fresh.get(kind_and_name)
        if fresh is None:
            raise NotFound(f"no watch named {kind_and_name!r}; there are {sorted(self._fresh)}")
        return fresh.staleness()

    def _watched(self, name: str) -> Freshness:
        fresh = self._fresh[name] = Freshness(self._clock)
        return fresh
