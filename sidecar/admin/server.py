"""The admin listener's routes."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiohttp import web
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from guard.door import TIMES, Door
from guard.gate import Gate, bearer
from guard.token import Token

from ..observe.events import MAX_LISTENERS, EventLog
from .clusters import clusters_text
from .server_info import listeners_json, listeners_text, server_info
from .stats import Query, Stats, WrongQuery, stats_json, stats_text

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

# What other machines may read without the token: how it does, and the app's own numbers.
PUBLIC = frozenset({"/ready", "/healthz/ready", "/metrics", "/stats", "/stats/prometheus", "/app/metrics"})

Snapshot = Callable[[], dict[str, Any]]


class Exchanges(Protocol):
    """Kept exchanges, as `observe.explain.Explain`."""

    def find(self, trace_id: str = "") -> list[dict[str, Any]]: ...


class Admin:
    """Envoy's paths: `GET /` lists them; what changes something is a POST.

    Args:
        ready: why not, or None.
        fail: make the health check fail (True) or true again (False). drain: begin to drain. quit: end.
        level: set the log level. refresh: called with the path before a GET is answered.
        app_metrics: answers `/app/metrics`; None = there is no app.
        token: what acts needs it, and so does what comes from another machine (see `guard.Gate`).
    """

    def __init__(
        self,
        snapshot: Snapshot,
        config_dump: Snapshot,
        explain: Exchanges,
        registry: Collector,
        events: EventLog,
        ready: Callable[[], str | None],
        fail: Callable[[bool], None],
        drain: Callable[[], None],
        quit: Callable[[], None],
        level: Callable[[int], None] = logging.root.setLevel,
        refresh: Callable[[str], Awaitable[None]] | None = None,
        app_metrics: Callable[[web.Request], Awaitable[web.Response]] | None = None,
        token: Token | None = None,
    ) -> None:
        self._snapshot = snapshot
        self._config_dump = config_dump
        self._explain = explain
        self._registry = registry
        self._events = events
        self._ready = ready
        self._fail = fail
        self._drain = drain
        self._quit = quit
        self._set_level = level
        self._refresh = refresh
        self._app_metrics = app_metrics
        self._runners: list[web.AppRunner] = []
        self._doors: list[Door] = []
        self._gate = Gate("the sidecar's admin listener", token or Token(), PUBLIC)

    async def open(self, host: str, port: int) -> str:
        """Listen, here too; returns the bound address."""
        app = web.Application(middlewares=[_no_connect, self._guard], client_max_size=64 * 1024)
        get, post = app.router.add_get, app.router.add_post
        get("/", self._help)
        get("/ready", self._get_ready)
        get("/healthz/ready", self._get_ready)
        get("/metrics", self._metrics)
        get("/stats", self._stats)
        get("/stats/prometheus", self._metrics)
        if self._app_metrics is not None:
            get("/app/metrics", self._app_metrics)
        get("/clusters", self._clusters)
        get("/listeners", self._listeners)
        get("/server_info", self._server_info)
        get("/config_dump", self._get_config)
        get("/snapshot", self._get_snapshot)
        get("/explain", self._get_explain)
        get("/events", self._get_events)
        post("/healthcheck/{verdict:fail|ok}", self._healthcheck)
        post("/drain_listeners", self._drain_listeners)
        post("/quitquitquit", self._quitquitquit)
        post("/logging", self._logging)
        # A watcher of /events never ends by itself, so the shutdown does not wait for it; one that went away
        # ends its handler, which else would wait for an event to find out.
        runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=0.1,
            handle_signals=False,
            handler_cancellation=True,
            **TIMES,
        )
        await runner.setup()
        self._runners.append(runner)
        door = Door(runner.server)
        self._doors.append(door)
        bound = await door.open(host, port)
        return f"{bound[0]}:{bound[1]}"

    async def close(self) -> None:
        for door in self._doors:
            door.close()
        for runner in self._runners:
            await runner.cleanup()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        given = bearer(request.headers)
        refused = self._gate.refusal(request.method, request.path, request.remote, request.headers, given)
        if refused is not None:
            return web.Response(status=refused.status, text=refused.words + "\n")
        if self._refresh is not None and request.method == "GET":
            await self._refresh(request.path)
        return await handler(request)

    async def _help(self, request: web.Request) -> web.Response:
        lines = sorted(
            {
                f"{route.method} {route.resource.canonical}"
                for route in request.app.router.routes()
                if route.resource
            }
        )
        return web.Response(text="\n".join(line for line in lines if not line.startswith("HEAD")) + "\n")

    async def _get_ready(self, request: web.Request) -> web.Response:
        reason = self._ready()
        return web.Response(text="LIVE\n") if reason is None else web.Response(status=503, text=reason + "\n")

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        response = web.Response(body=encode(self._registry))
        response.headers["Content-Type"] = content_type
        return response

    async def _clusters(self, request: web.Request) -> web.Response:
        upstreams: dict[str, Any] = self._snapshot()["upstreams"]
        if request.query.get("format") == "json":
            return _json(
                {
                    "cluster_statuses": [
                        {"name": name, "host_statuses": upstream["endpoints"]}
                        for name, upstream in upstreams.items()
                    ]
                }
            )
        return web.Response(text=clusters_text(upstreams))

    async def _stats(self, request: web.Request) -> web.Response:
        given = request.query
        form = given.get("format", "text")
        if form == "prometheus":
            return await self._metrics(request)
        if form not in ("text", "json"):
            return web.Response(status=400, text=f"format={form[:40]!r}: use text, json or prometheus\n")
        try:
            query = Query(given.get("filter", ""), "usedonly" in given, given.get("type", "All"))
        except WrongQuery as error:
            return web.Response(status=400, text=f"{error}\n")
        stats = Stats(self._snapshot(), self._registry.collect())
        if form == "json":
            return _json(stats_json(stats, query))
        return web.Response(text=stats_text(stats, query))

    async def _listeners(self, request: web.Request) -> web.Response:
        addresses = self._snapshot()["addresses"]
        if request.query.get("format") == "json":
            return _json(listeners_json(addresses))
        return web.Response(text=listeners_text(addresses))

    async def _server_info(self, request: web.Request) -> web.Response:
        return _json(server_info(self._snapshot(), self._config_dump().get("bootstrap", {})))

    async def _get_config(self, request: web.Request) -> web.Response:
        return _json(self._config_dump())

    async def _get_snapshot(self, request: web.Request) -> web.Response:
        return _json(self._snapshot())

    async def _get_explain(self, request: web.Request) -> web.Response:
        return _json({"exchanges": self._explain.find(request.query.get("trace_id", ""))})

    async def _get_events(self, request: web.Request) -> web.StreamResponse:
        if self._events.full:
            return web.Response(status=503, text=f"{MAX_LISTENERS} streams are open already: close one\n")
        given = request.headers.get("Last-Event-ID", "")
        last = int(given) if given.isascii() and given.isdigit() and len(given) < 16 else 0
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        # the watcher went away, while it was written to or waited for
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            async with contextlib.aclosing(self._events.stream(last)) as events:
                async for event in events:
                    line = json.dumps(event, separators=(",", ":"))
                    text = f"id: {event['id']}\nevent: {event['kind']}\ndata: {line}\n\n"
                    await response.write(text.encode())
        return response

    async def _healthcheck(self, request: web.Request) -> web.Response:
        self._fail(request.match_info["verdict"] == "fail")
        return web.Response(text="OK\n")

    async def _drain_listeners(self, request: web.Request) -> web.Response:
        self._drain()
        return web.Response(text="OK\n")

    async def _quitquitquit(self, request: web.Request) -> web.Response:
        self._quit()
        return web.Response(text="OK\n")

    async def _logging(self, request: web.Request) -> web.Response:
        name = request.query.get("level", "")
        if name not in LEVELS:
            return web.Response(status=400, text=f"level={name!r}: use one of {', '.join(LEVELS)}\n")
        self._set_level(LEVELS[name])
        return web.Response(text=f"level is {name}\n")


def _json(value: object) -> web.Response:
    return web.Response(text=json.dumps(value) + "\n", content_type="application/json")


@web.middleware
async def _no_connect(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """What follows a CONNECT is a request of its own to aiohttp, whatever its head says: 405, and the end."""
    if request.method != "CONNECT":
        return await handler(request)
    answer = web.Response(status=405, text="CONNECT is not for this listener\n")
    answer.force_close()
    return answer
