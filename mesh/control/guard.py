"""Who may use the control API: requests that name this machine as their host, from no foreign page.

A page on the internet can make a browser send requests to 127.0.0.1. By DNS rebinding it can even read
the answers, but then the Host header carries the page's own name; without it, the browser says in Origin
where the page came from. Neither header is believed to allow anything; each can only forbid.
"""

from collections.abc import Iterable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware


def loopback_names(port: int) -> frozenset[str]:
    """The Host headers under which a listener on loopback is reached."""
    return frozenset(f"{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]"))


def guard(names: Iterable[str]) -> Middleware:
    """A middleware that answers 403, with words, to any other Host or Origin."""
    hosts = frozenset(names)
    origins = frozenset(f"http://{name}" for name in hosts)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host", "").lower()
        if host not in hosts:
            return refusal(403, f"this is the control API of a mesh on this machine, not {host or 'nobody'}")
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() not in origins:
            return refusal(403, "a page from elsewhere may not use the control API")
        return await handler(request)

    return check


def refusal(status: int, words: str) -> web.Response:
    """Every error of the API has this shape: `{"error": "one line"}`."""
    return web.json_response({"error": words}, status=status)
