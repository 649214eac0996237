"""What the page reads: the stream, the charts of one service or call, the journal, the list of traces."""

import re
from typing import Any

from aiohttp import web

from mesh.control.flights import DELAY_S, summary
from mesh.control.guard import refusal
from mesh.control.hub import MAX_PAGES, Hub, TooManyPages
from mesh.control.openapi import document
from mesh.control.requests import whole
from mesh.errors import UsageError
from mesh.traces import TraceStore

DEFAULT_TRACES, MAX_TRACES = 100, 500
# Traces whose spans are looked at for one answer: a filter that matches nothing must end.
MAX_LOOKED_AT = 5000
MAX_NUMBER = 10**12

_STATUS = re.compile(r"(?:0|[1-5](?:[0-9]{2}|xx))?", re.ASCII)


def add(app: web.Application, hub: Hub, traces: TraceStore) -> None:
    """Add the routes."""

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        messages = hub.stream()
        try:
            first = await anext(messages)
        except TooManyPages:
            return refusal(503, f"{MAX_PAGES} pages are open already: close one")
        try:
            await response.prepare(request)
            await response.write(_frame(*first))
            async for event, text in messages:
                await response.write(_frame(event, text))
        finally:
            await messages.aclose()  # type: ignore[attr-defined]  # an async generator
        return response

    async def topology(_: web.Request) -> web.Response:
        return web.json_response(hub.graph)

    async def now(_: web.Request) -> web.Response:
        hub.look()
        return web.json_response(hub.hello()["picture"])

    async def history(request: web.Request) -> web.Response:
        name = request.query.get("of")
        found = hub.history.whole() if name is None else hub.series(name)
        if found is None:
            return refusal(404, "of: no such service or call; write ?of=orders or ?of=gateway>orders")
        return web.json_response(found)

    async def events(request: web.Request) -> web.Response:
        since = _number(request, "since", 0)
        return web.json_response({"events": hub.journal.since(since, request.query.get("kind"))})

    async def detections(_: web.Request) -> web.Response:
        return web.json_response({"detections": hub.detection.documents()})

    async def recent(request: web.Request) -> web.Response:
        return web.json_response({"traces": _recent(request, traces, hub.now() - DELAY_S)})

    async def openapi(_: web.Request) -> web.Response:
        return web.json_response(document())

    app.router.add_get("/api/stream", stream)
    app.router.add_get("/api/topology", topology)
    app.router.add_get("/api/picture", now)
    app.router.add_get("/api/history", history)
    app.router.add_get("/api/events", events)
    app.router.add_get("/api/detections", detections)
    app.router.add_get("/api/recent", recent)
    app.router.add_get("/api/openapi.json", openapi)


def _recent(request: web.Request, traces: TraceStore, latest: float) -> list[dict[str, Any]]:
    service, kind = request.query.get("service"), request.query.get("kind", "all")
    if kind not in ("all", "failed", "retried"):
        raise UsageError("kind: write all, failed or retried")
    status = request.query.get("status", "")
    if not _STATUS.fullmatch(status):
        raise UsageError("status: write 503, or 5xx, or 0 for no answer")
    shortest = _number(request, "min_ms", 0)
    limit = min(_number(request, "limit", DEFAULT_TRACES), MAX_TRACES)
    found: list[dict[str, Any]] = []
    for looked, trace in enumerate(traces.newest()):
        if len(found) >= limit or looked >= MAX_LOOKED_AT:
            break
        if trace.start_ns > latest * 1e9:
            continue  # its other spans are still on their way
        if service and service not in trace.services():
            continue
        if trace.end_ns - trace.start_ns < shortest * 1_000_000:
            continue
        line = summary(trace)
        if not line["whole"]:
            continue  # its first spans did not come, or are no longer kept
        if (kind == "failed" and not line["failed"]) or (kind == "retried" and not line["retries"]):
            continue
        if status and status not in (str(line["status"]), f"{line['status'] // 100}xx"):
            continue
        found.append(line)
    return found


def _number(request: web.Request, key: str, default: int) -> int:
    text = request.query.get(key)
    if text is None:
        return default
    number = whole(text, MAX_NUMBER)
    if number is None:
        raise UsageError(f"{key}: write a whole number from 0 to {MAX_NUMBER}")
    return number


def _frame(event: str, text: str) -> bytes:
    return f"event: {event}\ndata: {text}\n\n".encode()
