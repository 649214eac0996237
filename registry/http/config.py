"""/v1/config and /v1/discovery-chain: config entries are kept and read back; nothing here acts on them."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from registry.codec.config_entry import KINDS, config_entry
from registry.codec.fields import DecodeError, Fields, Shape
from registry.http.call import Call, HttpError, Malformed
from registry.http.router import Router
from registry.model import Document, Node
from registry.store import Store
from registry.store.documents import (
    CONFIG,
    at_index,
    delete_document,
    documents,
    index_name,
    put_document,
)

_ROUTING: Final = ("service-router", "service-splitter", "service-resolver")
_OVERRIDES: Final = Shape("OverrideConnectTimeout OverrideProtocol OverrideMeshGateway")


class ConfigEndpoints:
    """Everything below /v1/config, and the chain that follows from it."""

    def __init__(self, store: Store, node: Node) -> None:
        self.store = store
        self.node = node

    def routes(self, router: Router) -> None:
        """Add them to the router."""
        router.add("PUT", "/v1/config", self.put)
        router.add("GET", "/v1/config/", self.read)
        router.add("DELETE", "/v1/config/", self.delete)
        router.add("GET POST", "/v1/discovery-chain/", self.chain)

    async def put(self, call: Call) -> web.Response:
        """Write one; with `cas` only over the version it names."""
        call.check_common()
        try:
            kind, name, entry = config_entry(await call.json())
        except DecodeError as bad:
            raise HttpError(400, f"Bad request: Request decoding failed: {bad}") from bad
        family = CONFIG + kind
        with self.store.write() as write:
            fits = not call.has("cas") or at_index(self.store.state, family, name, call.number("cas"))
            if fits:
                put_document(write, family, name, entry)
        return call.respond(fits)

    async def read(self, call: Call) -> web.Response:
        """One entry (`KIND/NAME`), or all of a kind."""
        call.check_common()
        kind, _, name = call.rest.partition("/")
        if kind and kind not in KINDS:
            raise Malformed(f"invalid config entry kind: {kind}")
        topic = index_name(CONFIG)
        index = await call.past(self.store.state, topic)
        if not name:
            return call.respond(
                [_answer(one) for one in documents(self.store.state, CONFIG + kind)], index=index
            )
        found = self.store.state.documents.get((CONFIG + kind, name))
        if found is None:
            why = f'Config entry not found for "{kind}" / "{name}"'
            raise HttpError(404, why, call.query_headers(index))
        return call.respond(_answer(found), index=index)

    async def delete(self, call: Call) -> web.Response:
        """Forget one; one that is not there is no error."""
        call.check_common()
        kind, slash, name = call.rest.partition("/")
        if not slash:
            raise HttpError(404, "Must provide both a kind and name to delete")
        if kind not in KINDS:
            raise HttpError(400, f"invalid config entry kind: {kind}")
        with self.store.write() as write:
            delete_document(write, CONFIG + kind, name)
        return call.respond({})

    # The chain

    async def chain(self, call: Call) -> web.Response:
        """The chain of a service without routing entries: it resolves to itself. Others are refused (501)."""
        call.check_common()
        service = call.rest
        if not service:
            raise HttpError(400, "Bad request: Missing chain name")
        overrides = Fields(await call.json() if call.method == "POST" else {}, _OVERRIDES, lax=True)
        topic = index_name(CONFIG)
        state = self.store.state
        index = await call.past(state, topic)
        for kind in _ROUTING:
            if (CONFIG + kind, service) in state.documents:
                why = f"the embedded registry compiles no chain from the {kind} of {service}"
                raise HttpError(501, f"{why}: start real Consul (--registry URL) for it")
        datacenter = call.get("compile-dc") or self.node.datacenter
        target = f"{service}.default.{datacenter}"
        gateway = Fields(overrides.raw("OverrideMeshGateway") or {}, Shape("Mode"))
        mode = gateway.text("Mode")
        name = f"{target}.internal.{self.node.id}.consul"
        answer: dict[str, Any] = {
            "ServiceName": service,
            "Namespace": "default",
            "Datacenter": datacenter,
            "Protocol": overrides.text("OverrideProtocol") or self._protocol(service),
            "StartNode": f"resolver:{target}",
            "Nodes": {
                f"resolver:{target}": {
                    "Type": "resolver",
                    "Name": target,
                    "Resolver": {
                        "ConnectTimeout": overrides.text("OverrideConnectTimeout") or "5s",
                        "Default": True,
                        "Target": target,
                    },
                }
            },
            "Targets": {
                target: {
                    "ID": target,
                    "Service": service,
                    "Namespace": "default",
                    "Datacenter": datacenter,
                    "MeshGateway": {"Mode": mode} if mode else {},
                    "Subset": {},
                    "SNI": name,
                    "Name": name,
                }
            },
        }
        return call.respond({"Chain": answer}, index=index)

    def _protocol(self, service: str) -> str:
        kept = self.store.state.documents
        own = kept.get((CONFIG + "service-defaults", service))
        if own is not None and own.body.get("Protocol"):
            return str(own.body["Protocol"])
        everywhere = kept.get((CONFIG + "proxy-defaults", "global"))
        config = everywhere.body.get("Config") if everywhere else None
        return str(config["protocol"]) if isinstance(config, dict) and config.get("protocol") else "tcp"


def _answer(row: Document) -> dict[str, Any]:
    kind = row.family.removeprefix(CONFIG)
    indexes = {"CreateIndex": row.create_index, "ModifyIndex": row.modify_index}
    return {"Kind": kind, "Name": row.name, **row.body, **indexes}
