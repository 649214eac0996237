"""A program whose answers take as long as they are asked to: `python slow_app.py PORT`.

/slow?s=3 answers after so many seconds, /events?s=20 says something each second for as long, and anything
under /next/… is asked of the service `back` through its sidecar. It counts what it begins (`GET /begun`).
"""

import asyncio
import os
import sys
from collections import Counter

from aiohttp import ClientSession, ClientTimeout, web

begun: Counter[str] = Counter()


async def answer(request: web.Request) -> web.StreamResponse:
    seconds = float(request.query.get("s", "0"))
    begun[request.path_qs] += 1
    if request.path.startswith("/next"):
        return await passed_on(request)
    if request.path == "/events":
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        for number in range(int(seconds)):
            await stream.write(b"data: %d\n\n" % number)
            await asyncio.sleep(1)
        return stream
    await asyncio.sleep(seconds)
    return web.Response(text="done")


async def passed_on(request: web.Request) -> web.StreamResponse:
    url = f"http://back{request.path_qs.removeprefix('/next')}"
    async with (
        ClientSession(timeout=ClientTimeout(total=None)) as session,
        session.request(request.method, url, proxy=os.environ["HTTP_PROXY"]) as found,
    ):
        stream = web.StreamResponse(status=found.status)
        await stream.prepare(request)
        async for piece in found.content.iter_any():
            await stream.write(piece)
        return stream


async def count(request: web.Request) -> web.Response:
    return web.json_response(begun)


async def well(request: web.Request) -> web.Response:
    return web.Response(text="well")


if __name__ == "__main__":
    app = web.Application()
    app.add_routes([web.get("/begun", count), web.get("/health", well), web.route("*", "/{rest:.*}", answer)])
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
