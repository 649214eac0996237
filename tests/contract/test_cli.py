"""Consul's own command line does the same against ours as against Consul."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.contract import servers
from tests.contract.http import Http
from tests.contract.servers import Running

TIMEOUT = 20.0


class Cli:
    """`consul COMMAND -http-addr=…`."""

    def __init__(self, binary: str, registry: Running) -> None:
        self.binary = binary
        self.address = f"-http-addr={registry.url}"
        # Nothing of the surroundings may point it elsewhere.
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("CONSUL_")}

    async def __call__(self, *words: str, stdin: bytes = b"", code: int = 0) -> str:
        """Run to the end; stdout. The address stands after the command's words, before its arguments."""
        async with self.started(*words) as process, asyncio.timeout(TIMEOUT):
            out, err = await process.communicate(stdin)
        assert process.returncode == code, (words, out, err)
        return out.decode()

    @asynccontextmanager
    async def started(self, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A command that runs until the block ends."""
        subcommands = {"catalog", "kv", "services", "intention"}
        depth = 2 if words[0] in subcommands else 1
        process = await asyncio.create_subprocess_exec(
            self.binary,
            *words[:depth],
            self.address,
            *words[depth:],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.env,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


@pytest.fixture
def cli(registry: Running) -> Cli:
    return Cli(servers.require_consul(), registry)


async def test_members(cli: Cli) -> None:
    lines = (await cli("members")).splitlines()
    assert lines[0].split()[:3] == ["Node", "Address", "Status"]
    assert lines[1].split()[0] == servers.NODE
    assert lines[1].split()[2:4] == ["alive", "server"]
    assert servers.NODE in await cli("members", "-detailed")


async def test_catalog(cli: Cli, http: Http, name: str) -> None:
    await http.put("agent/service/register", {"Name": name, "Tags": ["v1"], "Port": 80})
    await http.settled("catalog/services", lambda names: name in names)
    assert (await cli("catalog", "datacenters")).strip() == "dc1"
    assert name in (await cli("catalog", "services")).split()
    assert "v1" in await cli("catalog", "services", "-tags")
    assert servers.NODE in await cli("catalog", "nodes")
    assert servers.NODE in await cli("catalog", "nodes", f"-service={name}", "-detailed")
    assert servers.NODE in await cli("catalog", "nodes", "-filter", f'Node == "{servers.NODE}"')


async def test_kv(cli: Cli, name: str) -> None:
    assert "Success!" in await cli("kv", "put", f"{name}/a", "one")
    assert await cli("kv", "get", f"{name}/a") == "one\n"
    assert "Success!" in await cli("kv", "put", "-flags=42", f"{name}/b", "two")
    assert "42" in await cli("kv", "get", "-detailed", f"{name}/b")
    assert (await cli("kv", "get", "-recurse", f"{name}/")).split() == [f"{name}/a:one", f"{name}/b:two"]
    assert (await cli("kv", "get", "-keys", f"{name}/")).split() == [f"{name}/a", f"{name}/b"]
    assert "Did not write" in await cli_error(cli, "kv", "put", "-cas", "-modify-index=1", f"{name}/a", "x")
    exported = await cli("kv", "export", f"{name}/")
    assert [row["key"] for row in json.loads(exported)] == [f"{name}/a", f"{name}/b"]
    assert "Success!" in await cli("kv", "delete", "-recurse", f"{name}/")
    await cli("kv", "get", f"{name}/a", code=1)
    assert "Imported" in await cli("kv", "import", "-", stdin=exported.encode())
    assert await cli("kv", "get", f"{name}/b") == "two\n"


async def cli_error(cli: Cli, *words: str) -> str:
    """What a command that must fail says on stderr."""
    async with cli.started(*words) as process, asyncio.timeout(TIMEOUT):
        _, err = await process.communicate()
    assert process.returncode == 1, words
    return err.decode()


async def test_services_register_and_deregister(cli: Cli, http: Http, name: str) -> None:
    await cli("services", "register", f"-name={name}", "-port=80", "-tag=v1", "-meta=a=b")
    assert (await http.get(f"agent/service/{name}")).json["Meta"] == {"a": "b"}
    await cli("services", "deregister", f"-id={name}")
    assert (await http.get(f"agent/service/{name}")).status == 404


async def test_watch_prints_the_first_state_and_each_change(cli: Cli, http: Http, name: str) -> None:
    await http.put(f"kv/{name}", b"one")
    async with cli.started("watch", "-type=key", f"-key={name}", "cat; echo") as process:
        assert process.stdout is not None
        async with asyncio.timeout(TIMEOUT):
            first = json.loads(await process.stdout.readline())
            await http.put(f"kv/{name}", b"two")
            while True:
                line = (await process.stdout.readline()).strip()
                if line and (second := json.loads(line))["ModifyIndex"] > first["ModifyIndex"]:
                    break
    assert (first["Value"], second["Value"]) == ("b25l", "dHdv")


async def test_watch_of_a_service_sees_it_come(cli: Cli, http: Http, name: str) -> None:
    async with cli.started("watch", "-type=service", f"-service={name}", "cat; echo") as process:
        assert process.stdout is not None
        async with asyncio.timeout(TIMEOUT):
            assert json.loads(await process.stdout.readline()) == []
            await http.put("agent/service/register", {"Name": name, "Port": 80})
            while True:
                line = (await process.stdout.readline()).strip()
                if line and (found := json.loads(line)):
                    break
    assert found[0]["Service"]["Port"] == 80


async def test_watch_once_of_every_kind_it_has(cli: Cli, http: Http, name: str) -> None:
    await http.put(f"kv/{name}/k", b"v")
    await http.put(f"event/fire/{name}", b"x")
    await http.settled(f"event/list?name={name}", bool)
    for words, wanted in (
        (("-type=keyprefix", f"-prefix={name}/"), f"{name}/k"),
        (("-type=services",), "consul"),
        (("-type=nodes",), servers.NODE),
        (("-type=checks", "-state=passing"), "serfHealth"),
        (("-type=event", f"-name={name}"), name),
    ):
        assert wanted in await cli("watch", *words), words


async def test_lock_runs_one_at_a_time(cli: Cli, http: Http, name: str) -> None:
    """The second waits until the first is done; `lock` is sessions, acquire, watches and release."""
    # `exec`: the signal ends the shell alone, and a sleep left behind would hold our end of the pipe open.
    async with cli.started("lock", name, "echo got it; exec sleep 30") as first:
        assert first.stdout is not None
        async with asyncio.timeout(TIMEOUT):
            assert (await first.stdout.readline()).strip() == b"got it"
            async with cli.started("lock", name, "echo me too") as second:
                assert second.stdout is not None
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await second.stdout.readline()
                first.send_signal(signal.SIGINT)
                await first.wait()
                out, _ = await second.communicate()
    assert second.returncode == 0
    assert out.strip() == b"me too"
    left = await http.get(f"kv/{name}/?recurse")
    assert left.status == 404 or all("Session" not in row for row in left.json), "nothing stays locked"


async def test_event_maint_and_info(cli: Cli, http: Http, name: str) -> None:
    assert "Event ID:" in await cli("event", f"-name={name}", "payload")
    await http.put("agent/service/register", {"Name": name})
    await cli("maint", "-enable", f"-service={name}", "-reason=why")
    assert name in await cli("maint")
    await cli("maint", "-disable", f"-service={name}")
    assert name not in await cli("maint")
    assert "leader = true" in await cli("info")
