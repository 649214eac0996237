"""The program: ready line, signals, summary, exit codes, usage errors."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from loadgen.__main__ import main
from loadgen.client import LoadClient
from tests.loadgen.targets import closed_url, target_server


@asynccontextmanager
async def started(*arguments: str, **env: str) -> AsyncIterator[tuple[Process, LoadClient]]:
    """The real program, once it serves; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadgen", *arguments, stdout=PIPE, stderr=PIPE, env={**os.environ, **env}
    )
    try:
        async with asyncio.timeout(15):
            assert process.stdout is not None
            ready = json.loads(await process.stdout.readline())
        assert list(ready) == ["http"]
        async with aiohttp.ClientSession() as session:
            yield process, LoadClient(ready["http"], session)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def test_serves_steers_and_writes_its_summary_on_sigterm(tmp_path: Path) -> None:
    """One life of the program, on its own loop (uvloop), against a real server."""
    where = tmp_path / "run.json"
    async with (
        target_server() as server,
        started(server.url, "--rate", "0", "--json", str(where), "--report-every", "200ms") as (
            process,
            client,
        ),
    ):
        assert (await client.status())["planned"] == 0
        await client.set_rate(100)
        async with asyncio.timeout(10):
            while len(server.arrivals) < 30:  # noqa: ASYNC110 - another process is watched
                await asyncio.sleep(0.02)
        status = await client.status()
        assert status["ok"] >= 29
        assert status["failed"] == 0
        process.send_signal(signal.SIGTERM)
        out, err = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0
    assert out == b""  # the ready line was all
    assert b"rate 100/s" in err
    assert b"response time from the intended start" in err
    document = json.loads(where.read_text())
    assert document["result"]["sent"] == document["result"]["ok"] == len(server.arrivals)
    assert [change["rate"] for change in document["run"]["schedule"]] == [0, 100]
    assert os.listdir(tmp_path) == [where.name]  # nothing is left beside it


async def test_a_duration_ends_the_program_and_environment_variables_count() -> None:
    """Without a flag on the command line, and with errors that are not the program's."""
    async with started(
        "--duration",
        "300ms",
        LOADGEN_URL=closed_url(),
        LOADGEN_RATE="100",
        LOADGEN_JSON="-",
        LOADGEN_SEED="5",
    ) as (process, _):
        out, err = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0
    document = json.loads(out)
    assert document["result"]["errors"] == {"refused": 30}
    assert document["run"]["seed"] == 5
    assert document["run"]["warmup_s"] == pytest.approx(0.075)
    assert b"Traceback" not in err


async def test_a_port_in_use_is_one_line_and_exit_code_2() -> None:
    """Said before anything is sent."""
    async with target_server() as server:
        taken = server.url.removeprefix("http://").strip("/")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "loadgen", server.url, "--http", taken, stdout=PIPE, stderr=PIPE
        )
        out, err = await asyncio.wait_for(process.communicate(), 15)
        assert not server.arrivals
    assert process.returncode == 2
    assert out == b""
    assert err.count(b"\n") == 1
    assert taken.encode() in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "URL: say what to request"),
        (["https://h/"], "only http://"),
        (["http://h/", "--rate", "nan"], "rate must be between"),
        (["http://h/", "--rate", "1e9"], "rate must be between"),
        (["http://h/", "--rate", "x"], "argument --rate"),
        (["http://h/", "--pattern", "zigzag"], "no such pattern 'zigzag'"),
        (["http://h/", "--rate", "5000", "--pattern", "spike:factor=9"], "peaks at 45000"),
        (["http://h/", "--duration", "5d"], "not a duration"),
        (["http://h/", "--duration", "0s"], "longer than 0"),
        (["http://h/", "--duration", "5s", "--warmup", "5s"], "leaves nothing"),
        (["http://h/", "--http", "9100"], "is not HOST:PORT"),
        (["http://h/", "--timeout", "0s"], "timeout must be between"),
        (["http://h/", "--max-in-flight", "0"], "max-in-flight must be between"),
        (["http://h/", "--trace-sample", "2"], "trace-sample must be between"),
        (["http://h/", "--method", "HEAD"], "method 'HEAD'"),
        (["http://h/", "--header", "nonsense"], "Name: value"),
        (["http://h/", "--json", "/nonexistent/run.json"], "no such directory"),
        (["http://h/", "--what"], "--what"),
    ],
)
def test_wrong_usage_is_exit_code_2_with_words(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last line says what is wrong; nothing is started."""
    monkeypatch.delenv("LOADGEN_URL", raising=False)
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert words in " ".join(shown.err.splitlines()[-1].split())
    assert shown.out == ""


def test_a_bad_environment_variable_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Containers get the same words."""
    monkeypatch.setenv("LOADGEN_RATE", "many")
    assert main(["http://h/"]) == 2
    assert "--rate" in capsys.readouterr().err


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    """And exit code 0."""
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "python -m loadgen http://127.0.0.1:8080/ --rate 300 --duration 30s" in shown
    assert "LOADGEN_RATE" in shown


def test_the_client_does_not_pull_in_the_generator() -> None:
    """The mesh imports it into every process of its own."""
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, loadgen.client; print(*sorted(m for m in sys.modules if 'loadgen' in m))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout.split() == ["loadgen", "loadgen.client"]


def test_the_pure_parts_touch_no_clock_loop_socket_or_log() -> None:
    """They run in virtual time, so they may not know the real one."""
    pure = [
        "duration",
        "shapes",
        "patterns",
        "schedule",
        "histogram",
        "tally",
        "window",
        "lamps",
        "measurement",
    ]
    for name in [*pure, "settings"]:
        source = Path("loadgen", f"{name}.py").read_text()
        for word in ("import asyncio", "import socket", "import time", "import logging", "aiohttp"):
            assert word not in source, f"loadgen/{name}.py: {word}"
