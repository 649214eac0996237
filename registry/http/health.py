"""/v1/health: who is there and how they are; the answers that every sidecar waits on."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from registry.codec import encode
from registry.filters import CHECK, HEALTH
from registry.http.call import Call
from registry.http.catalog import has_tags, node_matches
from registry.http.router import Router
from registry.model import PASSING, Check
from registry.store import Store
from registry.store.catalog import checks_of, instances, service_answer_index, service_index

CACHED_BYTES = 16 * 1024 * 1024
"""Bytes of answers that are kept. A thousand watchers of one service ask one query, and its answer is
then built once per change instead of a thousand times."""


class HealthEndpoints:
    """Everything below /v1/health."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._answers: dict[tuple[str, ...], tuple[int, bytes]] = {}
        self._bytes = 0

    def routes(self, router: Router) -> None:
        """Add them to the router."""
        base = "/v1/health"
        router.add("GET", f"{base}/service/", self.service)
        router.add("GET", f"{base}/connect/", self.connect)
        router.add("GET", f"{base}/ingress/", self.connect)
        router.add("GET", f"{base}/checks/", self.checks)
        router.add("GET", f"{base}/node/", self.node)
        router.add("GET", f"{base}/state/", self.state)

    async def service(self, call: Call) -> web.Response:
        """Instances of one service with their node and all checks that decide about them."""
        call.check_common()
        name = call.named("service name")
        state = self.store.state
        # Read before the wait: a thousand watchers wake at once, and each then has that much less to do.
        passing, tags, meta = call.flag("passing"), call.all("tag"), call.node_meta()
        special = bool(call.has("pretty") or meta or call.get("filter"))
        index = await call.blocking(
            (service_index(name),), lambda: service_answer_index(state, name, checks=True)
        )
        if special:
            rows = self._service(name, passing=passing, tags=tags, meta=meta)
            return call.respond(call.keep(rows, HEALTH), index=index)
        query = (name, str(passing), *tags)
        known = self._answers.get(query)
        if known is None or known[0] != state.index_of(service_index(name)):
            rows = self._service(name, passing=passing, tags=tags, meta=meta)
            fresh = state.index_of(service_index(name)), encode.dumps(rows)
            self._keep(query, fresh, replaced=len(known[1]) if known else 0)
            known = fresh
        return call.respond(known[1], index=index)

    def _keep(self, query: tuple[str, ...], answer: tuple[int, bytes], *, replaced: int) -> None:
        self._bytes += len(answer[1]) - replaced
        if self._bytes > CACHED_BYTES:
            self._answers.clear()
            self._bytes = len(answer[1])
        self._answers[query] = answer

    def _service(
        self, name: str, *, passing: bool, tags: list[str], meta: dict[str, str]
    ) -> list[encode.Json]:
        state = self.store.state
        rows: list[encode.Json] = []
        for row in instances(state, name):
            node = state.nodes[row.node]
            if not node_matches(node, meta) or not has_tags(row, tags):
                continue
            checks = checks_of(state, row)
            if passing and any(check.status != PASSING for check in checks):
                continue
            rows.append(encode.health_entry(node, row, checks))
        return rows

    async def connect(self, call: Call) -> web.Response:
        """Mesh proxies and gateways of a service: none, since this mesh's sidecars are the instances."""
        call.check_common()
        index = await call.past(self.store.state, "extinction")
        return call.respond([], index=index)

    async def checks(self, call: Call) -> web.Response:
        """The checks of one service's instances."""
        call.check_common()
        name = call.named("service name")
        state = self.store.state
        index = await call.past(state, "checks", topic=f"service-checks/{name}")
        own = [
            key
            for instance in instances(state, name)
            for key in state.checks_of.get((instance.node, instance.id), ())
        ]
        return self._checks(call, index, [state.checks[key] for key in sorted(own)])

    async def node(self, call: Call) -> web.Response:
        """The checks of one node and of the services on it."""
        call.check_common()
        name = call.named("node name")
        state = self.store.state
        index = await call.past(state, "checks", topic=f"node-checks/{name}")
        return self._checks(call, index, [state.checks[key] for key in sorted(state.checks_on.get(name, ()))])

    async def state(self, call: Call) -> web.Response:
        """The checks in one state, or in "any"."""
        call.check_common()
        wanted = call.named("check state")
        state = self.store.state
        index = await call.past(state, "checks")
        found = [check for _, check in sorted(state.checks.items()) if wanted in ("any", check.status)]
        return self._checks(call, index, found)

    def _checks(self, call: Call, index: int, checks: Sequence[Check]) -> web.Response:
        meta = call.node_meta()
        nodes = self.store.state.nodes
        rows = [encode.check(check) for check in checks if node_matches(nodes[check.node], meta)]
        return call.respond(call.keep(rows, CHECK), index=index)
