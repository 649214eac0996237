"""One answer for each request, its own, whatever two servers could read in two ways: the smuggling matrix."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.conformance.run import read_responses

from .app_servers import NEEDS, SERVERS, app_server, program
from .smuggling import ROWS, Row

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

SURPLUS_S = 0.02  # when there is an answer: for more than was asked for
LIMIT_S = 2.0  # for an answer that does not come


@asynccontextmanager
async def sidecar(app: int, log: Path) -> AsyncIterator[dict[str, int]]:
    """An ingress and an app's sidecar, in one process; gives its ports."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar", "--name", "svc-1", "--access-log", str(log)),
        *("--inbound", "127.0.0.1:0", "--app", f"127.0.0.1:{app}"),
        stdout=asyncio.subprocess.PIPE,
    )
    edge: asyncio.subprocess.Process | None = None
    try:
        inbound = await _port(process, "inbound")
        edge = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sidecar", "--name", "ingress", "--outbound", "127.0.0.1:0"),
            *("--default-service", "svc", "--upstream", f"svc=127.0.0.1:{inbound}"),
            stdout=asyncio.subprocess.PIPE,
        )
        yield {"inbound": inbound, "ingress": await _port(edge, "outbound")}
    finally:
        for each in (edge, process):
            if each is not None and each.returncode is None:
                each.terminate()
                await asyncio.wait_for(each.communicate(), 10)


async def _port(process: asyncio.subprocess.Process, listener: str) -> int:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 20)
    return int(json.loads(line)[listener].rpartition(":")[2])


async def send(port: int, raw: bytes, methods: tuple[bytes, ...], surplus: float = SURPLUS_S) -> bytes:
    """Everything that comes back on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    try:
        writer.write(raw)
        while True:
            found, _, _ = read_responses(got, list(methods), False)
            done = len(found) >= len(methods) and all(each.complete for each in found)
            data = await asyncio.wait_for(reader.read(65536), surplus if done else LIMIT_S)
            if not data:
                return got
            got += data
    except (TimeoutError, ConnectionError):
        return got
    finally:
        writer.transport.abort()


def wrong_answers(row: Row, got: bytes) -> Iterator[str]:
    """More than one answer for a request, or an answer to what was hidden."""
    found, _, tunnel = read_responses(got, list(row.methods), True)
    if len(found) > len(row.methods):
        yield f"{len(found)} answers for {len(row.methods)} requests"
    if b"-hidden" in b"".join(each.body for each in found) and b"-hidden" not in row.raw.split(b"\r\n")[0]:
        yield "an answer to the hidden request"
    if tunnel:
        yield "bytes behind an upgrade"


async def wrong_probes(port: int, number: int) -> list[str]:
    """What the next clients get who ask for something harmless on the pooled connections."""
    found = []
    for probe in range(3):
        path = b"/probe-%d-%d" % (number, probe)
        got = await send(port, b"GET " + path + b" HTTP/1.1\r\nHost: svc\r\n\r\n", (b"GET",), 0.0)
        answers, _, _ = read_responses(got, [b"GET"], True)
        if [(each.status, each.body) for each in answers] != [(200, path)]:
            found.append(f"the next client got {got[:40]!r}")
    return found


@pytest.mark.parametrize("kind", SERVERS)
async def test_no_request_is_hidden_in_another(kind: str, tmp_path: Path) -> None:
    """For each row: one answer per request; the app sees nothing that the sidecar did not count; and the next
    clients on the same pooled connections get their own answers."""
    if kind in NEEDS and not program(NEEDS[kind]):
        pytest.skip(f"{NEEDS[kind]} is not on this machine")
    seen_by_app, counted = tmp_path / "app.log", tmp_path / "access.log"
    seen_by_app.touch()
    wrong: dict[str, list[str]] = {}
    async with app_server(kind, seen_by_app) as app, sidecar(app, counted) as ports:
        for listener, port in ports.items():
            for number, row in enumerate(ROWS):
                before = seen_by_app.stat().st_size
                found = list(wrong_answers(row, await send(port, row.raw, row.methods)))
                found += await wrong_probes(port, number)
                seen = seen_by_app.read_bytes()[before:]
                if b"-hidden" in seen:
                    found.append("SMUGGLED")
                passed = any(b"/probe" not in line for line in seen.splitlines())
                if row.passes is not None and row.passes is not passed:
                    found.append("passed on" if passed else "not passed on")
                if found:
                    wrong[f"{listener}: {row.name}"] = found
    assert wrong == {}
    lines = map(json.loads, counted.read_text().splitlines())
    sidecars = Counter(_bare(f"{line['method']} {line['path']}") for line in lines if line["path"])
    apps = Counter(map(_bare, seen_by_app.read_text().splitlines()))
    del apps["- -"]  # nginx' word for what it refused before it had read it
    assert apps - sidecars == Counter()


def _bare(line: str) -> str:
    """http.server makes one slash of several at the begin."""
    return line.replace(" //", " /")
