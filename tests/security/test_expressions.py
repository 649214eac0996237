"""The running programs against expressions and documents that were made to stop them.

What hangs fails by the limit of a request, which is generous: the expressions here take minutes to years in
an engine that backtracks.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from registry.client import RegistryClient
from tests.registry.programs import running as running_registry
from tests.security.mutate import CORPUS

HEADER = "a" * 40 + "!"
"""Thirty bytes of it were enough."""

LIMIT = aiohttp.ClientTimeout(total=20)
HOSTS = {"kind": "VirtualService", "apiVersion": "networking.istio.io/v1", "metadata": {"name": "app"}}
ROUTE = {"route": [{"destination": {"host": "app"}}]}
EVIL = r"^([a-z0-9]+[._-]?)+@example$"


def service(*blocks: dict[str, Any]) -> dict[str, Any]:
    """The rules of the service `app`."""
    return {**HOSTS, "spec": {"hosts": ["app"], "http": list(blocks)}}


@asynccontextmanager
async def running_sidecar(*arguments: str) -> AsyncIterator[dict[str, str]]:
    """`python -m sidecar`; its addresses."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar", "--outbound", "127.0.0.1:0", "--admin", "127.0.0.1:0", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        yield {name: f"http://{address}" for name, address in json.loads(line).items()}
        assert process.returncode is None, "it ended"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
