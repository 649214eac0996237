"""`python -m registry`: flags, ready line, signals, exit codes, durability across a restart."""

import signal
import socket
from pathlib import Path

import pytest

from registry.client import CheckDefinition, RegistryClient, ServiceRegistration
from tests.registry.programs import run, running, start


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_and_ends_on_a_signal(number: int) -> None:
    program = await start("--http", "127.0.0.1:0", "--ephemeral")
    async with RegistryClient(program.http) as client:
        assert await client.kv_put("k", b"v")
        assert await program.stop(number) == 0


async def test_kv_sessions_and_catalog_survive_a_kill_and_a_restart(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    registration = ServiceRegistration("w1", "web", "127.0.0.1", 80, checks=(CheckDefinition(ttl=3600),))
    arguments = ("--http", "127.0.0.1:0", "--data", data, "--node", "one")
    async with running(*arguments) as program, RegistryClient(program.http) as client:
        await client.register(registration)
        await client.update_check("service:w1", "passing", "fine")
        await client.kv_put("k", b"v")
        index = (await client.health("web")).index
        await program.stop(signal.SIGKILL)
    env = {"REGISTRY_HTTP": "127.0.0.1:0", "REGISTRY_DATA": data}
    async with running(env=env) as program, RegistryClient(program.http) as client:
        answer = await client.health("web")
        assert [(one.id, one.status, one.node) for one in answer.instances] == [("w1", "passing", "one")]
        assert answer.index == index, "no watcher takes this for another registry"
        entry = await client.kv_get("k")
        assert entry is not None
        assert entry.value == b"v"
        await client.update_check("service:w1", "critical", "its TTL goes on")
        assert await program.stop() == 0


async def test_ephemeral_leaves_no_files(tmp_path: Path) -> None:
    async with (
        running(
            "--http", "127.0.0.1:0", "--ephemeral", env={"REGISTRY_DATA": str(tmp_path / "d")}
        ) as program,
        RegistryClient(program.http) as client,
    ):
        await client.kv_put("k", b"v")
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240


async def test_a_damaged_directory_is_reported_and_served(tmp_path: Path) -> None:
    journal = tmp_path / "journal-0.jsonl"
    journal.write_bytes(b"not a journal\n")
    async with running("--http", "127.0.0.1:0", "--data", str(tmp_path)) as program:
        async with RegistryClient(program.http) as client:
            assert await client.kv_put("k", b"v")
        await program.stop()
        assert program.process.stderr is not None
        said = (await program.process.stderr.read()).decode()
    assert "record 1 at byte 0" in said
    assert "journal-0.jsonl.bad" in said


async def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, out, err = await run("--http", address, "--ephemeral")
    assert (code, out) == (1, "")
    assert f"cannot listen on {address}" in err
    assert "Traceback" not in err


async def test_a_directory_in_use_is_one_clear_line(tmp_path: Path) -> None:
    async with running("--http", "127.0.0.1:0", "--data", str(tmp_path)):
        code, _, err = await run("--http", "127.0.0.1:0", "--data", str(tmp_path))
    assert code == 1
    assert "in use by another registry" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--http", "8500"),
        ("--http", "localhost:http"),
        ("--http", "127.0.0.1:70000"),
        ("--nothing",),
        ("--data", "x", "--ephemeral"),
    ],
)
async def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    code, out, err = await run(*arguments)
    assert (code, out) == (2, "")
    assert "usage: registry" in err


async def test_help_has_an_example() -> None:
    code, out, _ = await run("--help")
    assert code == 0
    assert "example:" in out
    for flag in ("REGISTRY_HTTP", "REGISTRY_DATA", "REGISTRY_EPHEMERAL", "REGISTRY_TOKEN"):
        assert flag in out


async def test_the_token_of_the_environment_guards() -> None:
    async with (
        running("--http", "127.0.0.1:0", "--ephemeral", env={"REGISTRY_TOKEN": "secret"}) as program,
        RegistryClient(program.http) as client,
    ):
        with pytest.raises(Exception, match="Permission denied"):
            await client.kv_put("k", b"v")
