"""Who may use the control API: requests that name this machine as their host, from no foreign page.

A page on the internet can make a browser send requests to 127.0.0.1. By DNS rebinding it can even read
the answers, but then the Host header carries the page's own name; without it, the browser says in Origin
where the page came from. Neither header is believed to allow anything; each can only forbid.

Bound to anything but loopback, whoever asks must also know the token: as `Authorization: Bearer TOKEN`, or in
the cookie that a browser gets when it opens the page once as `/?token=TOKEN`.
"""

import hmac
from collections.abc import Iterable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware


def loopback_names(port: int) -> frozenset[str]:
    """The Host headers under which a listener on loopback is reached."""
    return frozenset(f"{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]"))


COOKIE = "mesh_token"

# All that the page is made of comes from here, and nothing of it stands inside the HTML.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


async def harden(_: web.Request, response: web.StreamResponse) -> None:
    """For `on_response_prepare`: what a browser is to keep a page from doing with ours."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-cache")


def guard(names: Iterable[str], token: str | None = None) -> Middleware:
    """A middleware that answers 403, with words, to any other Host or Origin, and 401 without the token."""
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
        # a link from elsewhere may open the page; nothing else may be asked for from there
        site, mode = request.headers.get("Sec-Fetch-Site"), request.headers.get("Sec-Fetch-Mode")
        if site in ("cross-site", "same-site") and not (mode == "navigate" and request.method == "GET"):
            return refusal(403, "a page from elsewhere may not use the control API")
        if token is None:
            return await handler(request)
        if request.method == "GET" and request.path == "/" and _same(request.query.get("token"), token):
            answer = web.Response(status=303, headers={"Location": "/"})
            answer.set_cookie(COOKIE, token, httponly=True, samesite="Strict", path="/")
            return answer
        if not _same(_given(request), token):
            return refusal(401, "the token is missing or wrong: send Authorization: Bearer TOKEN")
        return await handler(request)

    return check


def _given(request: web.Request) -> str | None:
    scheme, _, word = request.headers.get("Authorization", "").partition(" ")
    return word.strip() if scheme.lower() == "bearer" else request.cookies.get(COOKIE)


def _same(given: str | None, token: str) -> bool:
    return given is not None and hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())


def refusal(status: int, words: str) -> web.Response:
    """Every error of the API has this shape: `{"error": "one line"}`."""
    return web.json_response({"error": words}, status=status)
