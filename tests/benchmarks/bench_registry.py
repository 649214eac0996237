"""The registry beside real Consul in dev mode, in the same run, with the same client.

The client is a bare protocol on uvloop, so that the servers are what is measured. Consul stands beside
ours where a binary is there (CONSUL_BIN, `consul` on the path, or ../shared/ci/consul).
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from tests.contract import servers
from tests.contract.servers import Running

CONNECTIONS = 32
SECONDS = 2.0
ROUNDS = 7
INSTANCES = 5000
TTL = 5.0

ABOUT = (
    f"Health queries answer 10 instances; {CONNECTIONS} connections kept alive, one request at a time each, "
    f"{SECONDS:g} s. Watchers block on one service: wall-clock from the write to the last byte at the last "
    f"of them, median of {ROUNDS} changes. Ours runs on one core, Consul on all there are. Durable: a write "
    "is in the kernel before it is acknowledged, and on the disk within a second."
)


class Line(asyncio.Protocol):
    """One keep-alive connection, one request at a time; whole answers, by length or by chunks."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._need = -1
        self._answer: asyncio.Future[bytes] | None = None
        self.at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        """Send; the future is the head of the answer, set when its body is there too."""
        self._data.clear()
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)  # type: ignore[attr-defined]
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end < 0 or self._answer is None or self._answer.done():
            return
        head = bytes(self._data[:end]).lower()
        at = head.find(b"content-length:")
        if at >= 0:
            done = len(self._data) >= end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])
        else:
            done = self._data.endswith(b"0\r\n\r\n")
        if done:
            self.at = time.perf_counter()
            self._answer.set_result(head)


@dataclass
class Figures:
    """What one registry reached."""

    name: str
    health: float = 0.0
    puts: float = 0.0
    fan_200: float = 0.0
    fan_1000: float = 0.0


def get(path: str) -> bytes:
    """A GET of /v1/PATH."""
    return f"GET /v1/{path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


def put(path: str, body: bytes) -> bytes:
    """A PUT of /v1/PATH."""
    return f"PUT /v1/{path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def lines(registry: Running, count: int) -> list[Line]:
    """That many connections."""
    host, port = registry.address.split(":")
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(Line, host, int(port)))[1] for _ in range(count)]


async def register(line: Line, name: str, count: int) -> None:
    """Instances of one service, each with a TTL check that passes."""
    for number in range(count):
        body = {
            "ID": f"{name}-{number}",
            "Name": name,
            "Address": "127.0.0.1",
            "Port": 10_000 + number,
            "Tags": ["v1"],
            "Meta": {"version": "v1", "zone": "a", "instance": f"{name}-{number}"},
            "Check": {"TTL": f"{TTL:g}s", "Status": "passing"},
        }
        head = await line.ask(put("agent/service/register", json.dumps(body).encode()))
        assert b" 200 " in head, head


async def throughput(everyone: list[Line], request: Callable[[int], bytes]) -> float:
    """Answers a second, all connections busy for SECONDS."""
    done = 0
    end = time.perf_counter() + SECONDS

    async def busy(line: Line) -> None:
        nonlocal done
        while time.perf_counter() < end:
            head = await line.ask(request(done))
            assert b" 200 " in head, head
            done += 1

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for line in everyone:
            group.create_task(busy(line))
    return done / (time.perf_counter() - began)


async def fan_out(registry: Running, count: int) -> float:
    """Milliseconds until the last of `count` watchers has the whole new answer; the median of some rounds."""
    watchers, (writer,) = await lines(registry, count), await lines(registry, 1)
    took: list[float] = []
    for number in range(ROUNDS):
        head = await writer.ask(get("health/service/web"))
        index = int(head.split(b"x-consul-index:")[1].split(b"\r\n", 1)[0])
        answers = [one.ask(get(f"health/service/web?index={index}&wait=60s")) for one in watchers]
        await asyncio.sleep(0.4)
        status = "warning" if number % 2 == 0 else "passing"
        body = json.dumps({"Status": status, "Output": str(number)}).encode()
        began = time.perf_counter()
        written = writer.ask(put("agent/check/update/service:web-0", body))
        await asyncio.gather(*answers)
        took.append(max(one.at for one in watchers) - began)
        await written
    for one in [*watchers, writer]:
        one.transport.close()
    return statistics.median(took) * 1000