async def app() -> AsyncIterator[str]:
    """An app that answers with the path it was asked for; HOST:PORT."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=request.path_qs)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield "{}:{}".format(*runner.addresses[0])
    await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=LIMIT) as session:
        yield session


async def ask(http: aiohttp.ClientSession, base: str, path: str = "/", **headers: str) -> tuple[int, str]:
    async with http.get(f"{base}{path}", headers={"Host": "app", **headers}) as answer:
        return answer.status, await answer.text()


async def test_a_header_does_not_stop_a_sidecar(
    http: aiohttp.ClientSession, app: str, tmp_path: Path
) -> None:
    """Nor a path, a query or an origin; the next request is answered, and the match means what it says."""
    users = {"match": [{"headers": {"x-user": {"regex": EVIL}}}], "directResponse": {"status": 203}}
    others = [
        {"match": [{"uri": {"regex": "/(([a-z]+-?)+)+Z"}}], **ROUTE},
        {"match": [{"queryParams": {"q": {"regex": "(a|a)*b"}}}], **ROUTE},
        {
            "match": [{"uri": {"prefix": "/old/"}}],
            "rewrite": {"uriRegexRewrite": {"match": "^/old/(([a-z]+-?)+)+Z", "rewrite": r"/new/\1"}},
            **ROUTE,
        },
        {**ROUTE, "corsPolicy": {"allowOrigins": [{"regex": "https://(([a-z]+-?)+)+Z"}]}},
    ]
    file = tmp_path / "policy.yaml"
    file.write_text(json.dumps(service(users, *others)))
    arguments = ("--name", "in-1", "--upstream", f"app={app}", "--policy", str(file))
    async with running_sidecar(*arguments) as listening:
        base = listening["outbound"]
        for headers in (
            {"x-user": HEADER},
            {"x-user": "a" * 7000 + "!"},
            {"origin": "https://" + "a" * 7000},
        ):
            assert await ask(http, base, **headers) == (200, "/")
        for path in ("/" + "a" * 7000, "/?q=" + "a" * 7000, "/old/" + "a" * 7000):
            assert await ask(http, base, path) == (200, path)
        assert (await ask(http, base, **{"x-user": "ann.b-c@example"}))[0] == 203


async def test_a_path_with_too_many_places_to_rewrite_is_refused(
    http: aiohttp.ClientSession, app: str, tmp_path: Path
) -> None:
    rewrite = {"uriRegexRewrite": {"match": "a.*b|a", "rewrite": "c"}}
    file = tmp_path / "policy.yaml"
    file.write_text(json.dumps(service({**ROUTE, "rewrite": rewrite})))
    arguments = ("--name", "in-1", "--upstream", f"app={app}", "--policy", str(file))
    async with running_sidecar(*arguments) as listening:
        assert (await ask(http, listening["outbound"], "/" + "a" * 15_000))[0] == 414
        assert await ask(http, listening["outbound"], "/aXa?a") == (200, "/cXc?a")


async def test_a_filter_does_not_stop_the_registry(http: aiohttp.ClientSession) -> None:
    """Nor a prepared query, an event, or a duration; the next question is answered at once."""
    async with running_registry("--http", "127.0.0.1:0", "--ephemeral") as program:
        base = f"http://{program.http}/v1"

        async def say(method: str, path: str, body: object = None, **query: str) -> int:
            async with http.request(method, f"{base}/{path}", json=body, params=query) as answer:
                await answer.read()
                return answer.status

        assert await say("PUT", "agent/service/register", {"ID": "a" * 100, "Name": "a" * 100}) == 200
        for text in (r"^(([a-f0-9]+-?)+)+Z$", "(a+)+b", "(a|a)*b"):
            assert await say("GET", "agent/services", filter=f"ID matches `{text}`") == 200
            assert await say("PUT", "event/fire/x", node=text, service=text) == 200
        query = {
            "Name": "a",
            "Service": {"Service": "${match(1)}"},
            "Template": {"Type": "name_prefix_match", "Regexp": "^(a+)+b$"},
        }
        assert await say("POST", "query", query) == 200
        assert await say("GET", f"query/{'a' * 200}/execute") == 200
        check = {"Name": "x", "Check": {"TTL": "1" * 500_000}}
        assert await say("PUT", "agent/service/register", check) == 400
        assert await say("GET", "status/leader") == 200


BAD = [
    b"[" * 100_000,
    b'{"kind": NaN}',
    b'{"kind": ' + b"9" * 5000 + b"}",
    b"\xff\xfe",
    json.dumps(service({**ROUTE, "rewrite": {"uri": "/a\r\nx: y"}})).encode(),
    json.dumps(service({**ROUTE, "match": [{"uri": {"regex": "(?u)x\ud800"}}]})).encode(),
    json.dumps(service({**ROUTE, "match": [{"uri": {"regex": "(?:\\pL{999})"}}]})).encode(),
    json.dumps(service({**ROUTE, "timeout": "9" * 400 + "s"})).encode(),
    json.dumps(service({"route": [{"destination": {"host": "a\r\nb"}}]})).encode(),
    json.dumps({**CORPUS[0], "spec": 1e400}).encode(),
]


async def until(http: aiohttp.ClientSession, admin: str, wanted: str) -> dict[str, Any]:
    """The sidecar's policies once it says this of them."""
    async with asyncio.timeout(20):
        while True:
            async with http.get(f"{admin}/config_dump") as answer:
                policy: dict[str, Any] = (await answer.json())["policy"]
            if wanted in policy["problem"] and (wanted or not policy["problem"]):
                return policy
            await asyncio.sleep(0.02)


async def until_answered(http: aiohttp.ClientSession, base: str, status: int) -> None:
    async with asyncio.timeout(20):
        while (await ask(http, base))[0] != status:  # noqa: ASYNC110 - facts of another process
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("value", BAD, ids=range(len(BAD)))
async def test_a_document_of_the_registry_ends_no_sidecar(
    http: aiohttp.ClientSession, app: str, value: bytes
) -> None:
    """Neither one that runs nor one that starts: they serve, and say in one line what is wrong."""
    good = json.dumps(service({"directResponse": {"status": 203}})).encode()
    key = "mesh/policy/VirtualService/app"
    async with (
        running_registry("--http", "127.0.0.1:0", "--ephemeral") as program,
        RegistryClient(program.http) as client,
    ):
        arguments = ("--registry", f"http://{program.http}", "--upstream", f"app={app}")
        assert await client.kv_put(key, good)
        async with running_sidecar("--name", "runs-1", *arguments) as runs:
            await until_answered(http, runs["outbound"], 203)
            assert await client.kv_put("mesh/policy/VirtualService/other", value)
            one = await until(http, runs["admin"], "VirtualService/")
            assert (await ask(http, runs["outbound"]))[0] == 203  # the last good set
            async with running_sidecar("--name", "starts-1", *arguments) as starts:
                other = await until(http, starts["admin"], "VirtualService/")
                assert await ask(http, starts["outbound"]) == (200, "/")  # no set at all
                assert one["problem"] == other["problem"]
                assert one["problem"].isprintable()
                assert await client.kv_delete("mesh/policy/VirtualService/other")
                await until(http, starts["admin"], "")
                await until_answered(http, starts["outbound"], 203)


