"""HTTP and TCP checks against real sockets."""

import asyncio
import random
import resource
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
import uvloop
from aiohttp import web

from registry.model import CRITICAL, PASSING, WARNING, CheckDefinition
from registry.probes import MAX_AT_ONCE, Prober, Thresholds, http_status


class Reports:
    """What checks reported, and a way to wait for the next."""

    def __init__(self) -> None:
        self.seen: dict[str, list[tuple[str, str]]] = {}
        self._news = asyncio.Event()

    def __call__(self, check_id: str, status: str, output: str) -> None:
        self.seen.setdefault(check_id, []).append((status, output))
        self._news.set()

    async def first(self, check_id: str) -> tuple[str, str]:
        async with asyncio.timeout(5):
            while check_id not in self.seen:
                self._news.clear()
                await self._news.wait()
        return self.seen[check_id][0]


@asynccontextmanager
async def _prober() -> AsyncIterator[tuple[Prober, Reports]]:
    reports = Reports()
    # Seed 1 starts its first checks early in their interval, so that no test waits a second.
    prober = Prober(reports, _Early())
    async with asyncio.TaskGroup() as group:
        prober.open(group)
        try:
            yield prober, reports
        finally:
            prober.close()


class _Early(random.Random):
    """Draws the beginning of every interval."""

    def random(self) -> float:
        return 0.0


@asynccontextmanager
async def _site(handler) -> AsyncIterator[str]:  # type: ignore[no-untyped-def]
    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.parametrize(
    ("code", "status"),
    [(200, PASSING), (204, PASSING), (429, WARNING), (500, CRITICAL), (404, CRITICAL), (302, CRITICAL)],
)
async def test_the_status_code_decides(code: int, status: str) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(status=code, text="" if code == 204 else "because")

    async with _site(answer) as url, _prober() as (prober, reports):
        prober.change("c", CheckDefinition(http=f"{url}/health", interval=1))
        found, output = await reports.first("c")
        assert found == status
        assert output.startswith(f"HTTP GET {url}/health: {code} ")
        assert code == 204 or output.endswith("Output: because")


async def test_method_header_and_body_are_sent() -> None:
    async def echo(request: web.BaseRequest) -> web.Response:
        headers = request.headers
        text = f"{request.method} {headers.getall('X-A')} {await request.text()} {headers['User-Agent']}"
        return web.Response(text=text)

    async with _site(echo) as url, _prober() as (prober, reports):
        header = {"X-A": ("1", "2")}
        prober.change("c", CheckDefinition(http=url, interval=1, method="POST", body="hello", header=header))
        _, output = await reports.first("c")
        assert output.endswith("POST ['1', '2'] hello Consul Health Check")


async def test_a_slow_answer_is_critical_when_its_time_is_over() -> None:
    over = asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.Response:
        await over.wait()
        return web.Response()

    async with _site(slow) as url, _prober() as (prober, reports):
        prober.change("c", CheckDefinition(http=url, interval=1, timeout=0.05))
        status, output = await reports.first("c")
        assert status == CRITICAL
        assert "within 0.05s" in output
        over.set()


async def test_nobody_there_is_critical() -> None:
    async with _prober() as (prober, reports):
        prober.change("h", CheckDefinition(http="http://127.0.0.1:1/", interval=1))
        prober.change("t", CheckDefinition(tcp="127.0.0.1:1", interval=1))
        prober.change("n", CheckDefinition(http="nonsense", interval=1))
        prober.change("p", CheckDefinition(tcp="nonsense", interval=1))
        for check_id in "htnp":
            status, output = await reports.first(check_id)
            assert status == CRITICAL, check_id
            assert output


async def test_a_port_that_accepts_passes_a_tcp_check() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, _prober() as (prober, reports):
        prober.change("c", CheckDefinition(tcp=f"127.0.0.1:{port}", interval=1))
        assert await reports.first("c") == (PASSING, f"TCP connect 127.0.0.1:{port}: Success")


async def test_a_check_that_went_runs_no_more() -> None:
    async with _prober() as (prober, reports):
        prober.change("c", CheckDefinition(tcp="127.0.0.1:1", interval=1))
        await reports.first("c")
        prober.change("c", None)
        assert len(prober) == 0
        prober.change("ttl", CheckDefinition(ttl=5))
        assert len(prober) == 0


