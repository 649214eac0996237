"""aiohttp as an application server: see tests/security/app_servers.py for what each of them does."""

import sys
from typing import IO

from aiohttp import web

POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"


def application(log: IO[str]) -> web.Application:
    async def answer(request: web.Request) -> web.Response:
        log.write(f"{request.method} {request.raw_path}\n")
        if "early" not in request.query:
            await request.read()
        body = POISON if "poison" in request.query else request.raw_path.encode()
        return web.Response(status=int(request.query.get("status", "200")), body=body)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    return app


if __name__ == "__main__":
    with open(sys.argv[2], "a", buffering=1, encoding="utf-8") as log:
        web.run_app(application(log), host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
