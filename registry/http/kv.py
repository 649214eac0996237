"""/v1/kv: keys, prefixes, check-and-set and locks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiohttp import web

from registry.codec import encode
from registry.http.call import Call, HttpError
from registry.http.router import Router
from registry.leases import Leases
from registry.model import KVEntry
from registry.store import Store
from registry.store.kv import (
    acquire,
    delete_if_index,
    delete_key,
    delete_tree,
    list_entries,
    release,
    set_if_index,
    set_key,
)
from registry.watchers import KEY, PREFIX

_HINT = "See https://www.consul.io/docs/agent/options.html#kv_max_value_size."
_MAX_FLAGS = 2**64

MAX_TREE = 16 * 1024 * 1024
"""Bytes of all values of one answer: as JSON they take a third more, while it is made several times that."""


class KVEndpoints:
    """Everything below /v1/kv."""

    def __init__(self, store: Store, leases: Leases, clock: Callable[[], float]) -> None:
        self.store = store
        self.leases = leases
        self._clock = clock

    def routes(self, router: Router) -> None:
        """Add them to the router."""
        router.add("GET", "/v1/kv/", self.read)
        router.add("PUT", "/v1/kv/", self.put)
        router.add("DELETE", "/v1/kv/", self.delete)

    async def read(self, call: Call) -> web.Response:
        """One key, a tree (`recurse`), or names only (`keys`)."""
        call.check_common()
        if call.has("keys"):
            return await self._keys(call)
        if call.has("recurse"):
            return await self._tree(call)
        return await self._one(call)

    async def _one(self, call: Call) -> web.Response:
        key = call.named("key name")
        state = self.store.state

        def newest() -> int:
            entry = state.kvs.get(key)
            return entry.modify_index if entry else state.index_of("kvs")

        index = await call.blocking((KEY + key,), newest)
        entry = state.kvs.get(key)
        if entry is None:
            return _absent(call, index)
        if call.has("raw"):
            headers = {**call.query_headers(index), "Content-Type": "text/plain", **_UNTRUSTED}
            return web.Response(body=entry.value, headers=headers)
        return call.respond([encode.kv(entry)], index=index)

    async def _tree(self, call: Call) -> web.Response:
        prefix, state = call.rest, self.store.state
        index = await call.blocking((PREFIX + prefix,), lambda: list_entries(state, prefix)[0])
        entries = list_entries(state, prefix)[1]
        if not entries:
            return _absent(call, index)
        check_answer(entries)
        return call.respond([encode.kv(entry) for entry in entries], index=index)

    async def _keys(self, call: Call) -> web.Response:
        prefix, state = call.rest, self.store.state
        index = await call.blocking((PREFIX + prefix,), lambda: list_entries(state, prefix)[0])
        separator = call.get("separator")
        names: dict[str, None] = {}
        for key in state.keys_under(prefix):
            end = key.find(separator, len(prefix)) if separator else -1
            names[key if end < 0 else key[: end + len(separator)]] = None
        if not names:
            return _absent(call, index)
        return call.respond(list(names), index=index)

    async def put(self, call: Call) -> web.Response:
        """Write, check-and-set, take or give back a lock: true when it was done."""
        call.check_common()
        key = call.named("key name")
        flags = call.number("flags") % _MAX_FLAGS
        cas = call.number("cas") if call.has("cas") else None
        taking, giving = call.has("acquire"), call.has("release")
        if sum((cas is not None, taking, giving)) > 1:
            raise HttpError(400, f"Conflicting flags: {call.query_text()}")
        value = await call.body(hint=_HINT)
        session = call.get("acquire") or call.get("release")
        if taking or giving:
            if not session:
                raise HttpError(500, "missing session")
            check_uuid(session)
        if taking and self.leases.delayed(key, self._clock()):
            return call.respond(False)
        with self.store.write() as write:
            if taking:
                written = acquire(write, key, value, flags, session)
            elif giving:
                written = release(write, key, value, flags, session)
            elif cas is not None:
                written = set_if_index(write, key, value, flags, cas)
            else:
                written = set_key(write, key, value, flags)
        return call.respond(written is not None)

    async def delete(self, call: Call) -> web.Response:
        """Remove a key, a tree (`recurse`), or a key that did not change (`cas`)."""
        call.check_common()
        key = call.rest
        recurse = call.has("recurse")
        if not key and not recurse:
            raise HttpError(400, "Missing key name")
        if recurse and call.has("cas"):
            raise HttpError(400, f"Conflicting flags: {call.query_text()}")
        gone = True
        with self.store.write() as write:
            if recurse:
                delete_tree(write, key)
            elif call.has("cas"):
                gone = delete_if_index(write, key, call.number("cas"))
            else:
                delete_key(write, key)
        return call.respond(gone)


_UNTRUSTED = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
"""A raw value is whatever somebody put there: no browser may run it as a page of ours."""


def _absent(call: Call, index: int) -> web.Response:
    return web.Response(status=404, headers=call.query_headers(index))


def check_answer(entries: Iterable[KVEntry]) -> None:
    """Refuse a tree whose answer nobody could hold; a part of it can be had."""
    if sum(len(entry.value) for entry in entries) > MAX_TREE:
        raise HttpError(413, f"The values are larger than {MAX_TREE} bytes together: ask for a longer prefix")


def check_uuid(session: str) -> None:
    """A session id is 36 characters; Consul answers others with a lookup error."""
    if len(session) != 36:
        raise HttpError(500, "failed session lookup: index error: UUID must be 36 characters")
