"""`/app/metrics`: what the app says, its format with it; an app that is silent, wrong or endless is a 502."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer

from sidecar.admin import app_metrics
from sidecar.admin.app_metrics import AppMetrics
from sidecar.config import Address

TEXT = "http_requests_total 1\n"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class App:
    """Answers `/metrics` as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answer: Callable[[], web.Response] = lambda: web.Response(
            text=TEXT, headers={"Content-Type": OPEN_METRICS}
        )
        self.endless = False
        self.held: asyncio.Event | None = None
        self.two = asyncio.Event()
        self.asked: list[web.Request] = []

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        if len(self.asked) == 2:
            self.two.set()
        if self.held is not None:
            await self.held.wait()
        if self.endless:
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(b"a" * 65536)
        return self.answer()


@pytest.fixture
async def app() -> App:
    return App()


@pytest.fixture
async def client(app: App) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    served = web.Application()
    served.router.add_get("/metrics", app.metrics)
    async with TestServer(served) as server:
        assert server.port is not None
        door = web.Application()
        door.router.add_get("/app/metrics", AppMetrics(Address("127.0.0.1", server.port)).get)
        async with TestClient(TestServer(door)) as client:
            yield client


Client = TestClient[web.Request, web.Application]


async def test_what_the_app_says_with_its_format(app: App, client: Client) -> None:
    """The scraper's wish for a format reaches the app; who the scraper is does not."""
    headers = {"Accept": OPEN_METRICS, "Cookie": "a=b", "Authorization": "Bearer secret"}
    answer = await client.get("/app/metrics", headers=headers)
    assert (answer.status, await answer.text()) == (200, TEXT)
    assert answer.headers["Content-Type"] == OPEN_METRICS
    (asked,) = app.asked
    assert asked.headers["Accept"] == OPEN_METRICS
    assert not {"Cookie", "Authorization"} & set(asked.headers)


async def test_compressed_stays_compressed(app: App) -> None:
    """It is never unpacked here, so that a bomb is only as large as it came."""
    app.answer = lambda: web.Response(body=gzip.compress(b"a" * 10), headers={"Content-Encoding": "gzip"})
    served = web.Application()
    served.router.add_get("/metrics", app.metrics)
    async with TestServer(served) as server, ClientSession(auto_decompress=False) as session:
        assert server.port is not None
        door = web.Application()
        door.router.add_get("/app/metrics", AppMetrics(Address("127.0.0.1", server.port)).get)
        async with TestServer(door) as own:
            answer = await session.get(own.make_url("/app/metrics"))
            assert answer.headers["Content-Encoding"] == "gzip"
            assert gzip.decompress(await answer.read()) == b"a" * 10


@pytest.mark.parametrize("status", [404, 500, 302])
async def test_another_answer_is_a_502_and_not_followed(app: App, client: Client, status: int) -> None:
    """The app chooses no other address for us to ask."""
    app.answer = lambda: web.Response(status=status, headers={"Location": "http://127.0.0.1:1/"})
    answer = await client.get("/app/metrics")
    assert (answer.status, await answer.text()) == (502, f"the app: GET /metrics answered {status}\n")


async def test_an_endless_answer_is_cut(app: App, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """After MAX_BYTES."""
    monkeypatch.setattr(app_metrics, "MAX_BYTES", 100_000)
    app.endless = True
    answer = await client.get("/app/metrics")
    assert answer.status == 502
    assert "more than 100000 bytes" in await answer.text()


async def test_a_silent_app_is_a_502_in_time(
    app: App, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the scraper gives up."""
    monkeypatch.setattr(app_metrics, "TIMEOUT_S", 0.05)
    app.held = asyncio.Event()
    answer = await client.get("/app/metrics")
    app.held.set()
    assert (answer.status, await answer.text()) == (502, "the app: GET /metrics: no answer within 0.05 s\n")


async def test_an_app_that_is_gone_is_a_502() -> None:
    """One line with the reason."""
    door = web.Application()
    door.router.add_get("/app/metrics", AppMetrics(Address("127.0.0.1", 1)).get)
    async with TestClient(TestServer(door)) as client:
        answer = await client.get("/app/metrics")
        assert answer.status == 502
        text = await answer.text()
        assert text.startswith("the app: GET /metrics: ")
        assert text.count("\n") == 1


async def test_no_more_than_two_ask_at_once(app: App, client: Client) -> None:
    """Anybody may ask, and each answer is held in memory; the third waits for its turn, and gets it."""
    app.held = asyncio.Event()

    async def ask() -> int:
        return (await client.get("/app/metrics")).status

    async with asyncio.TaskGroup() as tasks:
        three = [tasks.create_task(ask()) for _ in range(3)]
        await app.two.wait()
        assert (await client.get("/nothing")).status == 404  # the third has come by now, too
        assert len(app.asked) == 2
        app.held.set()
    assert [each.result() for each in three] == [200, 200, 200]
    assert len(app.asked) == 3


async def test_who_waits_in_vain_is_told_in_time(
    app: App, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait is part of the time that an answer may take; the turns come back."""
    monkeypatch.setattr(app_metrics, "TIMEOUT_S", 0.05)
    app.held = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(client.get("/app/metrics")) for _ in range(3)]
    assert {each.result().status for each in asked} == {502}
    app.held.set()
    monkeypatch.setattr(app_metrics, "TIMEOUT_S", 5.0)
    assert (await client.get("/app/metrics")).status == 200
