"""The server's manners: limits, guards, headers, and clients that misbehave."""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

import registry.server
from guard import door
from registry.client import CheckDefinition, PermissionDenied, RegistryClient, ServiceRegistration
from registry.http import call as calls
from registry.http import connections
from registry.http.call import MAX_BODY
from registry.journal import JournalError
from registry.model import KVEntry
from registry.server import TOMBSTONE_TTL, Options, Server
from registry.store import Commit, Store
from registry.store.kv import delete_key, set_key
from tests.fakes.clock import FakeClock
from tests.fakes.registry import running_registry

TLS = Path(__file__).parent / "tls"


class Http:
    """Plain requests against one registry."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self.session = session
        self.base = f"http://{address}/v1"

    async def __call__(self, method: str, path: str, **options: Any) -> tuple[int, dict[str, str], bytes]:
        async with self.session.request(method, f"{self.base}/{path}", **options) as answer:
            return answer.status, dict(answer.headers), await answer.read()


@asynccontextmanager
async def _http(**options: Any) -> AsyncIterator[tuple[Http, Any]]:
    async with running_registry(**options) as server, aiohttp.ClientSession() as session:
        yield Http(session, server.address), server


async def test_a_value_of_512_kib_is_taken_and_one_byte_more_is_not() -> None:
    async with _http() as (http, _):
        status, _, body = await http("PUT", "kv/k", data=b"x" * MAX_BODY)
        assert (status, body) == (200, b"true")
        status, _, body = await http("PUT", "kv/k", data=b"x" * (MAX_BODY + 1))
        assert status == 413
        assert body.startswith(b"Request body(524289 bytes) too large, max size: 524288 bytes.")


async def test_a_body_of_unknown_length_is_cut_at_the_cap() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536

    async with _http() as (http, _):
        try:
            status, _, _ = await http("PUT", "kv/k", data=endless())
        except aiohttp.ClientError:
            status = 413  # cut while it was still sending, before it could read the answer
        assert status == 413
        assert (await http("GET", "kv/k"))[0] == 404


async def test_a_body_that_dribbles_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "BODY_TIMEOUT", 0.1)
    async with running_registry() as server:
        host, port = server.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"PUT /v1/kv/k HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\nabc")
        async with asyncio.timeout(2):
            answer = await reader.read()
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408")
        writer.close()
        assert server.store.state.kvs == {}


@pytest.mark.parametrize("sent", [b"", b"GET /v1/kv/k HT"])
@pytest.mark.parametrize("first", [True, False])
async def test_a_client_that_says_nothing_or_half_a_head_is_cut(
    sent: bytes, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the door by the head's time, behind an answer by the idle time."""
    if first:
        monkeypatch.setattr(door.Door.__init__, "__defaults__", (10, 0.2))
    else:
        monkeypatch.setattr(connections.Connections.__init__, "__kwdefaults__", {"idle_timeout": 0.2})
    async with running_registry() as server:
        host, port = server.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        if not first:
            writer.write(b"GET /v1/status/leader HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        async with asyncio.timeout(2):
            heard = await reader.read()
        assert heard.startswith((b"HTTP/1.1 408" if sent else b"") if first else b'"127.0.0.1:')
        writer.close()


async def test_connections_beyond_the_cap_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.server, "MAX_CONNECTIONS", 2)
    async with running_registry() as server:
        host, port = server.address.split(":")
        pairs = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
        async with asyncio.timeout(2):
            assert await _all_of(pairs[2][0]) == b""
        for reader, writer in pairs[:2]:
            writer.write(b"GET /v1/status/leader HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        for _, writer in pairs:
            writer.close()


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    """What came until the end, however that came."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def test_a_client_that_does_not_read_its_answer_is_cut() -> None:
    async with running_registry() as server:
        served = connections.Connections(server._handle, idle_timeout=5)
        big = b"x" * MAX_BODY
        with server.store.write() as write:
            for number in range(30):  # as much as one answer may hold
                write.put("kvs", f"k{number}", KVEntry(f"k{number}", big, modify_index=1))
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(served, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname(), limit=1024)
        writer.write(b"GET /v1/kv/?recurse HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await reader.readline()
        served.sweep(100.0)
        await asyncio.sleep(0.1)
        served.sweep(101.0)
        served.sweep(101.0 + connections.STALL_TIMEOUT - 0.1)
        assert len(served.connections) == 1
        served.sweep(101.0 + connections.STALL_TIMEOUT)
        async with asyncio.timeout(2):
            while served.connections:  # noqa: ASYNC110 - aiohttp tells nobody
                await asyncio.sleep(0.01)
        writer.close()
        listener.close()


async def test_with_a_token_writes_need_it_and_reads_do_not() -> None:
    async with _http(token="secret") as (http, _):
        assert (await http("PUT", "kv/k", data=b"v"))[0::2] == (403, b"Permission denied")
        for options in (
            {"headers": {"X-Consul-Token": "secret"}},
            {"headers": {"Authorization": "Bearer secret"}},
            {"params": {"token": "secret"}},
        ):
            assert (await http("PUT", "kv/k", data=b"v", **options))[0] == 200
        for wrong in (
            {"X-Consul-Token": "secre"},
            {"Authorization": "Basic secret"},
            {"X-Consul-Token": "ß"},
        ):
            assert (await http("DELETE", "kv/k", headers=wrong))[0] == 403
        assert (await http("GET", "kv/k?raw"))[2] == b"v"


async def test_the_client_carries_its_token() -> None:
    async with running_registry(token="secret") as server:
        async with RegistryClient(server.address, token="secret") as client:
            assert await client.kv_put("k", b"v")
            await client.register(ServiceRegistration("w1", "web", checks=(CheckDefinition(ttl=5),)))
            await client.update_check("service:w1", "passing")
        async with RegistryClient(server.address, token="wrong") as client:
            with pytest.raises(PermissionDenied):
                await client.kv_put("k", b"v")
            with pytest.raises(PermissionDenied):
                await client.update_check("service:w1", "passing")
        word = ""
        async with RegistryClient(server.address, token=lambda: word) as client:
            with pytest.raises(PermissionDenied):
                await client.kv_put("k", b"v")
            word = "secret"  # it came later
            assert await client.kv_put("k", b"v")


async def test_the_client_speaks_tls_and_checks_the_certificate() -> None:
    """Through a TLS front, as in front of a real Consul."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(TLS / "localhost.pem", TLS / "localhost.key")
    async with running_registry() as server:
        host, port = server.address.split(":")

        async def front(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            behind_reader, behind_writer = await asyncio.open_connection(host, int(port))
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, behind_writer))
                group.create_task(_pump(behind_reader, writer))

        tls = await asyncio.start_server(front, "127.0.0.1", 0, ssl=serving)
        address = f"https://localhost:{tls.sockets[0].getsockname()[1]}"
        async with tls:
            trusting = ssl.create_default_context(cafile=str(TLS / "localhost.pem"))
            async with RegistryClient(address, ssl=trusting) as client:
                assert await client.kv_put("k", b"v")
                async for tree in client.watch_kv("k"):
                    assert tree[0].value == b"v"
                    break
            async with RegistryClient(address) as client:
                with pytest.raises(Exception, match="certificate"):
                    await client.kv_get("k")


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except OSError:
        pass
    finally:
        writer.close()