FILES = {
    "merges.yaml": "\n".join(
        ["a0: &a0 {k: 1}", *(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}" for i in range(1, 21))]
    ).encode(),
    "deep.yaml": b"kind: Fault\nspec: " + b"[" * 100_000,
    "bytes.yaml": b"kind: Fault\nspec: \xff\xfe",
    "digits.yaml": b"kind: Fault\nspec: " + b"9" * 5000,
    "sixty.yaml": b"kind: Fault\nspec: 1" + b":1" * 100_000,
    "date.yaml": b"kind: Fault\nmetadata: {name: 2020-13-45}",
    "constant.json": b'{"kind": "Fault", "spec": NaN}',
    "line.json": BAD[4],
    "regex.json": BAD[6],
    "rate.json": json.dumps(
        {**CORPUS[0], "metadata": {"name": "x", "annotations": {"mesh/rate-limit": "{total: {rate: 1e999}}"}}}
    ).encode(),
}


async def mesh(*words: str, stdin: bytes = b"") -> tuple[int, str, str]:
    """`mesh WORDS…`: (exit code, output, errors)."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mesh", *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(stdin), 50)
    return process.returncode or 0, out.decode(), err.decode()


def named(lines: Sequence[str], name: str) -> list[str]:
    return [line for line in lines if name in line]


async def test_a_folder_of_such_files_is_refused_line_by_line(tmp_path: Path) -> None:
    """`mesh validate`: each file by its name, and no traceback; and each by itself."""
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    code, out, err = await mesh("validate", str(tmp_path))
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert "Traceback" not in err
    # what cannot be read as text is told before anything is looked at
    assert named(lines, "bytes.yaml"), err
    (tmp_path / "bytes.yaml").unlink()
    code, out, err = await mesh("validate", str(tmp_path))
    assert (code, out) == (2, f"0 taken, 0 with warnings, {len(FILES) - 1} refused\n")
    lines = err.splitlines()
    for name in FILES.keys() - {"bytes.yaml"}:
        assert named(lines, name), (name, err)
    assert all(line.isprintable() and len(line) < 1200 for line in lines)


@pytest.mark.parametrize("name", ["merges.yaml", "deep.yaml", "digits.yaml", "bytes.yaml"])
async def test_one_such_file_is_one_line(tmp_path: Path, name: str) -> None:
    """As a file, and through standard input."""
    file = tmp_path / name
    file.write_bytes(FILES[name])
    for words, stdin in ((("validate", str(file)), b""), (("apply", "-f", "-"), FILES[name])):
        code, out, err = await mesh(*words, stdin=stdin)
        # who counts the files has seen that they are policies; a text that cannot be read may be a topology
        assert (code, out.replace("0 taken, 0 with warnings, 1 refused\n", "")) == (2, "")
        assert err.count("\n") == 1, err


async def test_bytes_that_are_no_text_are_a_line_on_the_command_line(tmp_path: Path) -> None:
    for words in (("kill", "\udcff"), ("get", "vs/\udcff"), ("validate", "\udcff.yaml")):
        code, out, err = await mesh(*words)
        assert (code, out) == (2, "")
        assert err.endswith("is no UTF-8 text\n")
        assert err.count("\n") == 1
