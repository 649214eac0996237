"""A scripted service as an aiohttp application: does its steps, calls its peers, answers with the tree.

any path      the script; 200, 500 (its own error), 502 (a required call failed), 504 (out of time)
/health       the composite health, 200, 429 or 503
/metrics      Prometheus
"""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from services.behaviour import Behaviour
from services.context import REQUEST_ID, SpanMaker, current_context, mesh_context
from services.health import STATUS_CODES, Health
from services.metrics import Metrics
from services.peers import Peers
from services.topology import Call, Concurrent, Instance, Sleep, Step
from services.tree import Answer, CallRecord

# A callee's deadline is ours in whole milliseconds, so it ends up to one earlier; with a margin for
# the way back, a call that failed so near the end failed by it.
SAME_DEADLINE_S = 0.003

# Between two pieces of a request's body: a sidecar in front of us lets nobody be silent for a third of it.
BODY_IDLE_S = 30.0

# Which try of its caller's sidecar this is; a hedge has a number of its own.
ATTEMPT = "x-envoy-attempt-count"

_ANSWER = web.RequestKey("answer", Answer)
_BEGUN = web.RequestKey("begun", float)


def _draws(request: web.Request) -> str:
    """What the draws for a request follow from: who sends the same x-request-id again gets the same again.

    A retry is drawn anew, since another replica need not fail as the first one did. "" without an id.
    """
    request_id = request.headers.get(REQUEST_ID)
    if not request_id:
        return ""
    attempt = request.headers.get(ATTEMPT, "1")
    return f"{request_id} {attempt} {request.method} {request.path}"


class ScriptedService:
    """One instance. It runs inside `services.context.mesh_context`, which ends it at its deadline."""

    def __init__(
        self,
        instance: Instance,
        behaviour: Behaviour,
        peers: Peers,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._instance = instance
        self._behaviour = behaviour
        self._peers = peers
        self._clock = clock
        self._sleep = sleep

    async def answer(self, request: web.Request) -> web.Response:
        """Do the script for one request."""
        answer = self._begin(request)
        if request.can_read_body:  # a caller still sending would block the connection for the next
            while await self._more(request):
                pass
        decision = self._behaviour.decide(_draws(request))
        if decision.fails:
            answer.status, answer.error = 500, "drawn by errorRate"
        elif not await self._perform(decision.steps, answer):
            context = current_context()
            left = context.time_left() if context is not None else None
            if left is not None and left < SAME_DEADLINE_S:
                return await self.too_late(request)
            answer.status = 502
        return self._response(request, answer)

    async def _more(self, request: web.Request) -> bool:
        """Whether a further piece of the body came."""
        try:
            async with asyncio.timeout(BODY_IDLE_S):
                return bool(await request.content.readany())
        except TimeoutError:
            refusal = web.HTTPRequestTimeout()
            refusal.force_close()
            raise refusal from None

    async def too_late(self, request: web.Request) -> web.Response:
        """The deadline is over, before or amid the work: the tree shows how far it came."""
        answer = request.get(_ANSWER) or self._begin(request)
        answer.status, answer.error = 504, "the caller's deadline is over"
        return self._response(request, answer)

    async def _perform(self, steps: tuple[Step, ...], answer: Answer) -> bool:
        """All steps in turn; False as soon as a required call has failed."""
        for step in steps:
            if isinstance(step, Concurrent):
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._step(part, answer)) for part in step.steps]
                succeeded = all(task.result() for task in tasks)
            else:
                succeeded = await self._step(step, answer)
            if not succeeded:
                return False
        return True

    async def _step(self, step: Sleep | Call, answer: Answer) -> bool:
        if isinstance(step, Sleep):
            await self._sleep(step.seconds)
            return True
        record = CallRecord(step.service)
        answer.calls.append(record)
        await self._peers.call(step, record)
        return not (record.failed and step.required)

    def _begin(self, request: web.Request) -> Answer:
        instance = self._instance
        answer = Answer(instance.service.name, instance.name, instance.version)
        request[_ANSWER] = answer
        request[_BEGUN] = self._clock()
        return answer

    def _response(self, request: web.Request, answer: Answer) -> web.Response:
        answer.duration_ms = (self._clock() - request[_BEGUN]) * 1000
        body = answer.render(self._behaviour.service.response_size)
        return web.Response(body=body, status=answer.status, content_type="application/json")


def build_app(
    service: ScriptedService,
    health: Health,
    metrics: Metrics,
    clock: Callable[[], float],
    tracing: SpanMaker | None,
) -> web.Application:
    """The application, without a socket."""

    async def report(request: web.Request) -> web.Response:
        state, checks = await health.report()
        return web.json_response(checks, status=STATUS_CODES[state])

    # metrics outermost: it counts what the deadline answers too
    context = mesh_context(clock, tracing, service.too_late)
    app = web.Application(middlewares=[_no_connect, metrics.middleware(), context])
    app.router.add_get("/health", report)
    app.router.add_get("/metrics", metrics.expose)
    app.router.add_route("*", "/{path:.*}", service.answer)
    return app


@web.middleware
async def _no_connect(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """What follows a CONNECT is a request of its own to aiohttp, whatever its head says: 405, and the end."""
    if request.method != "CONNECT":
        return await handler(request)
    answer = web.Response(status=405, text="CONNECT is not for a service\n")
    answer.force_close()
    return answer
