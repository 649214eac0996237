"""`mesh replay`: serves the live page with a recording in the place of a mesh; nothing else runs."""

import asyncio
import json
import logging
import signal
from collections.abc import Callable

import uvloop
from aiohttp import web

from guard.door import TIMES, Door
from mesh.control import page_routes
from mesh.control.app import END_S, say_errors
from mesh.control.guard import guard, harden, loopback_names, no_connect
from mesh.errors import ActionRefused, UsageError
from mesh.ports import LOOPBACK, Ports
from mesh.recording import Recording, pieces
from mesh.tokens import Tokens

log = logging.getLogger("mesh.replay")


def replay_app(recording: Recording, port: int, token: str) -> web.Application:
    """The page, and what it asks for to play the recording; everything else is refused with words."""
    app = web.Application(middlewares=[no_connect, guard(loopback_names(port), token), say_errors])
    app.on_response_prepare.append(harden)

    async def stream(_: web.Request) -> web.Response:
        what = json.dumps({"file": "/api/recording", "name": recording.name})
        return web.Response(text=f"event: replay\ndata: {what}\n\n", content_type="text/event-stream")

    async def file(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await answer.prepare(request)
        try:
            for piece in pieces(recording.path):
                await answer.write(piece)  # as fast as the page reads: no more than a piece is kept
        except UsageError as error:
            log.warning("%s", error)  # it was changed since it was looked through; the page plays what it has
        return answer

    async def other(_: web.Request) -> web.Response:
        raise ActionRefused("this is a recording: nothing of it runs now")

    app.router.add_get("/api/stream", stream)
    app.router.add_get("/api/recording", file)
    app.router.add_route("*", "/api/{rest:.*}", other)
    page_routes.add(app)
    return app


def replay(recording: Recording, port: int, ports: Ports, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `port` is one that `ports` keeps."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(recording, port, ports, say))


async def _serve(recording: Recording, port: int, ports: Ports, say: Callable[[str], None]) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    tokens = Tokens.fresh()
    app = replay_app(recording, port, tokens.control)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=END_S, **TIMES)
    await runner.setup()
    door = Door(runner.server)
    try:
        ports.hand_over(port)
        await door.open(LOOPBACK, port, reuse_address=True)
        minutes, seconds = divmod(round(recording.seconds), 60)
        link = tokens.link(f"http://{LOOPBACK}:{port}")
        say(f"{recording.mesh}, {minutes}:{seconds:02} recorded: {link} (Ctrl-C ends it)")
        await stopping.wait()
    finally:
        door.close()
        await runner.cleanup()
