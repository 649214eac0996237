"""Request counts and durations of an aiohttp application, in Prometheus' format.

`http_requests_total` (method, route, status_code) and `http_request_duration_seconds` (method, route).
Health and metrics requests are left out: they are the mesh's, and would drown a quiet service's own.
"""

import asyncio
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0

from services.context import CLIENT_CLOSED

# From half a millisecond: a service of ours answers in one to twenty.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_UNCOUNTED = frozenset({"/health", "/metrics"})


class Metrics:
    """The metrics of one application. Labels are bounded: known methods, the router's patterns."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "http_requests_total",
            "Requests that were answered.",
            ("method", "route", "status_code"),
            registry=self._registry,
        )
        self._durations = Histogram(
            "http_request_duration_seconds",
            "Time from a request's head to its answer.",
            ("method", "route"),
            buckets=BUCKETS,
            registry=self._registry,
        )
        # bound once: looking labels up for each request costs as much as the counting
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._timers: dict[tuple[str, str], Histogram] = {}

    def middleware(self) -> Middleware:
        """Put it outermost, so that it counts what the others answer."""

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            resource = request.match_info.route.resource
            route = resource.canonical if resource is not None else "unknown"
            if route in _UNCOUNTED:
                return await handler(request)
            begun = self._clock()
            status = 500
            try:
                response = await handler(request)
                status = response.status
            except web.HTTPException as answer:
                status = answer.status
                raise
            except asyncio.CancelledError:
                status = CLIENT_CLOSED
                raise
            except TimeoutError:  # aiohttp answers 504 to it, and 500 to any other
                status = 504
                raise
            finally:
                method = request.method if request.method in METHODS else "other"
                self._count(method, route, status, self._clock() - begun)
            return response

        return middleware

    def _count(self, method: str, route: str, status: int, seconds: float) -> None:
        counter = self._counters.get((method, route, status))
        timer = self._timers.get((method, route))
        if counter is None:
            counter = self._requests.labels(method, route, str(status))
            self._counters[method, route, status] = counter
        if timer is None:
            timer = self._durations.labels(method, route)
            self._timers[method, route] = timer
        counter.inc()
        timer.observe(seconds)

    async def expose(self, request: web.Request) -> web.Response:
        """`GET /metrics`."""
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_1_0_0}
        )
