"""The program: one ready line, its flags and their variables, a clean end, and spans at a collector."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from services.__main__ import main
from tests.services.fake_outbound import FakeOutbound, Seen

TOPOLOGY = """\
services:
- name: a
  isEntrypoint: true
  numReplicas: 3
  versions: [v1, v2]
  errorRate: 50%
- name: plain
  latency: 3ms
- name: front
  script: [call: a]
- name: files
  command: python -m http.server {port}
"""


@pytest.fixture
def topology(tmp_path: Path) -> str:
    file = tmp_path / "t.yaml"
    file.write_text(TOPOLOGY)
    return str(file)


class Program:
    """The running program; its log goes to the test's stderr."""

    def __init__(self, process: asyncio.subprocess.Process, ready: dict[str, str]) -> None:
        self.process = process
        self.ready = ready
        self.base = f"http://{ready['http']}"

    async def stop(self, number: int = signal.SIGTERM) -> tuple[int, bytes]:
        """The exit code, and what stood on stdout after the ready line."""
        self.process.send_signal(number)
        rest, _ = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, rest


@asynccontextmanager
async def program(*flags: str, **variables: str) -> AsyncIterator[Program]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services", *flags),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **variables},
    )
    try:
        assert process.stdout is not None
        line = await process.stdout.readline()
        yield Program(process, json.loads(line))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_it_serves_and_ends_at_sigterm(topology: str) -> None:
    async with program("--topology", topology, "--service", "front", "--listen", "127.0.0.1:0") as running:
        assert list(running.ready) == ["http"]
        async with aiohttp.ClientSession() as session:
            health = await (await session.get(f"{running.base}/health")).json()
            assert health["status"] == "passing"
            # the session's idle connection is still open: it must not hold up the end
            assert await running.stop() == (0, b"")


async def test_sigint_ends_it_as_well(topology: str) -> None:
    async with program("--topology", topology, "--service", "a", "--listen", "127.0.0.1:0") as running:
        assert await running.stop(signal.SIGINT) == (0, b"")


async def test_what_was_begun_is_finished_and_nothing_new_is_taken(topology: str) -> None:
    arrived, release = asyncio.Event(), asyncio.Event()

    async def wait(_: Seen) -> web.Response:
        arrived.set()
        await release.wait()
        return web.json_response({"service": "a"})

    async with FakeOutbound() as outbound, aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        outbound.answer("a", wait)
        flags = ("--topology", topology, "--service", "front", "--listen", "127.0.0.1:0")
        async with program(*flags, "--outbound", outbound.address) as running:
            asked = group.create_task(_ask(session, running.base))
            await arrived.wait()
            stopped = group.create_task(running.stop())
            await _refuses(running.ready["http"])
            await asyncio.sleep(0.2)  # in real time: as long as it takes, not as long as it happens to
            assert not asked.done()
            release.set()
            status, tree = await asked
            assert (status, tree["calls"][0]["answer"]) == (200, {"service": "a"})
            assert await stopped == (0, b"")


async def test_a_caller_that_goes_away_takes_its_work_with_it(topology: str) -> None:
    """Nobody waits for the answer: it is counted as 499, and the call to the peer ends."""
    arrived = asyncio.Event()

    async def hang(_: Seen) -> web.Response:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with FakeOutbound() as outbound, aiohttp.ClientSession() as session:
        outbound.answer("a", hang)
        flags = ("--topology", topology, "--service", "front", "--listen", "127.0.0.1:0")
        async with program(*flags, "--outbound", outbound.address) as running:
            host, port = running.ready["http"].split(":")
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET / HTTP/1.1\r\nHost: front\r\n\r\n")
            await arrived.wait()
            writer.close()
            counted = 'http_requests_total{method="GET",route="/{path}",status_code="499"} 1.0'
            while counted not in await (await session.get(f"{running.base}/metrics")).text():
                pass
            assert await running.stop() == (0, b"")


async def test_a_service_that_calls_others_checks_its_way_out(topology: str) -> None:
    async with FakeOutbound() as outbound, aiohttp.ClientSession() as session:
        flags = ("--topology", topology, "--listen", "127.0.0.1:0", "--outbound", outbound.address)
        for service, checks in (("front", {"event_loop", "outbound"}), ("a", {"event_loop"})):
            async with program(*flags, "--service", service) as running:
                health = await (await session.get(f"{running.base}/health")).json()
                assert set(health["checks"]) == checks


