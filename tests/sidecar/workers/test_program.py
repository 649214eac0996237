"""A sidecar of two processes: it counts once, learns once, and ends whole."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

# Not a bar: a machine that does something else as well must not fail a test.
PATIENCE_S = 100.0
pytestmark = pytest.mark.timeout(240)


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """The first true value of a condition."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if value := await condition():
                return value
            await asyncio.sleep(0.02)


class Backend:
    """Answers at once, or when its gate is opened."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = 0
        self.address = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.address = "{}:{}".format(*self._runner.addresses[0])

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.entered += 1
        await self.gate.wait()
        return web.Response(text="hello")


class Client:
    """One keep-alive connection, so that all its requests go to the same worker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, address: str) -> Client:
        host, _, port = address.rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def get(self) -> int:
        """The status; a connection that ends before a whole answer is an error."""
        self.ask()
        return await self.answer()

    def ask(self) -> None:
        self._writer.write(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")

    async def answer(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
            assert await self._reader.readexactly(5) == b"hello", head
        return int(head.split()[1])

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class Crew:
    """A running `python -m sidecar --workers 2`."""

    def __init__(self, process: asyncio.subprocess.Process, ready: dict[str, str]) -> None:
        self.process = process
        self.ready = ready
        self.session = aiohttp.ClientSession()
        self._clients: list[Client] = []

    async def admin(self, path: str) -> str:
        async with self.session.get(f"http://{self.ready['admin']}{path}") as answer:
            return await answer.text()

    async def snapshot(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self.admin("/snapshot"))
        return found

    async def pids(self) -> list[int]:
        return [worker["pid"] for worker in (await self.snapshot())["workers"]]

    async def metric(self, start: str) -> float:
        """The sum of the samples whose line starts so."""
        lines = (await self.admin("/metrics")).splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))

    async def connect(self, listener: str) -> Client:
        client = await Client.connect(self.ready[listener])
        self._clients.append(client)
        return client

    async def clients_of_both(self) -> dict[int, Client]:
        """A client of each worker; `SO_REUSEPORT` chooses, so there may have to be more."""
        found: dict[int, Client] = {}
        before = [worker["requests"] for worker in (await self.snapshot())["workers"]]
        async with asyncio.timeout(PATIENCE_S):
            while len(found) < 2:
                client = await self.connect("outbound")
                assert await client.get() == 200
                after = [worker["requests"] for worker in (await self.snapshot())["workers"]]
                (number,) = [index for index in (0, 1) if after[index] > before[index]]
                before = after
                if found.setdefault(number + 1, client) is not client:
                    await client.close()
        return found

    async def close(self) -> None:
        """Our own connections."""
        for client in self._clients:
            await client.close()
        await self.session.close()

    async def stop(self) -> int:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(self.process.wait(), PATIENCE_S)
        assert self.process.returncode is not None
        return self.process.returncode


def alive(pid: int) -> bool:
    """Runs; one that nobody has reaped does not."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return found.stdout.strip()[:1] not in ("", "Z")


async def spawn(*argv: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar", "--name", "ingress", "--workers", "2"),
        *argv,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.fixture
async def backends() -> AsyncIterator[list[Backend]]:
    backends = [Backend(), Backend()]
    for backend in backends:
        await backend.start()
    yield backends
    for backend in backends:
        await backend.stop()


@pytest.fixture
async def crew(backends: list[Backend]) -> AsyncIterator[Crew]:
    """Two workers in front of two backends; none of them outlives the test."""
    process = await spawn(
        *("--outbound", "127.0.0.1:0", "--tcp", "127.0.0.1:0=web", "--admin", "127.0.0.1:0"),
        *("--status", "127.0.0.1:0"),
        *("--drain-timeout", f"{PATIENCE_S}s"),
        *("--upstream", "web=" + ",".join(backend.address for backend in backends)),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
    assert line, (await process.stderr.read()).decode()
    crew = Crew(process, json.loads(line))
    pids = await crew.pids()
    yield crew
    if process.returncode is None:
        with contextlib.suppress(aiohttp.ClientError):
            pids += await crew.pids()
    await crew.close()
    if process.returncode is None:
        process.kill()
        await process.wait()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, TypeError):
            os.kill(pid, signal.SIGKILL)


async def test_every_request_is_counted_once(crew: Crew) -> None:
    """Whichever worker served it; and the admin paths are those of a single sidecar."""
    clients = await crew.clients_of_both()
    sent = int(await crew.metric("istio_requests_total{"))
    for number, client in clients.items():
        for _ in range(10 * number):
            assert await client.get() == 200
    assert await crew.metric("istio_requests_total{") == sent + 30
    assert await crew.metric("istio_request_duration_milliseconds_count{") == sent + 30
    assert await crew.metric("mesh_workers ") == 2
    raw = await crew.connect("tcp:web")
    assert await raw.get() == 200
    await raw.close()  # a drain waits for it: TCP has no word for "please leave"
    assert await crew.metric("istio_tcp_connections_opened_total{") == 1
    snapshot = await crew.snapshot()
    assert snapshot["outbound"]["requests"] == snapshot["upstreams"]["web"]["requests"] == sent + 30
    # the TCP connection is an attempt too
    assert sum(row["requests"] for row in snapshot["upstreams"]["web"]["endpoints"]) == sent + 31
    assert snapshot["connections"]["downstream"] == await crew.metric("mesh_downstream_connections{")
    assert snapshot["addresses"] == crew.ready
    assert await crew.admin("/ready") == "LIVE\n"
    async with crew.session.get(f"http://{crew.ready['status']}/healthz/ready") as answer:
        assert await answer.text() == "LIVE\n"
    assert json.loads(await crew.admin("/config_dump"))["bootstrap"]["workers"] == 2
    kept = json.loads(await crew.admin("/explain"))["exchanges"]
    assert {exchange["worker"] for exchange in kept} <= {1, 2}
    assert kept == sorted(kept, key=lambda exchange: exchange["at"], reverse=True)
    assert "::breaker::closed" in await crew.admin("/clusters")
    assert f"http.outbound.downstream_rq_total: {sent + 30}\n" in await crew.admin("/stats")
    assert f"outbound::{crew.ready['outbound']}\n" in await crew.admin("/listeners")
    info = json.loads(await crew.admin("/server_info"))
    assert info["command_line_options"]["concurrency"] == 2
    pids = await crew.pids()
    assert await crew.stop() == 0
    assert not any(alive(pid) for pid in pids)


async def test_what_one_worker_learns_the_other_knows(crew: Crew, backends: list[Backend]) -> None:
    """Only one of them ever called the dead backend, both have it open, and nobody's request failed."""
    clients = await crew.clients_of_both()
    (quiet, _) = [worker["requests"] for worker in (await crew.snapshot())["workers"]]
    await backends[0].stop()

    async def both_open() -> bool:
        assert await clients[2].get() == 200
        workers = (await crew.snapshot())["workers"]
        assert workers[0]["requests"] == quiet
        return all(worker["open"] == ["web/web-1"] for worker in workers)

    await until(both_open)
    assert await crew.metric('circuit_breaker_state{endpoint="web-1"') > 0
    assert await crew.metric('circuit_breaker_state{endpoint="web-2"') == 0
    assert await crew.metric('circuit_breaker_opens_total{endpoint="web-1"') == 1
    before = backends[1].entered
    assert await clients[1].get() == 200
    assert backends[1].entered == before + 1


