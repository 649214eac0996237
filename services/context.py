"""What a request hands on to the calls it causes; the one file that your own aiohttp service needs.

A sidecar sees requests, not which incoming one caused which outgoing one. Only the service knows, so
it must pass on the trace, the request id, the deadline and the criticality. Two lines do it:

    app = web.Application(middlewares=[mesh_context(time.monotonic)])
    session = aiohttp.ClientSession(middlewares=[pass_on], proxy="http://127.0.0.1:15001")

From then on every `session.get("http://orders/…")` made while a request is handled carries its
headers, and work whose caller has given up stops: 504 is answered when the time is over, and what was
still running is cancelled. Headers that you set yourself on a call are left alone. What you call
outside of the mesh deserves a session of its own: these headers are nobody else's business.

    traceparent, tracestate, x-request-id, x-mesh-criticality    passed on as they came, if they are valid
    x-envoy-expected-rq-timeout-ms                               the time left, less what was spent here

Tasks that you start inherit the context (it is a ContextVar). For spans of the app itself, give
`mesh_context` a `tracing`, such as `services.tracing.Tracing`; without one traces still hold together,
because the sidecars record each hop. Depends on aiohttp alone; copy it freely.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, web
from aiohttp.typedefs import Handler, Middleware

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
REQUEST_ID = "x-request-id"
CRITICALITY = "x-mesh-criticality"
TIME_LEFT_MS = "x-envoy-expected-rq-timeout-ms"
PASSED_ON = (REQUEST_ID, CRITICALITY)

# W3C Trace Context, level 2: what does not look so is as if it were not there, and `tracestate` with it.
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]([0-9a-f])(-.*)?"
)
_MEMBER = re.compile(r"([a-z0-9][a-z0-9_\-*/@]{0,255})=[ -+\--<>-~]{0,255}[!-+\--<>-~]")
_MAX_MEMBERS = 32

# Twelve days in milliseconds; more digits are no deadline, and int() of thousands of them is slow.
_MAX_DIGITS = 9
# What the status of a request is called whose caller went away before the answer (nginx's number).
CLIENT_CLOSED = 499


class Span(Protocol):
    """A piece of a trace that is being recorded."""

    traceparent: str

    def child(self, method: str, host: str, path: str) -> "Span":
        """The span of a call made within this one."""

    def end(self, status: int | None, error: str = "") -> None:
        """It is over: the HTTP status, or None and what went wrong."""


class SpanMaker(Protocol):
    """Starts the span of an incoming request that is sampled."""

    def server(self, traceparent: str, tracestate: str, request: web.BaseRequest) -> Span | None: ...


class DeadlineExceeded(Exception):
    """A call was not started, because the time of the request that causes it is over."""


@dataclass(slots=True)
class RequestContext:
    """What the current request brought along. `deadline` is in the clock's seconds, None = no limit."""

    headers: tuple[tuple[str, str], ...]
    deadline: float | None
    span: Span | None
    clock: Callable[[], float]

    def time_left(self) -> float | None:
        """Seconds, negative when it is over; None without a deadline."""
        return None if self.deadline is None else self.deadline - self.clock()


_current: ContextVar[RequestContext | None] = ContextVar("mesh_request", default=None)


def current_context() -> RequestContext | None:
    """The context of the request that is being handled; None outside of one."""
    return _current.get()


async def _too_late(request: web.Request) -> web.StreamResponse:
    return web.json_response({"error": "the caller's deadline is over"}, status=504)


