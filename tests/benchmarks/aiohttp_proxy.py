"""The yardstick: a proxy as one writes it in an afternoon, aiohttp server and client, round robin.

`python -m tests.benchmarks.aiohttp_proxy PORT UPSTREAM_PORT…`
"""

from __future__ import annotations

import itertools
import sys

import aiohttp
import uvloop
from aiohttp import web


async def make(ports: list[int]) -> web.Application:
    upstreams = itertools.cycle([f"http://127.0.0.1:{port}" for port in ports])

    async def session(app: web.Application):  # type: ignore[no-untyped-def]  # an async generator for aiohttp
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), auto_decompress=False
        ) as client:
            app["client"] = client
            yield

    async def forward(request: web.Request) -> web.StreamResponse:
        async with request.app["client"].request(
            request.method, next(upstreams) + request.path_qs, data=await request.read() or None
        ) as answer:
            return web.Response(status=answer.status, body=await answer.read())

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", forward)
    return app


if __name__ == "__main__":
    uvloop.install()
    web.run_app(
        make([int(port) for port in sys.argv[2:]]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        print=None,
        access_log=None,
    )
