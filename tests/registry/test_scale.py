"""The registry's figures, in processor time of one thread, so that other work on the machine does not count.

The clients run on the same thread and are part of the bill. Wall-clock figures stand in the benchmark.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import time
import tracemalloc

import pytest
import uvloop

from registry.model import CheckDefinition, Service
from registry.server import Options, Server

WATCHERS = 1000
INSTANCES = 5000
TTL = 5.0


def _server() -> Server:
    return Server(Options(port=0, node="n"), clock=time.monotonic, rng=random.Random(1))  # noqa: TID251


def _register(server: Server, count: int, service: str) -> None:
    for number in range(count):
        instance = Service(
            "n",
            f"{service}-{number}",
            service,
            "127.0.0.1",
            10_000 + number,
            ("v1",),
            {"version": "v1", "zone": "a", "instance": f"{service}-{number}", "admin": "127.0.0.1:15000"},
        )
        check = CheckDefinition(ttl=TTL, deregister_critical_after=600, status="passing")
        server.agent.register_service(instance, [(check, "")], replace_checks=False)


class Asker(asyncio.Protocol):
    """The cheapest HTTP client: one request, and the first bytes of its answer end the wait."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.transport.write(request)  # type: ignore[attr-defined]
        return self.answer

    def data_received(self, data: bytes) -> None:
        if not self.answer.done():
            self.answer.set_result(data)


async def _askers(server: Server, count: int) -> list[Asker]:
    host, port = server.address.split(":")
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(Asker, host, int(port)))[1] for _ in range(count)]


def _run(main):  # type: ignore[no-untyped-def]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4096:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


@pytest.mark.timeout(60)
def test_a_thousand_watchers_learn_of_a_change_within_a_tenth_of_a_second() -> None:
    async def main() -> list[float]:
        used: list[float] = []
        async with _server().running() as server:
            _register(server, 3, "web")
            askers = await _askers(server, WATCHERS)
            for number in range(6):
                index = server.store.state.indexes["service/web"]
                path = f"/v1/health/service/web?index={index}&wait=60s"
                answers = [
                    one.ask(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()) for one in askers
                ]
                while len(server.watchers) < WATCHERS:  # noqa: ASYNC110 - a count of many handlers
                    await asyncio.sleep(0.01)
                began = time.thread_time()
                server.agent.update_ttl("service:web-0", "warning" if number % 2 == 0 else "passing", "")
                heads = await asyncio.gather(*answers)
                used.append(time.thread_time() - began)
                assert all(b"200 OK" in head for head in heads)
            for one in askers:
                one.transport.close()
        return used

    # The best round: the others pay for the caches that neighbours on the machine emptied.
    assert min(_run(main())) < 0.1


@pytest.mark.timeout(60)
def test_five_thousand_ttl_instances_cost_less_than_half_a_core() -> None:
    """Each reports once per TTL: a thousand reports a second, over 64 connections."""

    async def main() -> float:
        async with _server().running() as server:
            _register(server, INSTANCES, "web")
            commits = server.store.state.index
            askers = await _askers(server, 64)
            per_second = int(INSTANCES / TTL)
            body = json.dumps({"Status": "passing", "Output": ""}).encode()
            head = (
                "PUT /v1/agent/check/update/service:web-{} HTTP/1.1\r\n"
                "Host: 127.0.0.1\r\nContent-Length: {}\r\n\r\n"
            )
            requests = [head.format(n, len(body)).encode() + body for n in range(per_second)]
            began = time.thread_time()
            for first in range(0, per_second, len(askers)):
                batch = requests[first : first + len(askers)]
                answers = await asyncio.gather(
                    *(one.ask(req) for one, req in zip(askers, batch, strict=False))
                )
                assert all(b"200 OK" in answer for answer in answers)
            for _ in range(10):
                server.tick()
            used = time.thread_time() - began
            assert server.store.state.index == commits, "a report without news is no write"
            for one in askers:
                one.transport.close()
        return used

    assert min(_run(main()) for _ in range(2)) < 0.5


def test_an_instance_costs_less_than_six_kilobytes() -> None:
    """With its TTL check, agent and catalog side, timers and indexes."""

    async def main() -> float:
        async with _server().running() as server:
            _register(server, 100, "warm")
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            _register(server, 1000, "web")
            after = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
        return (after - before) / 1000

    bytes_each = _run(main())
    assert 500 < bytes_each < 6 * 1024, f"{bytes_each:.0f} bytes"
