"""The control API put together: middlewares, then one family of routes after the other."""

import asyncio
import logging
from collections.abc import Iterable

from aiohttp import web
from aiohttp.typedefs import Handler

from guard.door import BODY_S
from mesh.control import (
    explain_routes,
    live_routes,
    mesh_routes,
    page_routes,
    policy_routes,
    service_routes,
    trace_routes,
)
from mesh.control.guard import guard, harden, loopback_names, no_connect, refusal
from mesh.control.hub import Hub
from mesh.control.memory import bounded
from mesh.control.operator import Operator
from mesh.control.policy_desks import Desks
from mesh.errors import ActionRefused, DocumentsRefused, MeshError, UsageError
from mesh.traces import TraceStore
from mesh.words import UnknownName

log = logging.getLogger("mesh.control")

# The largest that anybody sends are spans: a batch of 512, compressed or not, is well under this.
# The limit is on what comes out of the decompression, too.
MAX_BODY_BYTES = 4 * 1024 * 1024
# A browser's kept connections do not hold up the end.
END_S = 0.2


def control_app(
    operator: Operator,
    traces: TraceStore,
    port: int,
    hub: Hub | None = None,
    desks: Desks | None = None,
    *,
    hosts: Iterable[str] = (),
    token: str | None = None,
    spans: str | None = None,
) -> web.Application:
    """The application to serve at 127.0.0.1:`port`; with a `hub`, whose `run` is the caller's, the page too,
    and with `desks`, likewise, policies, faults and explanations.

    `hosts` are the Host headers (`name:port`) by which it is called at any other address; `token` opens it,
    `spans` only for sending spans.
    """
    names = loopback_names(port) | frozenset(host.lower() for host in hosts)
    checks = [
        no_connect,
        guard(names, token, spans),
        say_errors,
        bounded(MAX_BODY_BYTES),  # before the body is read
        whole_body,
    ]
    app = web.Application(middlewares=checks, client_max_size=MAX_BODY_BYTES)
    app.on_response_prepare.append(harden)
    mesh_routes.add(app, operator, hub)
    service_routes.add(app, operator, hub)
    trace_routes.add(app, traces, None if hub is None else hub.spans)
    if desks is not None:
        policy_routes.add(app, desks.policies, desks.faults)
        explain_routes.add(app, desks.observed, desks.session)
    if hub is not None:
        live_routes.add(app, hub, traces)
        page_routes.add(app)
    return app


@web.middleware
async def whole_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Reads the body before its handler does, in the time that there is for it."""
    if request.can_read_body:
        try:
            async with asyncio.timeout(BODY_S):
                await request.read()
        except TimeoutError:
            answer = refusal(408, f"the body did not arrive within {BODY_S:g} s")
            answer.force_close()
            return answer
    return await handler(request)


@web.middleware
async def say_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors as `{"error": …}` with the status that fits: 404 no such name, 400 wrong, 409 not now."""
    try:
        return await handler(request)
    except UnknownName as error:
        return refusal(404, str(error))
    except DocumentsRefused as error:
        return web.json_response({"error": str(error), "problems": list(error.problems)}, status=400)
    except UsageError as error:
        return refusal(400, str(error))
    except ActionRefused as error:
        return refusal(409, str(error))
    except MeshError as error:
        return refusal(503, str(error))
    except web.RequestPayloadError:
        answer = refusal(400, "the body cannot be decompressed")
        answer.force_close()  # what follows on this connection cannot be told from the rest of the body
        return answer
    except web.HTTPMethodNotAllowed as error:
        answer = refusal(405, f"{request.method} {request.path}: {error.reason}")
        answer.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
        return answer
    except web.HTTPException as error:
        return refusal(error.status, f"{request.method} {request.path}: {error.reason}")
    except Exception as error:
        if _went_away(request, error):
            return refusal(400, "the client went away")  # which nobody reads, and nothing to write down
        log.exception("%s %s", request.method, request.path)
        return refusal(500, "the control API failed; its log says why")


def _went_away(request: web.Request, error: Exception) -> bool:
    """Whether it is the loss of this very connection: while it was read, written, or waited for."""
    gone = request.transport is None or request.transport.is_closing()
    return gone and isinstance(error, ConnectionError)
