"""/v1/query: prepared queries, kept under a name and executed against the catalog.

There is one datacenter, so failover to others finds none: `Failovers` is always 0.
"""

from __future__ import annotations

import random
import re
import uuid
from typing import Any, Final

from aiohttp import web

from registry.codec import encode
from registry.codec.prepared import prepared
from registry.http.call import Call, HttpError, Malformed, done, uint64
from registry.http.catalog import node_matches
from registry.http.router import Router
from registry.model import CRITICAL, WARNING, Document, Service
from registry.store import Store
from registry.store.catalog import checks_of, instances
from registry.store.documents import QUERY, delete_document, documents, index_name, put_document
from registry.templates import render

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_META: Final = {"Index": 0, "LastContact": 0, "KnownLeader": True, "ConsistencyLevel": "leader"}


class QueryEndpoints:
    """Everything below /v1/query."""

    def __init__(self, store: Store, datacenter: str, node: str, rng: random.Random) -> None:
        self.store = store
        self.datacenter = datacenter
        self.node_name = node
        self._rng = rng

    def routes(self, router: Router) -> None:
        """Add them to the router."""
        router.add("GET", "/v1/query", self.list)
        router.add("POST", "/v1/query", self.create)
        router.add("GET", "/v1/query/", self.read)
        router.add("PUT", "/v1/query/", self.update)
        router.add("DELETE", "/v1/query/", self.delete)

    async def list(self, call: Call) -> web.Response:
        """All of them."""
        call.check_common()
        index = await self._index(call)
        return call.respond([_answer(one) for one in documents(self.store.state, QUERY)], index=index)

    async def _index(self, call: Call) -> int:
        name = index_name(QUERY)
        return await call.past(self.store.state, name)

    async def create(self, call: Call) -> web.Response:
        """A new one; its id."""
        call.check_common()
        definition = await self._definition(call)
        query_id = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        self._put(query_id, definition)
        return call.respond({"ID": query_id})

    async def update(self, call: Call) -> web.Response:
        """Another definition under the same id."""
        call.check_common()
        if call.rest.endswith(("/execute", "/explain")):
            raise HttpError(405, f"method {call.method} not allowed", {"Allow": "GET"})
        definition = await self._definition(call)
        self._find_for_change(call.rest)
        self._put(call.rest, definition)
        return done()

    async def delete(self, call: Call) -> web.Response:
        """Forget one."""
        call.check_common()
        self._find_for_change(call.rest)
        with self.store.write() as write:
            delete_document(write, QUERY, call.rest)
        return done()

    async def read(self, call: Call) -> web.Response:
        """One definition, or what comes of it: `ID/execute`, `ID/explain`."""
        call.check_common()
        name, _, verb = call.rest.rpartition("/")
        if name and verb == "execute":
            return self._execute(call, name)
        if name and verb == "explain":
            query = self._resolve(name)
            return call.respond({"Query": query, **_META}, index=1)
        if len(call.rest) != 36:
            raise HttpError(500, "failed prepared query lookup: index error: UUID must be 36 characters")
        index = await self._index(call)
        found = self.store.state.documents.get((QUERY, call.rest))
        if found is None:
            raise HttpError(404, "Query not found")
        return call.respond([_answer(found)], index=index)

    # Writing

    async def _definition(self, call: Call) -> dict[str, Any]:
        body = await call.json()
        return prepared(body)

    def _find_for_change(self, query_id: str) -> None:
        if len(query_id) != 36:
            why = "failed prepared query lookup: index error: UUID must be 36 characters"
            raise HttpError(500, f"Prepared Query lookup failed: {why}")
        if (QUERY, query_id) not in self.store.state.documents:
            raise HttpError(500, f"Cannot modify non-existent prepared query: '{query_id}'")

    def _put(self, query_id: str, definition: dict[str, Any]) -> None:
        state = self.store.state
        if session := definition["Session"]:
            if len(session) != 36:
                raise HttpError(500, "invalid session: index error: UUID must be 36 characters")
            if session not in state.sessions:
                raise HttpError(500, f'invalid session "{session}"')
        name, template = definition["Name"], bool(definition["Template"]["Type"])
        for other in documents(state, QUERY):
            if other.name == query_id or other.body["Name"] != name:
                continue
            if name:
                raise HttpError(500, f"name '{name}' aliases an existing query name")
            if template and other.body["Template"]["Type"]:
                raise HttpError(500, "a query template with an empty name already exists")
        with self.store.write() as write:
            put_document(write, QUERY, query_id, definition)

    # Executing

    def _resolve(self, name: str) -> dict[str, Any]:
        """By id, else by name, else the template with the longest prefix, rendered."""
        state = self.store.state
        by_id = state.documents.get((QUERY, name)) if _UUID.fullmatch(name) else None
        if by_id is not None:
            if by_id.body["Template"]["Type"]:
                raise HttpError(500, "prepared query templates can only be resolved up by name, not by ID")
            return _answer(by_id)
        best: Document | None = None
        for one in documents(state, QUERY):
            own = one.body["Name"]
            if not one.body["Template"]["Type"]:
                if own and own == name:
                    return _answer(one)
            elif name.startswith(own) and (best is None or len(own) > len(best.body["Name"])):
                best = one
        if best is None:
            raise HttpError(404, "Query not found")
        made = render(name, best.body["Name"], best.body["Template"], best.body["Service"])
        return {**_answer(best), "Service": made}

    def _execute(self, call: Call, name: str) -> web.Response:
        query = self._resolve(name)
        service, state = query["Service"], self.store.state
        rows = [row for row in instances(state, service["Service"]) if self._fits(row, service)]
        self._rng.shuffle(rows)
        near = call.get("near") or service["Near"]
        if near:
            # Nothing measures distances: the named node is nearest, all others are as far as each other.
            nearest = self.node_name if near in ("_agent", "_ip") else near
            rows.sort(key=lambda row: row.node != nearest)
        limit = call.get("limit")
        if limit:
            if not limit.isascii() or not limit.isdecimal():
                raise Malformed(f'Bad limit: strconv.Atoi: parsing "{limit}": invalid syntax')
            number = uint64(limit)
            if number is None:
                raise Malformed(f'Bad limit: strconv.Atoi: parsing "{limit}": value out of range')
            rows = rows[: number or None]
        answer = {
            "Service": service["Service"],
            "Nodes": [encode.health_entry(state.nodes[row.node], row, checks_of(state, row)) for row in rows],
            "DNS": query["DNS"],
            "Datacenter": self.datacenter,
            "Failovers": 0,
            **_META,
        }
        return call.respond(answer, index=1)

    def _fits(self, row: Service, wanted: dict[str, Any]) -> bool:
        if wanted["Connect"]:
            return False  # it asks for mesh proxies, and here the instances are the sidecars
        state = self.store.state
        bad = (CRITICAL,) if not wanted["OnlyPassing"] else (CRITICAL, WARNING)
        ignored = wanted["IgnoreCheckIDs"] or ()
        for check in checks_of(state, row):
            if check.check_id not in ignored and check.status in bad:
                return False
        own = {tag.lower() for tag in row.tags}
        for tag in wanted["Tags"] or ():
            if (tag[1:].lower() in own) if tag.startswith("!") else (tag.lower() not in own):
                return False
        meta = row.meta or {}
        if not all(meta.get(key) == value for key, value in (wanted["ServiceMeta"] or {}).items()):
            return False
        return node_matches(state.nodes[row.node], wanted["NodeMeta"] or {})


def _answer(row: Document) -> dict[str, Any]:
    return {
        "ID": row.name,
        **row.body,
        "CreateIndex": row.create_index,
        "ModifyIndex": row.modify_index,
    }
