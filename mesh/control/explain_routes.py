"""Why a request went as it did: what every sidecar on its way kept of it, put together."""

import re

import aiohttp
from aiohttp import web

from mesh.control.ask import ask_all
from mesh.control.operator import Observed
from mesh.control.requests import flag
from mesh.errors import UsageError
from mesh.words import UnknownName

_TRACE_ID = re.compile(r"[0-9a-f]{32}")


def add(app: web.Application, observed: Observed, session: aiohttp.ClientSession) -> None:
    """Add the route."""

    async def explain(request: web.Request) -> web.Response:
        trace_id = request.match_info["trace_id"].lower()
        if _TRACE_ID.fullmatch(trace_id) is None:
            raise UsageError("trace_id: write the 32 hexadecimal digits of a trace id")
        answers = await ask_all(session, observed.admins(), f"/explain?trace_id={trace_id}")
        found = [
            exchange
            for answer in answers.values()
            for exchange in (answer or {}).get("exchanges") or ()
            if isinstance(exchange, dict) and exchange.get("trace_id") == trace_id
        ]
        # the page asks for every trace that it shows; that none is kept is no error to it
        if not found and not flag(request.query, "maybe"):
            raise UnknownName(
                f"no sidecar remembers the trace {trace_id}: they keep for some minutes all failed, slow and "
                "retried requests and a sample of the others (a header traceparent: 00-TRACE_ID-…-01 names a "
                "request that you send)"
            )
        found.sort(key=lambda exchange: float(exchange.get("at") or 0.0))
        silent = sorted(name for name, answer in answers.items() if answer is None)
        return web.json_response({"trace_id": trace_id, "exchanges": found, "silent": silent})

    app.router.add_get("/api/explain/{trace_id}", explain)
