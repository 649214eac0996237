"""The mesh itself: its status, its instances and their actions, its load, its logs, its end."""

from typing import Any

from aiohttp import web

from mesh.actions import Action
from mesh.control.hub import Hub
from mesh.control.operator import Operator
from mesh.control.requests import client, json_object, whole
from mesh.errors import MeshError, UsageError
from mesh.plan import Part

DEFAULT_LOG_LINES = 100
MAX_LOG_LINES = 10_000


def add(app: web.Application, operator: Operator, hub: Hub | None = None) -> None:
    """Add the routes; what is done through them goes into the hub's journal."""

    async def status(_: web.Request) -> web.Response:
        return web.json_response(await operator.fresh_status())

    async def act(request: web.Request) -> web.Response:
        action = _action(request.match_info["action"])
        part = _part(request.query.get("part"))
        name, by = request.match_info["name"], client(request)
        operator.log_paths(name)  # raises for a name that there is not, before anything is written down
        trial = None if hub is None else hub.acting(action.value, name, part.value if part else "both", by)
        done = False
        try:
            document = await operator.act(action, name, part)
            done = True
        except MeshError as error:
            if hub is not None:
                hub.refused(action.value, name, by, str(error))
            raise
        finally:
            if hub is not None and trial is not None:
                hub.acted(trial, done)
        return web.json_response(document)

    async def logs(request: web.Request) -> web.Response:
        part = _part(request.query.get("part"))
        lines = _lines(request.query.get("lines"))
        return web.json_response(await operator.logs(request.match_info["name"], part, lines))

    async def put_load(request: web.Request) -> web.Response:
        body = await json_object(request)
        unknown = set(body) - {"rate", "pattern"}
        if unknown or not body or None in body.values():
            raise UsageError('write {"rate": 100}, {"pattern": "sine"} or both')
        document = await operator.set_load(_rate(body.get("rate")), body.get("pattern"))
        if hub is not None:
            hub.steered(body, client(request))
        return web.json_response(document)

    async def shutdown(request: web.Request) -> web.Response:
        operator.stop()
        return web.json_response({"phase": "stopping"}, status=202)

    app.router.add_get("/api/status", status)
    app.router.add_post("/api/instances/{name}/{action:(?!logs$)[^/]+}", act)
    app.router.add_get("/api/instances/{name}/logs", logs)
    app.router.add_put("/api/load", put_load)
    app.router.add_post("/api/shutdown", shutdown)


def _action(word: str) -> Action:
    try:
        return Action(word)
    except ValueError:
        raise UsageError(f'"{word[:40]}" is not one of {", ".join(Action)}') from None


def _part(word: str | None) -> Part | None:
    if word is None or word == "both":
        return None
    try:
        return Part(word)
    except ValueError:
        raise UsageError(f'part: "{word[:40]}" is not one of app, sidecar, both') from None


def _lines(word: str | None) -> int:
    if word is None:
        return DEFAULT_LOG_LINES
    lines = whole(word, MAX_LOG_LINES)
    if lines is None:
        raise UsageError(f"lines: write a number from 0 to {MAX_LOG_LINES}")
    return lines


def _rate(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError("rate: write a number of requests per second")
    try:
        return float(value)
    except OverflowError:
        raise UsageError("rate: write a number of requests per second, and a smaller one") from None
