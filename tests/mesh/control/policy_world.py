"""The desks of policies over an embedded registry and sidecars that serve only their `/config_dump`."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from mesh.control.policy_desks import Desks, make_desks
from mesh.policies import PolicyStore
from mesh.policy_set import read_policies, version
from tests.fakes.clock import FakeClock
from tests.fakes.registry import running_registry
from tests.mesh.control.test_picture import instance


class FakeSidecar:
    """Acts on whatever the registry holds, or says `stuck` instead; `explained` is its /explain."""

    def __init__(self, store: PolicyStore) -> None:
        self._store = store
        self.stuck: dict[str, Any] | None = None
        self.silent = False
        self.explained: list[dict[str, Any]] = []

    async def config_dump(self, _: web.Request) -> web.Response:
        if self.silent:
            return web.Response(status=503)
        if self.stuck is not None:
            return web.json_response({"policy": self.stuck})
        stored = await self._store.read()
        shown = version(read_policies([each.raw for each in stored]))
        return web.json_response({"policy": {"version": shown, "documents": len(stored), "problem": ""}})

    async def explain(self, request: web.Request) -> web.Response:
        if self.silent:
            return web.Response(status=503)
        wanted = request.query["trace_id"]
        return web.json_response(
            {"exchanges": [each for each in self.explained if each["trace_id"] == wanted]}
        )


class PolicyWorld:
    """A mesh of `orders-1` (v1), `orders-2` (v2) and `payments-1`, each with such a sidecar."""

    def __init__(self, store: PolicyStore, clock: FakeClock) -> None:
        self.store, self.clock = store, clock
        self.events: list[dict[str, Any]] = []
        self.sidecars = {name: FakeSidecar(store) for name in ("orders-1", "orders-2", "payments-1")}
        self.instances = [instance(name) for name in self.sidecars]
        self.instances[1]["version"] = "v2"
        self.addresses: dict[str, str] = {}
        self.desks: Desks

    def status(self) -> dict[str, Any]:
        return {"phase": "up", "instances": self.instances, "extras": [instance("ingress")]}

    def snapshots(self) -> dict[str, Any]:
        return {}

    def admins(self) -> dict[str, str]:
        return self.addresses

    def tell(self, by: str, kind: str, fields: dict[str, Any]) -> None:
        self.events.append({**fields, "by": by, "kind": kind})


@asynccontextmanager
async def policy_world(
    seed: tuple[dict[str, Any], ...] = (), store: type[PolicyStore] = PolicyStore
) -> AsyncIterator[PolicyWorld]:
    clock = FakeClock(1_700_000_000.0)
    async with AsyncExitStack() as stack:
        registry = await stack.enter_async_context(running_registry())
        session = await stack.enter_async_context(aiohttp.ClientSession())
        kept = store(f"http://{registry.address}", seed, clock)
        world = PolicyWorld(kept, clock)
        for name, sidecar in world.sidecars.items():
            app = web.Application()
            app.router.add_get("/config_dump", sidecar.config_dump)
            app.router.add_get("/explain", sidecar.explain)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            world.addresses[name] = f"http://127.0.0.1:{runner.addresses[0][1]}"
        world.desks = make_desks(kept, world, session, clock, world.tell)
        yield world


def as_written(row: dict[str, Any]) -> dict[str, Any]:
    """The document of a row without the time of its creation."""
    metadata = {
        key: value for key, value in row["document"]["metadata"].items() if key != "creationTimestamp"
    }
    return {**row["document"], "metadata": metadata}


def virtual_service(name: str = "orders", weight: int = 90, **http: Any) -> dict[str, Any]:
    route = [
        {"destination": {"host": name, "subset": "v1"}, "weight": weight},
        {"destination": {"host": name, "subset": "v2"}, "weight": 100 - weight},
    ]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name},
        "spec": {"hosts": [name], "http": [{"route": route, **http}]},
    }


def destination_rule(name: str = "orders", **policy: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "host": name,
        "subsets": [{"name": version, "labels": {"version": version}} for version in ("v1", "v2")],
    }
    if policy:
        spec["trafficPolicy"] = policy
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": name},
        "spec": spec,
    }