def mesh_context(
    clock: Callable[[], float],
    tracing: SpanMaker | None = None,
    too_late: Callable[[web.Request], Awaitable[web.StreamResponse]] = _too_late,
) -> Middleware:
    """The server's half: an aiohttp middleware that keeps the context while a request is handled.

    `clock` is monotonic, in seconds. `too_late` makes the answer when the deadline is over; its
    status should be 504, which a mesh takes for "out of time" rather than for a fault of this service.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        context = _context_of(request, clock, tracing)
        token = _current.set(context)
        try:
            response = await _answer(request, handler, context, too_late)
        except web.HTTPException as answer:
            _end(context, answer.status)
            raise
        except asyncio.CancelledError:
            _end(context, CLIENT_CLOSED)
            raise
        except Exception as error:
            # what aiohttp makes of it
            _end(context, 504 if isinstance(error, TimeoutError) else 500, f"{type(error).__name__}: {error}")
            raise
        finally:
            # aiohttp serves all requests of a connection in one task: the next must not inherit this
            _current.reset(token)
        _end(context, response.status)
        return response

    return middleware


async def pass_on(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """The client's half: an aiohttp client middleware that gives each call the current context.

    Raises DeadlineExceeded, without sending anything, when no millisecond is left. The caller's
    deadline bounds the call as well, because `mesh_context` cancels its handler then.
    """
    context = _current.get()
    if context is None:
        return await handler(request)
    headers = request.headers
    left = context.time_left()
    if left is not None:
        if left < 0.001:
            raise DeadlineExceeded(f"no time is left to call {request.url.host}")
        headers.setdefault(TIME_LEFT_MS, str(int(left * 1000)))
    for name, value in context.headers:
        headers.setdefault(name, value)
    if context.span is None:
        return await handler(request)
    span = context.span.child(request.method, request.url.host or "", request.url.path)
    headers[TRACEPARENT] = span.traceparent
    try:
        response = await handler(request)
    except BaseException as error:
        span.end(None, type(error).__name__)
        raise
    span.end(response.status)
    return response


def _context_of(
    request: web.Request, clock: Callable[[], float], tracing: SpanMaker | None
) -> RequestContext:
    incoming = request.headers
    traceparent, tracestate = trace_of(incoming.getall(TRACEPARENT, ()), incoming.getall(TRACESTATE, ()))
    found = [(TRACEPARENT, traceparent), (TRACESTATE, tracestate)]
    found += [(name, incoming.get(name, "")) for name in PASSED_ON]
    headers = tuple((name, value) for name, value in found if value)
    milliseconds = incoming.get(TIME_LEFT_MS, "")
    deadline = None
    # as in Envoy, what is not a number is no deadline
    if milliseconds.isascii() and milliseconds.isdigit() and len(milliseconds) <= _MAX_DIGITS:
        deadline = clock() + int(milliseconds) / 1000
    span = None
    if tracing is not None and is_sampled(traceparent):
        span = tracing.server(traceparent, tracestate, request)
    return RequestContext(headers, deadline, span, clock)


def is_sampled(traceparent: str) -> bool:
    """Whether a W3C traceparent asks for this trace to be recorded: the lowest bit of its flags."""
    match = _match(traceparent)
    return match is not None and match[2] in "13579bdf"


def trace_of(parents: Sequence[str], states: Sequence[str]) -> tuple[str, str]:
    """(traceparent, tracestate) of a request's header lines, '' for what is not there or breaks the rules.

    Of a key that is twice in the state, the first is the newest, and is kept.
    """
    if len(parents) != 1 or _match(parents[0]) is None:
        return "", ""
    found: dict[str, str] = {}
    members = [word for word in (member.strip(" \t") for member in ",".join(states).split(",")) if word]
    for member in members:
        match = _MEMBER.fullmatch(member)
        if match is None or len(members) > _MAX_MEMBERS:
            return parents[0], ""
        found.setdefault(match[1], member)
    return parents[0], ",".join(found.values())


def _match(traceparent: str) -> re.Match[str] | None:
    match = _TRACEPARENT.fullmatch(traceparent)
    return None if match is None or (match[3] and match[1] == "00") else match


async def _answer(
    request: web.Request,
    handler: Handler,
    context: RequestContext,
    too_late: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> web.StreamResponse:
    left = context.time_left()
    if left is None:
        return await handler(request)
    if left <= 0:
        return await too_late(request)
    limit = asyncio.timeout(left)
    try:
        async with limit:
            return await handler(request)
    except TimeoutError:
        if not limit.expired():  # the handler's own
            raise
    return await too_late(request)


def _end(context: RequestContext, status: int, error: str = "") -> None:
    if context.span is not None:
        context.span.end(status, error)
