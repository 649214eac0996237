"""`GET /api/instances/NAME/follow`: what its containers wrote since the last time it was asked.

The caller asks again with the `next` it was given: across kills and restarts, which end `docker logs -f`.
"""

import re

from aiohttp import web

from mesh.control.requests import whole
from mesh.docker.driver import Driver
from mesh.errors import UsageError
from mesh.plan import Part

DEFAULT_LINES = 100
MAX_LINES = 10_000
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")


def add(app: web.Application, driver: Driver) -> None:
    """Add the route."""

    async def follow(request: web.Request) -> web.Response:
        query = request.query
        after = query.get("after", "")
        if after and not _STAMP.fullmatch(after):
            raise UsageError("after: write the `next` of the last answer")
        word, number = query.get("part", "both"), query.get("lines", str(DEFAULT_LINES))
        most = whole(number, MAX_LINES)
        if most is None:
            raise UsageError(f"lines: write a number from 0 to {MAX_LINES}")
        if word not in ("both", *Part):
            raise UsageError(f'part: "{word[:40]}" is not one of app, sidecar, both')
        part = None if word == "both" else Part(word)
        lines, upto = await driver.log_lines(request.match_info["name"], part, most, after)
        return web.json_response({"next": upto, "lines": [[one.part, one.text] for one in lines]})

    app.router.add_get("/api/instances/{name}/follow", follow)