async def test_a_killed_worker_takes_only_its_connections_and_comes_back(crew: Crew) -> None:
    """What was shown as counted stays counted; the other worker's connections do not notice."""
    clients = await crew.clients_of_both()
    for client in clients.values():
        assert await client.get() == 200
    counted = await crew.metric("istio_requests_total{")
    shown = (await crew.snapshot())["outbound"]["requests"]
    killed = (await crew.pids())[0]
    os.kill(killed, signal.SIGKILL)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await clients[1].get()
    assert await clients[2].get() == 200

    async def is_back() -> bool:
        worker = (await crew.snapshot())["workers"][0]
        return worker["pid"] not in (None, killed) and worker["state"] == "serving"

    await until(is_back)
    assert await crew.metric("istio_requests_total{") == counted + 1
    assert (await crew.snapshot())["outbound"]["requests"] == shown + 1
    assert await crew.metric('mesh_worker_restarts_total{worker="1"}') == 1
    for client in (await crew.clients_of_both()).values():
        assert await client.get() == 200
    assert await crew.stop() == 0


async def test_nobody_outlives_a_killed_manager(crew: Crew) -> None:
    """Not even while a client is connected."""
    clients = await crew.clients_of_both()
    pids = await crew.pids()
    assert all(alive(pid) for pid in pids)
    crew.process.kill()
    await crew.process.wait()

    async def all_gone() -> bool:
        return not any(alive(pid) for pid in pids)

    await until(all_gone)
    assert len(clients) == 2


async def test_sigterm_loses_no_request(crew: Crew, backends: list[Backend]) -> None:
    """All that is under way in either worker is answered after nobody is let in any more."""
    clients = list((await crew.clients_of_both()).values())
    before = sum(backend.entered for backend in backends)
    for backend in backends:
        backend.gate.clear()
    for client in clients:
        client.ask()

    async def under_way() -> bool:
        return sum(backend.entered for backend in backends) >= before + len(clients)

    async def closed() -> bool:
        try:
            await (await Client.connect(crew.ready["outbound"])).close()
        except OSError:
            return True
        return False

    await until(under_way)
    crew.process.send_signal(signal.SIGTERM)
    await until(closed)
    for backend in backends:
        backend.gate.set()
    assert [await client.answer() for client in clients] == [200, 200]
    assert await crew.stop() == 0


def test_who_works_alone_does_not_pay() -> None:
    """Not even an import."""
    code = "import sys, sidecar.__main__; print([name for name in sys.modules if 'workers' in name])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


async def test_what_cannot_work_is_one_line_and_exit_2(backends: list[Backend], tmp_path: Path) -> None:
    """A port of somebody else, and a fault that only the workers find: nothing is left running."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("kind: Nonsense\n")
    for argv, words in (
        (("--outbound", backends[0].address), f"--outbound {backends[0].address}: cannot listen: "),
        (("--outbound", "127.0.0.1:0", "--policy", str(policy)), f"--policy {policy}: "),
        (("--outbound", "127.0.0.1:0", "--admin", backends[0].address), "--admin "),
    ):
        process = await spawn(*argv)
        _, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        assert process.returncode == 2, errors
        assert errors.decode().count("\n") == 1, errors
        assert words in errors.decode()
