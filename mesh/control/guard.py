"""Who may use the control API: requests that name this machine as their host, from no foreign page (see
`guard.caller`), and with the token as `Authorization: Bearer TOKEN`.

The files of the page hold no secret and are for everybody. The page's link carries the token in its fragment,
which a browser sends to nobody. There is no cookie: a browser would send it to every port of 127.0.0.1.
"""

from collections.abc import Iterable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from guard.caller import foreign_page
from guard.gate import bearer
from guard.token import Token


def loopback_names(port: int) -> frozenset[str]:
    """The Host headers under which a listener on loopback is reached."""
    return frozenset(f"{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]"))


# Where spans come to, for which their senders have a token of their own.
SPANS_PATH = "/v1/traces"

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


@web.middleware
async def no_connect(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What follows a CONNECT is a request of its own to aiohttp, whatever its head says: 405, and the end."""
    if request.method != "CONNECT":
        return await handler(request)
    answer = refusal(405, "CONNECT is not for this listener")
    answer.force_close()
    return answer


def guard(names: Iterable[str], token: str | None = None, spans: str | None = None) -> Middleware:
    """A middleware that answers 403, with words, to any other Host or Origin, and 401 without the token.

    `spans` is a token that is good for sending spans only.
    """
    hosts = frozenset(names)
    secret, senders = Token(token or ""), Token(spans or "")

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host", "").lower()
        if host not in hosts:
            return refusal(403, f"this is the control API of a mesh on this machine, not {host or 'nobody'}")
        if foreign_page(request.method, request.headers):
            return refusal(403, "a page from elsewhere may not use the control API")
        given = bearer(request.headers)
        if (
            token is None
            or _is_of_page(request)
            or secret.matches(given)
            or (request.path == SPANS_PATH and senders.matches(given))
        ):
            return await handler(request)
        answer = refusal(
            401, "the token is missing or wrong (mesh token prints it): Authorization: Bearer TOKEN"
        )
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer

    return check


def _is_of_page(request: web.Request) -> bool:
    return request.method in ("GET", "HEAD") and (request.path == "/" or request.path.startswith("/page/"))


def refusal(status: int, words: str) -> web.Response:
    """Every error of the API has this shape: `{"error": "one line"}`."""
    return web.json_response({"error": words}, status=status)