async def test_datacenter_and_namespace_are_passed_through() -> None:
    async with running_registry() as server:
        async with RegistryClient(server.address, datacenter="dc1") as client:
            assert await client.kv_put("k", b"v")
            assert (await client.health("consul")).instances
        async with RegistryClient(server.address, datacenter="elsewhere") as client:
            with pytest.raises(Exception, match="No path to datacenter"):
                await client.kv_get("k")
        async with RegistryClient(server.address, namespace="team") as client:
            with pytest.raises(Exception, match="Namespaces are a Consul Enterprise feature"):
                await client.kv_get("k")


async def test_unknown_paths_and_methods() -> None:
    async with _http() as (http, _):
        assert (await http("GET", "nothing"))[0] == 404
        status, headers, body = await http("POST", "kv/k")
        assert (status, body) == (405, b"method POST not allowed")
        assert headers["Allow"] == "DELETE,GET,OPTIONS,PUT"
        status, headers, _ = await http("OPTIONS", "agent/check/pass/x")
        assert (status, headers["Allow"]) == (200, "OPTIONS,PUT")
        status, _, body = await http("GET", "snapshot")
        assert status == 501
        assert b"embedded registry" in body


async def test_keys_keep_every_character() -> None:
    async with _http() as (http, server):
        for raw, key in (
            ("a%2Fb", "a/b"),
            ("a%20b", "a b"),
            ("a+b", "a+b"),
            ("%C3%BC", "ü"),
            ("a//b/", "a//b/"),
            ("a%3Fb", "a?b"),
        ):
            url = URL(f"{http.base}/kv/{raw}", encoded=True)
            async with http.session.put(url, data=b"v") as answer:
                assert await answer.read() == b"true"
            assert key in server.store.state.kvs, key
            async with RegistryClient(server.address) as client:
                entry = await client.kv_get(key)
                assert entry is not None, key
                assert await client.kv_delete(key)
                assert key not in server.store.state.kvs


async def test_every_read_carries_consuls_headers() -> None:
    async with _http() as (http, _):
        for path in ("health/service/x", "catalog/services", "catalog/nodes", "kv/x", "session/list"):
            _, headers, _ = await http("GET", path)
            assert int(headers["X-Consul-Index"]) >= 1, path
            assert headers["X-Consul-KnownLeader"] == "true"
            assert headers["X-Consul-LastContact"] == "0"
        for extra in ("stale", "consistent", "cached", "near=_agent"):
            assert (await http("GET", f"health/service/x?{extra}"))[0] == 200
        assert (await http("GET", "health/service/x?stale&consistent"))[0] == 400


