"""SIGKILL at random points of a write load: no acknowledged write is lost, no file unreadable."""

import asyncio
import json
import multiprocessing
import random
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from registry.journal import recover
from registry.model import CRITICAL, PASSING, WARNING
from registry.store import State
from tests.registry import victim

ROUNDS = 200
SEED = 20
KEYS = 40


class Expected:
    """What was acknowledged, and the one write that was under way when the registry died."""

    def __init__(self) -> None:
        self.values: dict[str, bytes | None] = {}
        self.services: dict[str, str] = {}
        self.sessions: set[str] = set()
        self.pending: tuple[str, str, bytes | str | None] | None = None
        self.acknowledged = 0

    def check(self, state: State) -> None:
        """The state has every acknowledged write; the pending one it may have or not."""
        pending = self.pending
        for key, value in self.values.items():
            entry = state.kvs.get(key)
            allowed = {value, pending[2]} if pending and pending[:2] == ("kv", key) else {value}
            assert (entry.value if entry else None) in allowed, key
        for service, status in self.services.items():
            check = state.checks.get(("testnode", f"service:{service}"))
            allowed = {status, pending[2]} if pending and pending[:2] == ("service", service) else {status}
            assert check is not None, service
            assert check.status in allowed, service
        assert self.sessions <= set(state.sessions)

    def settle(self, state: State) -> None:
        """What the pending write came to is what holds from here on."""
        if self.pending and self.pending[0] == "kv":
            entry = state.kvs.get(self.pending[1])
            self.values[self.pending[1]] = entry.value if entry else None
        elif self.pending and self.pending[0] == "service":
            check = state.checks.get(("testnode", f"service:{self.pending[1]}"))
            if check is not None:
                self.services[self.pending[1]] = check.status
        self.pending = None


async def _request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, path: str, body: bytes
) -> bytes:
    head = f"{method} /v1/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200"), answer
    length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return await reader.readexactly(int(length.split(b":")[1]))


async def _write_until_it_dies(
    port: int, expected: Expected, rng: random.Random, loaded: asyncio.Event
) -> None:
    """Write without a pause; `loaded` is set after a random number of acknowledged writes."""
    reader, writer = await _connect(port)
    enough = expected.acknowledged + rng.randrange(40)
    with suppress(OSError, asyncio.IncompleteReadError):
        while True:
            if expected.acknowledged >= enough:
                loaded.set()
            await _one_write(reader, writer, expected, rng)
            expected.pending = None
            expected.acknowledged += 1
    writer.close()
    assert loaded.is_set(), "it died before it was killed"


async def _one_write(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, expected: Expected, rng: random.Random
) -> None:
    kind = rng.random()
    if kind < 0.7:
        key = f"k{rng.randrange(KEYS)}"
        value = rng.randbytes(rng.choice([10, 300, 5000]))
        expected.pending = ("kv", key, value)
        await _request(reader, writer, "PUT", f"kv/{key}", value)
        expected.values[key] = value
    elif kind < 0.8:
        key = f"k{rng.randrange(KEYS)}"
        expected.pending = ("kv", key, None)
        await _request(reader, writer, "DELETE", f"kv/{key}", b"")
        expected.values[key] = None
    elif kind < 0.98:
        service = f"s{rng.randrange(10)}"
        status = rng.choice([PASSING, WARNING, CRITICAL])
        if service not in expected.services:
            # Two writes; only when both are acknowledged does the check count.
            check = {"TTL": "1h", "Status": status}
            body = json.dumps({"ID": service, "Name": "web", "Check": check}).encode()
            await _request(reader, writer, "PUT", "agent/service/register", body)
            await _request(
                reader,
                writer,
                "PUT",
                f"agent/check/update/service:{service}",
                json.dumps({"Status": status}).encode(),
            )
        else:
            expected.pending = ("service", service, status)
            body = json.dumps({"Status": status, "Output": "x"}).encode()
            await _request(reader, writer, "PUT", f"agent/check/update/service:{service}", body)
        expected.services[service] = status
    else:
        answer = await _request(reader, writer, "PUT", "session/create", b"")
        expected.sessions.add(json.loads(answer)["ID"])


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.002)


@pytest.mark.timeout(300)
async def test_two_hundred_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([victim.__name__])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data, copy = tmp_path / "data", tmp_path / "copy"
    expected = Expected()
    torn = snapshots = 0
    began = time.perf_counter()  # noqa: TID251 - it reports
    for number in range(ROUNDS):
        process = processes.Process(target=victim.serve, args=(str(data), port), daemon=True)
        process.start()
        loaded = asyncio.Event()
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(_write_until_it_dies(port, expected, rng, loaded))
            await loaded.wait()
            # Somewhere in the next few writes, or in the snapshot that they set off.
            await asyncio.sleep(rng.uniform(0.0, 0.004))
            process.kill()
        process.join()
        # The next round starts from the directory as the kill left it; this look at it is at a copy.
        shutil.copytree(data, copy)
        found = recover(copy)
        shutil.rmtree(copy)
        assert all("cut off" in problem for problem in found.problems), (number, found.problems)
        torn += bool(found.problems)
        snapshots += found.generation > 0
        expected.check(found.state)
        expected.settle(found.state)
    assert expected.acknowledged > ROUNDS * 5, "the load was a load"
    assert snapshots > ROUNDS / 2, "snapshots were made under it"
    elapsed = time.perf_counter() - began  # noqa: TID251
    print(f"{ROUNDS} kills, {expected.acknowledged} acknowledged writes, {torn} torn tails, {elapsed:.0f} s")  # noqa: T201 - how much was tried