def test_results_in_a_row_turn_a_status_and_the_first_counts_at_once() -> None:
    thresholds = Thresholds(CheckDefinition(success_before_passing=2, failures_before_critical=3))
    assert thresholds.settle(CRITICAL) == CRITICAL
    assert [thresholds.settle(one) for one in (PASSING, CRITICAL, PASSING, PASSING)] == [
        CRITICAL,
        CRITICAL,
        CRITICAL,
        PASSING,
    ]
    assert [thresholds.settle(CRITICAL) for _ in range(3)] == [PASSING, PASSING, CRITICAL]
    plain = Thresholds(CheckDefinition())
    assert [plain.settle(one) for one in (PASSING, CRITICAL, WARNING)] == [PASSING, CRITICAL, WARNING]


def test_http_status_by_its_edges() -> None:
    assert [http_status(code) for code in (199, 200, 299, 300, 429)] == [
        CRITICAL,
        PASSING,
        PASSING,
        CRITICAL,
        WARNING,
    ]


async def test_no_more_run_at_once_than_the_bound() -> None:
    running = most = 0
    release = asyncio.Event()

    async def hold(request: web.BaseRequest) -> web.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1
        return web.Response()

    async with _site(hold) as url, _prober() as (prober, _):
        for number in range(MAX_AT_ONCE + 50):
            prober.change(str(number), CheckDefinition(http=url, interval=1))
        async with asyncio.timeout(20):
            while most < MAX_AT_ONCE:  # noqa: ASYNC110 - a count of many handlers
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        release.set()
        assert most == MAX_AT_ONCE


class Quick(asyncio.Protocol):
    """The cheapest healthy service: it shares the loop with what it measures."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        self.transport.close()


def test_a_thousand_checks_a_second_do_not_fall_behind() -> None:
    """The processor time of one run leaves half a core idle at a thousand a second, the other side included;
    and everyone gets its turn. In processor time, since the machine may have other work."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4096:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        before = time.process_time()
        counts, statuses = runner.run(_thousand_checks(3.0))
        used = time.process_time() - before
    assert used / sum(counts) < 0.5 / 1000
    assert min(counts) >= 1
    assert statistics.median(counts) >= 2, "in three seconds"
    assert statuses == {PASSING}


async def _thousand_checks(seconds: float) -> tuple[list[int], set[str]]:
    server = await asyncio.get_running_loop().create_server(Quick, "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    reports = Reports()
    prober = Prober(reports, random.Random(1))
    async with asyncio.TaskGroup() as group:
        prober.open(group)
        check = CheckDefinition(http=f"http://127.0.0.1:{port}/", interval=1)
        for number in range(1000):
            prober.change(str(number), check)
        await asyncio.sleep(seconds)
        prober.close()
    server.close()
    counts = [len(reports.seen.get(str(number), ())) for number in range(1000)]
    return counts, {status for seen in reports.seen.values() for status, _ in seen}


@pytest.mark.parametrize(
    ("raw", "status", "words"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nuntil it closes", PASSING, "until it closes"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            PASSING,
            "Output: abc",
        ),
        (b"HTTP/1.0 429 Slow Down\r\n\r\n", WARNING, "429 Slow Down"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 9000, PASSING, "x" * 4000),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", PASSING, "204 No Content"),
        (b"SSH-2.0-OpenSSH\r\n", CRITICAL, "malformed HTTP response"),
        (b"", CRITICAL, "EOF"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000, CRITICAL, "64 KiB"),
    ],
)
async def test_answers_of_every_kind(raw: bytes, status: str, words: str) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, _prober() as (prober, reports):
        prober.change("c", CheckDefinition(http=f"http://127.0.0.1:{port}/x", interval=1))
        found, output = await reports.first("c")
        assert found == status, output
        assert words in output


async def test_a_redirect_is_followed_and_a_ring_of_them_is_critical() -> None:
    async def lead(request: web.BaseRequest) -> web.Response:
        if request.path == "/ring":
            return web.Response(status=302, headers={"Location": "/ring"})
        if request.path == "/old":
            return web.Response(status=301, headers={"Location": "new?x=1"})
        return web.Response(text=f"at {request.path_qs}")

    async with _site(lead) as url, _prober() as (prober, reports):
        prober.change("c", CheckDefinition(http=f"{url}/old", interval=1))
        prober.change("r", CheckDefinition(http=f"{url}/ring", interval=1))
        status, output = await reports.first("c")
        assert (status, output.endswith("at /new?x=1")) == (PASSING, True)
        status, output = await reports.first("r")
        assert status == CRITICAL
        assert "10 redirects" in output


async def test_a_definition_cannot_smuggle_lines_into_its_request() -> None:
    async with _prober() as (prober, reports):
        definition = CheckDefinition(http="http://127.0.0.1:1/", interval=1, header={"X": ("a\r\nHost: b",)})
        prober.change("c", definition)
        assert "line end" in (await reports.first("c"))[1]