async def test_sessions_and_tombstones_end_by_the_clock() -> None:
    clock = FakeClock()
    async with _http(clock=clock) as (http, server):
        _, _, body = await http("PUT", "session/create", json={"TTL": "10s"})
        assert b"ID" in body
        await http("PUT", "kv/k", data=b"v")
        with server.store.write() as write:
            delete_key(write, "k")
        clock.advance(19.9)
        server.tick()
        assert len(server.store.state.sessions) == 1
        clock.advance(0.2)
        server.tick()
        assert server.store.state.sessions == {}
        assert "k" in server.store.state.tombstones
        clock.advance(TOMBSTONE_TTL)
        server.tick()
        assert server.store.state.tombstones == {}


async def test_a_full_disk_ends_neither_the_registry_nor_an_expiry() -> None:
    """Writes fail while it lasts and say why; what was due meanwhile happens afterwards."""
    full = False

    def keep(commit: Commit) -> None:
        if full:
            raise JournalError("the write could not be kept: No space left on device", status=500)

    clock = FakeClock()
    async with _http(clock=clock, store=Store(keep=keep)) as (http, server):
        check = {"TTL": "5s", "Status": "passing"}
        await http("PUT", "agent/service/register", json={"Name": "web", "Check": check})
        await http("PUT", "session/create", json={"TTL": "10s"})
        full = True
        assert (await http("PUT", "kv/k", data=b"v"))[0::2] == (
            500,
            b"the write could not be kept: No space left on device",
        )
        clock.advance(30)
        await asyncio.sleep(0.25)
        assert (await http("GET", "kv/k"))[0] == 404
        assert server.store.state.checks["testnode", "service:web"].status == "passing"
        full = False
        clock.advance(30)
        server.tick()
        assert server.store.state.checks["testnode", "service:web"].status == "critical"
        assert server.store.state.sessions == {}


async def test_only_so_many_deleted_keys_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.server.MAX_TOMBSTONES", 10)
    async with running_registry() as server:
        for number in range(30):
            with server.store.write() as write:
                set_key(write, f"k{number}", b"v", 0)
            with server.store.write() as write:
                delete_key(write, f"k{number}")
        server.tick()
        assert sorted(server.store.state.tombstones) == [f"k{number}" for number in range(20, 30)]


async def test_a_client_that_asks_before_it_sends_is_told_to_go_on() -> None:
    """curl with a large body."""
    async with running_registry() as server:
        host, port = server.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"PUT /v1/kv/k HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
        async with asyncio.timeout(2):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"abc")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        assert server.store.state.kvs["k"].value == b"abc"


async def test_an_ipv6_address_is_written_so_that_it_can_be_used() -> None:
    try:
        running = await stack_with_ipv6()
    except OSError as bad:
        pytest.skip(f"no IPv6 loopback here: {bad}")
    assert running.startswith("[::1]:")


async def stack_with_ipv6() -> str:
    """Serve on ::1 for a moment and use the address as it is printed."""
    server = Server(Options(host="::1", port=0), clock=asyncio.get_running_loop().time, rng=random.Random(1))
    async with server.running(), RegistryClient(server.address) as client:
        assert await client.kv_put("k", b"v")
        return server.address


async def test_a_session_that_a_check_ended_is_no_trouble_when_its_time_comes() -> None:
    clock = FakeClock()
    async with _http(clock=clock) as (http, server):
        await http("PUT", "agent/check/register", json={"Name": "c", "TTL": "1h", "Status": "passing"})
        await http("PUT", "session/create", json={"TTL": "10s", "Checks": ["c"]})
        await http("PUT", "agent/check/fail/c")
        assert server.store.state.sessions == {}
        clock.advance(60)
        server.tick()


async def test_a_raw_value_cannot_act_as_a_page_of_ours() -> None:
    async with _http() as (http, _):
        await http("PUT", "kv/k", data=b"<script>alert(1)</script>")
        _, headers, body = await http("GET", "kv/k?raw")
        assert body == b"<script>alert(1)</script>"
        assert headers["Content-Type"].startswith("text/plain")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"] == "sandbox"


async def test_a_stop_answers_who_waits() -> None:
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        async with running_registry() as server:
            http = Http(session, server.address)
            waiting = group.create_task(http("GET", f"kv/k?index={server.store.state.index + 10}&wait=5m"))
            while not len(server.watchers):  # noqa: ASYNC110 - the server counts them, it tells nobody
                await asyncio.sleep(0.01)
        async with asyncio.timeout(1):
            assert (await waiting)[0] == 404


async def test_names_of_other_sites_are_not_ours_to_answer_for_writes() -> None:
    """A page in a browser cannot PUT to 127.0.0.1 without asking first, and we never agree."""
    async with _http() as (http, _):
        status, headers, _ = await http(
            "OPTIONS",
            "kv/k",
            headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "PUT"},
        )
        assert status == 403
        assert "Access-Control-Allow-Origin" not in headers
