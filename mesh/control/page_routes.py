"""The live page: its files as they lie in the package, no build step between."""

from pathlib import Path

from aiohttp import web

PAGE = Path(__file__).parent.parent / "page"


def add(app: web.Application) -> None:
    """Add the routes."""

    async def index(_: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGE / "index.html")

    app.router.add_get("/", index)
    app.router.add_static("/page/", PAGE, show_index=False, follow_symlinks=False)
