"""The control API: what the generator does now, and the knobs to change it while it runs."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from guard.door import BODY_S
from guard.gate import Gate, bearer
from guard.token import Token
from loadgen.metrics import CONTENT_TYPE, exposition
from loadgen.patterns import PatternError, pattern_of
from loadgen.report import status
from loadgen.runner import Runner
from loadgen.settings import SettingError

MAX_BODY_BYTES = 16 * 1024
"""The largest useful body is a step pattern of 100 levels, about 2 kB."""

PUBLIC = frozenset({"/metrics"})
"""What other machines may read without the token: Prometheus has none."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BadRequest(ValueError):
    """A body that cannot be used; its text is what the caller reads."""


def control_app(runner: Runner, token: Token | None = None) -> web.Application:
    """GET /status, GET /metrics, PUT /rate, PUT /pattern, PUT /load (both at once), POST /reset; errors are
    `{"error": words}`, and what is refused changes nothing.

    Who may use it says `guard.Gate`.
    """
    api = _Api(runner)
    app = web.Application(
        client_max_size=MAX_BODY_BYTES, middlewares=[_no_connect, _guard(token or Token()), _words]
    )
    app.add_routes(
        [
            web.get("/status", api.status),
            web.get("/metrics", api.metrics),
            web.put("/rate", api.rate),
            web.put("/pattern", api.pattern),
            web.put("/load", api.load),
            web.post("/reset", api.reset),
        ]
    )
    return app


class _Api:
    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def status(self, _request: web.Request) -> web.Response:
        return web.json_response(status(self._runner))

    async def metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=exposition(self._runner), headers={"content-type": CONTENT_TYPE})

    async def rate(self, request: web.Request) -> web.Response:
        body = await _object(request)
        if set(body) != {"rate"}:
            raise BadRequest('the body is {"rate": requests per second}')
        self._runner.set_rate(body["rate"])
        return self._knobs()

    async def pattern(self, request: web.Request) -> web.Response:
        self._runner.set_pattern(pattern_of(await _object(request)))
        return self._knobs()

    async def load(self, request: web.Request) -> web.Response:
        body = await _object(request)
        if not body or set(body) - {"rate", "pattern"}:
            raise BadRequest('the body is {"rate": requests per second, "pattern": name or object}, or one')
        pattern = pattern_of(body["pattern"]) if "pattern" in body else None
        self._runner.steer(body.get("rate", self._runner.schedule.rate), pattern)
        return self._knobs()

    async def reset(self, _request: web.Request) -> web.Response:
        self._runner.reset()
        return self._knobs()

    def _knobs(self) -> web.Response:
        schedule = self._runner.schedule
        return web.json_response({"rate": schedule.rate, "pattern": str(schedule.pattern)})


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        async with asyncio.timeout(BODY_S):
            body = json.loads(await request.read())
    except TimeoutError as error:
        raise web.HTTPRequestTimeout from error
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {str(error)[:120]}") from error
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body


@web.middleware
async def _words(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every refusal is JSON with one clear sentence."""
    try:
        return await handler(request)
    except (BadRequest, SettingError, PatternError) as error:
        return _error(400, str(error))
    except ConnectionError:
        return _error(400, "the client went away")  # nobody is there to read it, and nothing to write down
    except web.HTTPRequestEntityTooLarge:
        return _error(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
    except web.HTTPRequestTimeout:
        response = _error(408, f"the body did not arrive within {BODY_S:g} s")
        response.force_close()
        return response
    except web.HTTPMethodNotAllowed as error:
        response = _error(405, f"{request.path} takes {', '.join(sorted(error.allowed_methods))}")
        response.headers["allow"] = ", ".join(sorted(error.allowed_methods))
        return response
    except web.HTTPNotFound:
        return _error(404, "there are /status, /metrics, /rate, /pattern, /load and /reset")


@web.middleware
async def _no_connect(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What follows a CONNECT is a request of its own to aiohttp, whatever its head says: 405, and the end."""
    if request.method != "CONNECT":
        return await handler(request)
    answer = _error(405, "CONNECT is not for this listener")
    answer.force_close()
    return answer


def _guard(token: Token) -> Any:
    gate = Gate("the load generator", token, PUBLIC)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = bearer(request.headers)
        refused = gate.refusal(request.method, request.path, request.remote, request.headers, given)
        return _error(refused.status, refused.words) if refused is not None else await handler(request)

    return guard


def _error(code: int, words: str) -> web.Response:
    return web.json_response({"error": words}, status=code)
