"""Services and calls, changed while the mesh runs: added, scaled, slowed, removed, connected; and saved."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from mesh.control.hub import Hub
from mesh.control.operator import Operator
from mesh.control.requests import client, json_object
from mesh.draft import Draft
from mesh.errors import MeshError, UsageError

# The largest script that a person writes is a few kilobytes; the topology as a whole may have 1 MiB.
MAX_SETTINGS_BYTES = 64 * 1024


def add(app: web.Application, operator: Operator, hub: Hub | None = None) -> None:
    """Add the routes; each answers what then is so, and whether it was not before."""

    async def reshape(
        request: web.Request,
        verb: str,
        target: str,
        settings: Mapping[str, Any],
        change: Callable[[Draft], Draft],
    ) -> bool:
        by = client(request)
        try:
            changed = await operator.reshape(change)
        except MeshError as error:
            if hub is not None:
                hub.refused(verb, target, by, str(error))
            raise
        if hub is not None and changed:
            hub.journal.add(by, "topology", {"action": verb, "target": target, **_told(settings)})
        return changed

    async def save(_: web.Request) -> web.Response:
        draft = operator.draft()
        name = f"{draft.file.rpartition('.')[0] or draft.file}.yaml"
        return web.Response(
            text=draft.text,
            content_type="application/yaml",
            headers={"Content-Disposition": f'attachment; filename="{_plain(name)}"'},
        )

    async def service(request: web.Request) -> web.Response:
        return web.json_response(operator.draft().service(request.match_info["service"]))

    async def put_service(request: web.Request) -> web.Response:
        name, settings = request.match_info["service"], await _settings(request)
        there = any(each.name == name for each in operator.draft().topology.services)
        changed = await reshape(
            request,
            "change" if there else "add",
            name,
            settings,
            lambda draft: draft.with_service(name, settings),
        )
        return web.json_response({"changed": changed, "service": operator.draft().service(name)})

    async def delete_service(request: web.Request) -> web.Response:
        name = request.match_info["service"]
        changed = await reshape(request, "remove", name, {}, lambda draft: draft.without_service(name))
        return web.json_response({"changed": changed})

    async def put_call(request: web.Request) -> web.Response:
        caller, callee, settings = *_ends(request), await _settings(request)
        changed = await reshape(
            request,
            "connect",
            f"{caller}>{callee}",
            settings,
            lambda draft: draft.with_call(caller, callee, settings),
        )
        return web.json_response({"changed": changed, "service": operator.draft().service(caller)})

    async def delete_call(request: web.Request) -> web.Response:
        caller, callee = _ends(request)
        changed = await reshape(
            request, "disconnect", f"{caller}>{callee}", {}, lambda draft: draft.without_call(caller, callee)
        )
        return web.json_response({"changed": changed, "service": operator.draft().service(caller)})

    app.router.add_get("/api/topology.yaml", save)
    app.router.add_get("/api/services/{service}", service)
    app.router.add_put("/api/services/{service}", put_service)
    app.router.add_delete("/api/services/{service}", delete_service)
    app.router.add_put("/api/calls/{caller}/{callee}", put_call)
    app.router.add_delete("/api/calls/{caller}/{callee}", delete_call)


def _ends(request: web.Request) -> tuple[str, str]:
    return request.match_info["caller"], request.match_info["callee"]


async def _settings(request: web.Request) -> dict[str, Any]:
    body = await request.read()
    if not body:
        return {}
    if len(body) > MAX_SETTINGS_BYTES:
        raise UsageError(f"the settings are larger than {MAX_SETTINGS_BYTES // 1024} KB")
    return {key: _number(key, value) for key, value in (await json_object(request)).items()}


def _number(key: str, value: Any) -> Any:
    """As a topology file has it: JSON has one kind of number, YAML two, and no share is finer than this."""
    if not isinstance(value, float):
        return value
    return int(value) if value.is_integer() else round(value, 9) if key == "errorRate" else value


def _told(settings: Mapping[str, Any]) -> dict[str, Any]:
    """For the journal: short, so that a thousand of them stay small."""
    text = json.dumps(dict(settings), ensure_ascii=False)
    return {"settings": text if len(text) <= 200 else f"{text[:199]}…"} if settings else {}


def _plain(name: str) -> str:
    """A file's name that can stand in a header."""
    return "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "-" for letter in name
    )
