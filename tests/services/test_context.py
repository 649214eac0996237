"""What a request brought is passed on to the calls it causes, and its deadline ends its work."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiohttp.typedefs import Handler
from hypothesis import given
from hypothesis import strategies as st

from services.context import DeadlineExceeded, current_context, is_sampled, mesh_context, pass_on, trace_of
from tests.fakes.clock import FakeClock
from tests.services.fake_outbound import FakeOutbound

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BROUGHT = {
    "traceparent": TRACEPARENT,
    "tracestate": "vendor=x",
    "x-request-id": "r-1",
    "x-mesh-criticality": "critical",
}

Work = Callable[[aiohttp.ClientSession], Awaitable[None]]


class Service:
    """Somebody's own aiohttp service, as the docstring of services.context tells to write it."""

    def __init__(self, outbound: FakeOutbound) -> None:
        self.clock = FakeClock()
        self.work: Work = self.call
        self.outbound = outbound
        self.cancelled = False
        self.afterwards: list[object] = []
        app = web.Application(middlewares=[self._outermost, mesh_context(self.clock)])
        app.router.add_get("/", self._handle)
        self.server = TestServer(app)
        self.session = aiohttp.ClientSession(middlewares=[pass_on], proxy=f"http://{outbound.address}")
        self.caller = aiohttp.ClientSession()

    async def call(self, session: aiohttp.ClientSession) -> None:
        await (await session.get("http://users/")).read()

    @web.middleware
    async def _outermost(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        self.afterwards.append(current_context())
        return response

    async def _handle(self, request: web.Request) -> web.Response:
        try:
            await self.work(self.session)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return web.Response(text="done")

    async def ask(self, headers: dict[str, str]) -> int:
        response = await self.caller.get(self.server.make_url("/"), headers=headers)
        await response.read()
        return response.status

    @property
    def passed(self) -> dict[str, str]:
        """The mesh's headers of the last call that reached the sidecar."""
        headers = self.outbound.seen[-1].headers
        return {
            name.lower(): value for name, value in headers.items() if name.lower().startswith(("x-", "trace"))
        }


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with FakeOutbound() as outbound:
        service = Service(outbound)
        await service.server.start_server(access_log=None)
        yield service
        await service.session.close()
        await service.caller.close()
        await service.server.close()


async def test_trace_request_id_and_criticality_are_passed_on(service: Service) -> None:
    assert await service.ask(BROUGHT) == 200
    assert service.passed == BROUGHT
    assert service.outbound.seen[-1].target == "http://users/"


async def test_nothing_is_made_up(service: Service) -> None:
    assert await service.ask({}) == 200
    assert service.passed == {}


async def test_the_next_request_of_the_connection_starts_anew(service: Service) -> None:
    """Keep-alive: aiohttp serves them all in one task, and contexts must not leak from one to another."""
    await service.ask(BROUGHT)
    await service.ask({"x-request-id": "r-2"})
    assert service.passed == {"x-request-id": "r-2"}
    assert service.afterwards == [None, None]


async def test_requests_at_the_same_time_keep_their_own(service: Service) -> None:
    await asyncio.gather(*(service.ask({"x-request-id": f"r-{number}"}) for number in range(20)))
    assert {seen.headers["x-request-id"] for seen in service.outbound.seen} == {f"r-{n}" for n in range(20)}


async def test_a_header_that_the_service_sets_itself_is_left_alone(service: Service) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        await session.get("http://users/", headers={"x-mesh-criticality": "sheddable"})

    service.work = work
    await service.ask(BROUGHT)
    assert service.passed == {**BROUGHT, "x-mesh-criticality": "sheddable"}


async def test_a_task_of_the_handler_has_its_context(service: Service) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(service.call(session))

    service.work = work
    await service.ask(BROUGHT)
    assert service.passed == BROUGHT


async def test_outside_of_a_request_nothing_is_added(service: Service) -> None:
    assert current_context() is None
    await service.call(service.session)
    assert service.passed == {}


async def test_the_time_left_shrinks_by_what_was_spent(service: Service) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        service.clock.advance(0.2504)
        await service.call(session)

    service.work = work
    assert await service.ask({"x-envoy-expected-rq-timeout-ms": "1000"}) == 200
    assert service.passed == {"x-envoy-expected-rq-timeout-ms": "749"}


async def test_no_call_is_started_when_no_time_is_left(service: Service) -> None:
    raised: list[Exception] = []

    async def work(session: aiohttp.ClientSession) -> None:
        service.clock.advance(0.9995)
        try:
            await service.call(session)
        except DeadlineExceeded as error:
            raised.append(error)

    service.work = work
    await service.ask({"x-envoy-expected-rq-timeout-ms": "1000"})
    assert [str(error) for error in raised] == ["no time is left to call users"]
    assert service.outbound.seen == []


async def test_a_request_that_comes_too_late_is_not_worked_on(service: Service) -> None:
    assert await service.ask({"x-envoy-expected-rq-timeout-ms": "0"}) == 504
    assert service.outbound.seen == []


async def test_work_that_outlasts_the_deadline_is_cancelled(service: Service) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        await asyncio.Event().wait()

    service.work = work
    assert await service.ask({"x-envoy-expected-rq-timeout-ms": "20"}) == 504
    assert service.cancelled


async def test_a_timeout_of_the_handlers_own_is_its_own(service: Service) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        raise TimeoutError

    service.work = work
    response = await service.caller.get(
        service.server.make_url("/"), headers={"x-envoy-expected-rq-timeout-ms": "60000"}
    )
    assert response.status == 504  # aiohttp's own answer to a TimeoutError
    assert "deadline" not in await response.text()


@pytest.mark.parametrize("value", ["", "soon", "-5", "1.5", "99999999999", "\u0664\u0662"])
async def test_what_is_no_number_of_milliseconds_is_no_deadline(service: Service, value: str) -> None:
    assert await service.ask({"x-envoy-expected-rq-timeout-ms": value}) == 200
    assert service.passed == {}


@pytest.mark.parametrize(
    ("traceparent", "sampled"),
    [
        (TRACEPARENT, True),
        (TRACEPARENT[:-2] + "00", False),
        (TRACEPARENT[:-2] + "03", True),
        (TRACEPARENT[:-2] + "fe", False),
        ("01" + TRACEPARENT[2:] + "-future", True),
        (TRACEPARENT + "-future", False),
        ("ff" + TRACEPARENT[2:], False),
        (TRACEPARENT.upper(), False),
        (TRACEPARENT[:-1], False),
        ("", False),
        ("x" * 60, False),
    ],
)
def test_the_sampled_flag(traceparent: str, sampled: bool) -> None:
    assert is_sampled(traceparent) is sampled


@pytest.mark.parametrize(
    ("parents", "states", "found"),
    [
        ([TRACEPARENT], ["a=1", " b=2,a=3 "], (TRACEPARENT, "a=1,b=2")),
        ([TRACEPARENT], [], (TRACEPARENT, "")),
        ([TRACEPARENT], ["a=1,B=2"], (TRACEPARENT, "")),
        ([TRACEPARENT], [",".join(f"k{number}=1" for number in range(33))], (TRACEPARENT, "")),
        ([TRACEPARENT + "-x"], ["a=1"], ("", "")),
        ([TRACEPARENT, TRACEPARENT], ["a=1"], ("", "")),
        ([], ["a=1"], ("", "")),
    ],
)
def test_what_of_a_trace_is_passed_on(parents: list[str], states: list[str], found: tuple[str, str]) -> None:
    assert trace_of(parents, states) == found


async def test_what_is_empty_or_broken_is_not_passed_on(service: Service) -> None:
    broken = {"traceparent": TRACEPARENT[:-1], "tracestate": "a=1", "x-request-id": ""}
    assert await service.ask(broken) == 200
    assert service.passed == {}


@given(st.text(max_size=60))
def test_no_text_breaks_the_flag(traceparent: str) -> None:
    assert is_sampled(traceparent) in (True, False)
