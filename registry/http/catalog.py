"""/v1/catalog: what everybody registered, by node and by service."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from registry.codec import encode
from registry.codec.decode import catalog_registration
from registry.codec.fields import Fields, Shape
from registry.filters import NODE, SERVICE, SERVICE_NODE
from registry.http.call import Call, HttpError
from registry.http.router import Router
from registry.model import Node, Service
from registry.store import Store
from registry.store.catalog import (
    delete_check,
    delete_node,
    delete_service,
    ensure_check,
    ensure_node,
    ensure_service,
    instances,
    service_answer_index,
    service_index,
)

_DEREGISTER = Shape("Datacenter Node Address ServiceID CheckID WriteRequest Namespace Partition")


class CatalogEndpoints:
    """Everything below /v1/catalog."""

    def __init__(self, store: Store, datacenter: str) -> None:
        self.store = store
        self.datacenter = datacenter

    def routes(self, router: Router) -> None:
        """Add them to the router."""
        base = "/v1/catalog"
        router.add("GET", f"{base}/datacenters", self.datacenters)
        router.add("GET", f"{base}/nodes", self.nodes)
        router.add("GET", f"{base}/node/", self.node)
        router.add("GET", f"{base}/node-services/", self.node_services)
        router.add("GET", f"{base}/connect/", self.connect)
        router.add("GET", f"{base}/gateway-services/", self.connect)
        router.add("GET", f"{base}/services", self.services)
        router.add("GET", f"{base}/service/", self.service)
        router.add("PUT", f"{base}/register", self.register)
        router.add("PUT", f"{base}/deregister", self.deregister)

    async def datacenters(self, call: Call) -> web.Response:
        """The one there is."""
        return call.respond([self.datacenter])

    async def nodes(self, call: Call) -> web.Response:
        """All nodes, by name."""
        call.check_common()
        state = self.store.state
        index = await call.past(state, "nodes")
        meta = call.node_meta()
        rows = [encode.node(row) for _, row in sorted(state.nodes.items()) if node_matches(row, meta)]
        return call.respond(call.keep(rows, NODE), index=index)

    async def node(self, call: Call) -> web.Response:
        """One node with its services by id; null when there is none."""
        row, services, index = await self._node(call)
        if row is None:
            return call.respond(None, index=index)
        answer = {"Node": encode.node(row), "Services": {one["ID"]: one for one in services}}
        return call.respond(answer, index=index)

    async def node_services(self, call: Call) -> web.Response:
        """One node with its services as a list."""
        row, services, index = await self._node(call)
        return call.respond(
            {"Node": encode.node(row) if row else None, "Services": services if row else None}, index=index
        )

    async def _node(self, call: Call) -> tuple[Node | None, list[encode.Json], int]:
        call.check_common()
        if not call.rest:
            raise HttpError(400, "Missing node name")
        state, name = self.store.state, call.rest

        def newest() -> int:
            return state.index_of("nodes", "services") if name in state.nodes else 0

        index = await call.blocking((f"node/{name}", "nodes"), newest)
        keys = sorted(state.services_on.get(name, ()))
        return (
            state.nodes.get(name),
            call.keep((encode.service(state.services[key]) for key in keys), SERVICE),
            index,
        )

    async def connect(self, call: Call) -> web.Response:
        """Mesh proxies of a service: none, since this mesh's sidecars are the instances themselves."""
        call.check_common()
        index = await call.past(self.store.state, "extinction")
        return call.respond([], index=index)

    async def services(self, call: Call) -> web.Response:
        """Service names with the union of their instances' tags."""
        call.check_common()
        state = self.store.state
        index = await call.past(state, "services")
        meta = call.node_meta()
        answer: dict[str, list[str]] = {}
        for name in sorted(state.by_name):
            rows = [row for row in instances(state, name) if node_matches(state.nodes[row.node], meta)]
            if rows:
                answer[name] = sorted({tag for row in rows for tag in row.tags})
        return call.respond(answer, index=index)

    async def service(self, call: Call) -> web.Response:
        """The instances of one service, flat with their nodes."""
        call.check_common()
        name = call.named("service name")
        state = self.store.state
        index = await call.blocking(
            (service_index(name),), lambda: service_answer_index(state, name, checks=False)
        )
        meta, tags = call.node_meta(), call.all("tag")
        rows = [
            encode.catalog_service(row, state.nodes[row.node])
            for row in instances(state, name)
            if node_matches(state.nodes[row.node], meta) and has_tags(row, tags)
        ]
        return call.respond(call.keep(rows, SERVICE_NODE), index=index)

    async def register(self, call: Call) -> web.Response:
        """Write a node, and maybe a service and checks on it, straight into the catalog."""
        body = await call.json()
        wanted = catalog_registration(body, self.datacenter)
        node = wanted.node
        if not node.name:
            raise HttpError(500, "Must provide node")
        if not node.address and not wanted.skip_node:
            raise HttpError(500, "Must provide address if SkipNodeUpdate is not set")
        if node.datacenter != self.datacenter:
            raise HttpError(500, "No path to datacenter")
        if wanted.service is not None and not wanted.service.name:
            raise HttpError(500, "Must provide service name with ID")
        with self.store.write() as write:
            if not (wanted.skip_node and node.name in self.store.state.nodes):
                ensure_node(write, node)
            if wanted.service is not None:
                ensure_service(write, wanted.service)
            for check in wanted.checks:
                try:
                    ensure_check(write, check)
                except Exception as bad:
                    raise HttpError(500, f"failed inserting check: {bad}") from bad
        return call.respond(True)

    async def deregister(self, call: Call) -> web.Response:
        """Remove a check, a service, or a whole node from the catalog."""
        body = await call.json()
        fields = Fields(body, _DEREGISTER)
        node, service = fields.text("Node"), fields.text("ServiceID")
        check = fields.text("CheckID")
        if not node:
            raise HttpError(500, "Must provide node")
        with self.store.write() as write:
            if service:
                delete_service(write, node, service)
            elif check:
                delete_check(write, node, check)
            else:
                delete_node(write, node)
        return call.respond(True)


def node_matches(node: Node, meta: Mapping[str, str]) -> bool:
    """Whether a node carries all of these pairs."""
    own = node.meta or {}
    return all(own.get(key) == value for key, value in meta.items())


def has_tags(service: Service, tags: list[str]) -> bool:
    """Whether an instance carries all of these tags; Consul compares without case."""
    own = {tag.lower() for tag in service.tags}
    return all(tag.lower() in own for tag in tags)
