"""Policies and faults: what is there, and changes to it, each checked as a whole before it is written."""

from aiohttp import web

from mesh.control.fault_desk import FaultDesk
from mesh.control.policy_desk import PolicyDesk
from mesh.control.requests import client, flag, json_body, json_object, wait_s
from mesh.errors import UsageError
from mesh.policy_names import HOME, key_of, kind_of, split_key

MAX_DOCUMENTS = 200


def add(app: web.Application, desk: PolicyDesk, faults: FaultDesk) -> None:
    """Add the routes."""

    async def listed(request: web.Request) -> web.Response:
        word = request.query.get("kind")
        return web.json_response(await desk.documents(None if word is None else kind_of(word)))

    async def one(request: web.Request) -> web.Response:
        kind, name = _named(request)
        return web.json_response(await desk.documents(kind, name, _namespace(request)))

    async def put(request: web.Request) -> web.Response:
        body = await json_body(request)
        documents = body.get("documents") if isinstance(body, dict) else None
        if not isinstance(documents, list) or not documents or set(body) != {"documents"}:
            raise UsageError(
                'write {"documents": [{"apiVersion": …, "kind": …, "metadata": …, "spec": …}, …]}'
            )
        if len(documents) > MAX_DOCUMENTS:
            raise UsageError(f"documents: at most {MAX_DOCUMENTS} at once")
        return await _apply(request, documents)

    async def put_one(request: web.Request) -> web.Response:
        kind, name = _named(request)
        document = await json_object(request)
        metadata = document.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        key = key_of(kind, name, _namespace(request))
        own = metadata.get("namespace", HOME), metadata.get("name")
        if (document.get("kind"), *own) != (kind, _namespace(request), name):
            raise UsageError(
                f"the document is not {key}: its kind, metadata.name or .namespace say otherwise"
            )
        return await _apply(request, [document])

    async def _apply(request: web.Request, documents: list[object]) -> web.Response:
        dry_run = flag(request.query, "dry_run")
        done = await desk.apply(documents, client(request), dry_run=dry_run, wait_s=wait_s(request.query))
        return web.json_response(done)

    async def delete(request: web.Request) -> web.Response:
        keys = [_key(word) for word in request.query.getall("key", [])]
        if not keys:
            raise UsageError("key: name what is to go, as in ?key=VirtualService/orders (may be given again)")
        return await _delete(request, keys)

    async def delete_one(request: web.Request) -> web.Response:
        kind, name = _named(request)
        return await _delete(request, [key_of(kind, name, _namespace(request))])

    async def _delete(request: web.Request, keys: list[str]) -> web.Response:
        dry_run = flag(request.query, "dry_run")
        done = await desk.delete(keys, client(request), dry_run=dry_run, wait_s=wait_s(request.query))
        return web.json_response(done)

    async def list_faults(_: web.Request) -> web.Response:
        return web.json_response(await faults.faults())

    async def put_fault(request: web.Request) -> web.Response:
        wish = await json_object(request)
        return web.json_response(await faults.put(wish, client(request), wait_s(request.query)))

    async def clear_faults(request: web.Request) -> web.Response:
        which = request.match_info.get("name")
        return web.json_response(await faults.clear(which, client(request), wait_s(request.query)))

    app.router.add_get("/api/policies", listed)
    app.router.add_put("/api/policies", put)
    app.router.add_delete("/api/policies", delete)
    app.router.add_get("/api/policies/{kind}/{name}", one)
    app.router.add_put("/api/policies/{kind}/{name}", put_one)
    app.router.add_delete("/api/policies/{kind}/{name}", delete_one)
    app.router.add_get("/api/faults", list_faults)
    app.router.add_post("/api/faults", put_fault)
    app.router.add_delete("/api/faults", clear_faults)
    app.router.add_delete("/api/faults/{name}", clear_faults)


def _named(request: web.Request) -> tuple[str, str]:
    return kind_of(request.match_info["kind"]), request.match_info["name"]


def _namespace(request: web.Request) -> str:
    """`?namespace=prod` of a policy that its path names."""
    return request.query.get("namespace", HOME)


def _key(word: str) -> str:
    kind, namespace, name = split_key(word)
    if not namespace or not name:
        raise UsageError(f'key: "{word[:60]}" is not Kind/name, or Kind/namespace/name')
    return key_of(kind_of(kind), name, namespace)