async def test_a_signal_makes_it_read_the_topology_again(topology: str) -> None:
    """The next request is drawn from what it says now; a wrong file changes nothing, and is no end."""
    flags = ("--topology", topology, "--listen", "127.0.0.1:0", "--service", "plain")
    async with program(*flags) as running, aiohttp.ClientSession() as session:

        async def becomes(status: int) -> None:
            while (await session.get(running.base)).status != status:
                pass

        def say(text: str) -> None:
            Path(topology).write_text(text)
            running.process.send_signal(signal.SIGUSR1)

        await becomes(200)
        say(TOPOLOGY.replace("latency: 3ms", "errorRate: 100%"))
        await becomes(500)
        say("nonsense")
        await becomes(500)
        say(TOPOLOGY)
        await becomes(200)
        assert await running.stop() == (0, b"")


async def test_every_flag_has_a_variable(topology: str) -> None:
    """In a container nothing but the environment is set; the number of the name picks the version."""
    variables = {
        "SERVICES_TOPOLOGY": topology,
        "SERVICES_SERVICE": "a",
        "SERVICES_INSTANCE": "a-2",
        "SERVICES_LISTEN": "127.0.0.1:0",
        "SERVICES_SEED": "7",
    }
    async with program(**variables) as running, aiohttp.ClientSession() as session:
        _, tree = await _ask(session, running.base)
        assert (tree["service"], tree["instance"], tree["version"]) == ("a", "a-2", "v2")
        assert (await running.stop())[0] == 0


async def test_a_run_with_a_seed_can_be_repeated(topology: str) -> None:
    """Errors fall where they fell before, and elsewhere in another instance."""

    async def statuses(instance: str) -> list[int]:
        flags = ("--topology", topology, "--service", "a", "--listen", "127.0.0.1:0")
        async with program(*flags, "--seed", "7", "--instance", instance) as running:
            async with aiohttp.ClientSession() as session:
                drawn = [(await _ask(session, running.base))[0] for _ in range(40)]
            await running.stop()
        return drawn

    first = await statuses("a-1")
    assert set(first) == {200, 500}
    assert await statuses("a-1") == first
    assert await statuses("a-3") != first


async def test_spans_reach_the_collector(topology: str) -> None:
    received: asyncio.Queue[ExportTraceServiceRequest] = asyncio.Queue()

    async def receive(request: web.Request) -> web.Response:
        received.put_nowait(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(body=b"", content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", receive)
    collector = TestServer(app)
    await collector.start_server(access_log=None)
    flags = ("--topology", topology, "--service", "plain", "--listen", "127.0.0.1:0")
    # a proxy in the environment is the mesh's: spans must not go through it
    proxy = {"HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1"}
    async with program(*flags, "--otlp", f"http://127.0.0.1:{collector.port}", **proxy) as running:
        async with aiohttp.ClientSession() as session:
            await _ask(session, running.base, traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
        assert await running.stop() == (0, b"")  # which sends what is left
    (resource,) = (await received.get()).resource_spans
    (span,) = resource.scope_spans[0].spans
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == ("a" * 32, "b" * 16)
    names = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert (names["service.name"], names["service.instance.id"]) == ("plain", "plain-1")
    await collector.close()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ("--service", "b"),
            'services: --service: no service is named "b" in {file} (services: a, plain, front, files)\n',
        ),
        (
            ("--service", "files"),
            'services: --service: "files" is a command of its own (python -m http.server {{port}})\n',
        ),
        (
            ("--service", "a", "--listen", "9000"),
            'services: --listen: "9000" is not HOST:PORT (write it like 127.0.0.1:9000)\n',
        ),
        (
            ("--service", "a", "--outbound", "localhost"),
            'services: --outbound: "localhost" is not HOST:PORT (write it like 127.0.0.1:9000)\n',
        ),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    topology: str, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], message: str
) -> None:
    assert main(("--topology", topology, *flags)) == 2
    assert capsys.readouterr().err == message.format(file=topology)


def test_a_wrong_topology_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "t.yaml"
    file.write_text("services:\n- name: a\n  isEntrypoint: true\n  errorRate: 5\n")
    assert main(("--topology", str(file), "--service", "a")) == 2
    assert capsys.readouterr().err == (
        f'services: {file}:4: services[0].errorRate: 5 is more than 1, which is all requests (write "5%")\n'
    )


def test_a_port_in_use_is_exit_code_2(topology: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        assert main(("--topology", topology, "--service", "a", "--listen", listen)) == 2
    assert capsys.readouterr().err == f"services: --listen {listen}: Address already in use\n"


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "python -m services --topology shop --service users" in capsys.readouterr().out


async def _ask(session: aiohttp.ClientSession, base: str, **headers: str) -> tuple[int, Any]:
    async with session.get(base, headers=headers) as response:
        return response.status, await response.json()


async def _refuses(address: str) -> None:
    """Returns once nobody accepts connections there any more; the test's own timeout bounds it."""
    host, port = address.split(":")
    while True:
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return
        writer.close()