async def measure(registry: Running, name: str) -> Figures:
    """All figures that both registries can give."""
    everyone = await lines(registry, CONNECTIONS)
    await register(everyone[0], "web", 10)
    await asyncio.sleep(0.5)
    figures = Figures(name)
    figures.health = await throughput(everyone, lambda _: get("health/service/web?passing"))
    figures.puts = await throughput(everyone, lambda n: put(f"kv/bench/{n % 1000}", b"%0100d" % n))
    for one in everyone:
        one.transport.close()
    figures.fan_200 = await fan_out(registry, 200)
    figures.fan_1000 = await fan_out(registry, 1000)
    return figures


async def instances(registry: Running) -> tuple[float, float]:
    """(share of a core for INSTANCES heartbeats at their TTL, KiB of memory per instance), of ours."""
    assert registry.process is not None
    pid = registry.process.pid
    everyone = await lines(registry, 64)
    await register(everyone[0], "warm", 200)
    before = resident_kib(pid)
    await register(everyone[0], "many", INSTANCES)
    each = (resident_kib(pid) - before) / INSTANCES
    body = json.dumps({"Status": "passing", "Output": ""}).encode()
    requests = [put(f"agent/check/update/service:many-{number}", body) for number in range(INSTANCES)]
    per_tick = int(INSTANCES / TTL * 0.05)
    began, cpu = time.perf_counter(), cpu_seconds(pid)
    for tick, first in enumerate(range(0, INSTANCES, per_tick)):
        batch = requests[first : first + per_tick]
        answers = await asyncio.gather(*(one.ask(req) for one, req in zip(everyone, batch, strict=False)))
        assert all(b" 200 " in answer for answer in answers)
        await asyncio.sleep(max(0.0, began + (tick + 1) * 0.05 - time.perf_counter()))
    return (cpu_seconds(pid) - cpu) / (time.perf_counter() - began), each


def cpu_seconds(pid: int) -> float:
    """Processor time of a process; Linux only, else nan."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / 100


def resident_kib(pid: int) -> float:
    """Resident memory of a process; Linux only, else nan."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return float(next(line for line in lines if line.startswith("VmRSS:")).split()[1])


@contextmanager
def _registries() -> Iterator[list[tuple[str, Running]]]:
    started: list[tuple[str, Running]] = []
    with tempfile.TemporaryDirectory() as data:
        try:
            started.append(("ours, in memory", servers.start_embedded()))
            started.append(("ours, durable", servers.start_embedded("--data", data)))
            if servers.consul_binary() is not None:
                real = servers.start_consul()
                version = ".".join(str(part) for part in real.version)
                started.append((f"Consul {version} -dev", real))
            yield started
        finally:
            for _, registry in started:
                registry.stop()


def run() -> str:
    """Measure, one registry at a time; a markdown table."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    rows = []
    with _registries() as registries, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rows = [runner.run(measure(registry, name)) for name, registry in registries]
        fresh = servers.start_embedded()
        try:
            share, each = runner.run(instances(fresh))
        finally:
            fresh.stop()
    table = [
        ABOUT,
        "",
        "| registry | health queries/s | KV puts/s | 200 watchers know | 1,000 watchers know |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {row.name} | {row.health:,.0f} | {row.puts:,.0f} "
            f"| {row.fan_200:.0f} ms | {row.fan_1000:.0f} ms |"
            for row in rows
        ),
        "",
        f"{INSTANCES:,} instances, each reporting once per {TTL:g} s: {share:.0%} of one core; "
        f"{each:.1f} KiB of memory per instance (resident, ours in memory).",
    ]
    return "\n".join(table)


if __name__ == "__main__":
    print(run())
