"""Who may not use the control API, and that nothing changed; the OpenAPI document is the routes."""

import asyncio
import io
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from mesh.control.app import MAX_BODY_BYTES, control_app
from mesh.control.hub import Hub
from mesh.control.openapi import document
from mesh.control.policy_desks import make_desks
from mesh.policies import PolicyStore
from mesh.ports import LOOPBACK, Ports
from mesh.traces import TraceStore
from tests.fakes.clock import FakeClock
from tests.fakes.registry import running_registry
from tests.mesh.control.test_control import SERVICES, FakeOperator
from tests.mesh.control.test_hub import GRAPH, FakeDriver

TOKEN, SPANS = "a-long-secret", "good-for-spans"
ROUTES: dict[int, set[tuple[str, str]]] = {}  # by the port of the application
Served = tuple[aiohttp.ClientSession, FakeOperator, Hub, int]


def routes_of(app: web.Application) -> set[tuple[str, str]]:
    return {
        (route.method.lower(), route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }


async def serve(
    tmp_path: Path, token: str | None, make: type[FakeOperator] = FakeOperator
) -> AsyncIterator[Served]:
    log = tmp_path / "a.log"
    log.write_text("line\n")
    operator, ports, traces = make(log), Ports(), TraceStore()
    port = ports.free()
    driver, clock = FakeDriver(), FakeClock()
    async with aiohttp.ClientSession() as unused, running_registry() as registry:
        hub = Hub(driver, traces, GRAPH, unused, clock, random.Random(1))
        store = PolicyStore(f"http://{registry.address}", (), clock)
        desks = make_desks(store, driver, unused, clock, hub.journal.add)
        app = control_app(
            operator, traces, port, hub, desks, hosts=[f"mesh.test:{port}"], token=token, spans=SPANS
        )
        ROUTES[port] = routes_of(app)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        ports.hand_over(port)
        await web.TCPSite(runner, LOOPBACK, port, reuse_address=True).start()
        async with aiohttp.ClientSession(
            f"http://127.0.0.1:{port}", cookie_jar=aiohttp.CookieJar(unsafe=True)
        ) as session:
            yield session, operator, hub, port
        await runner.cleanup()
        ports.close()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async for one in serve(tmp_path, None):
        yield one


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Served]:
    async for one in serve(tmp_path, TOKEN):
        yield one


async def test_connect_is_refused_and_ends_the_connection(served: Served) -> None:
    """What comes behind it would run as a request of its own."""
    session, operator, _, _ = served
    async with session.request("CONNECT", "/api/shutdown", json={}) as answer:
        assert (answer.status, answer.headers["connection"]) == (405, "close")
    assert operator.asked == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:80"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    ],
)
async def test_a_page_from_elsewhere_changes_nothing(served: Served, headers: dict[str, str]) -> None:
    """Refused with words, not done, not written down as done."""
    session, operator, hub, _ = served
    for method, path in (
        ("POST", "/api/instances/a-1/kill"),
        ("PUT", "/api/load"),
        ("POST", "/api/shutdown"),
        ("PUT", "/api/services/a"),
        ("DELETE", "/api/services/a"),
        ("PUT", "/api/calls/a/b"),
        ("DELETE", "/api/calls/a/b"),
        ("PUT", "/api/policies"),
        ("DELETE", "/api/policies/VirtualService/a"),
        ("POST", "/api/faults"),
        ("DELETE", "/api/faults"),
    ):
        async with session.request(method, path, headers=headers, json={"rate": 9}) as answer:
            assert answer.status == 403
            assert "control API" in (await answer.json())["error"]
    assert operator.asked == []
    assert operator.draft().text == SERVICES
    assert hub.journal.since() == []


async def test_the_same_name_by_another_scheme_or_port_is_elsewhere(served: Served) -> None:
    """An origin is all three; the Host of a request is compared without case."""
    session, operator, _, port = served
    for origin in (f"https://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}", "http://127.0.0.1"):
        async with session.post("/api/instances/a-1/kill", headers={"Origin": origin}) as answer:
            assert answer.status == 403, origin
    assert operator.asked == []
    named = {"Host": f"LocalHost:{port}", "Origin": f"http://LOCALHOST:{port}"}
    async with session.post("/api/instances/a-1/kill", headers=named) as answer:
        assert answer.status == 200


async def test_a_link_from_elsewhere_opens_the_page_but_reads_nothing(served: Served) -> None:
    """To navigate is allowed; to fetch is not."""
    session, *_ = served
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    async with session.get("/", headers=link) as answer:
        assert answer.status == 200
    for frame in ("iframe", "embed", "object"):
        async with session.get("/", headers={**link, "Sec-Fetch-Dest": frame}) as answer:
            assert answer.status == 403
    for path in ("/api/status", "/api/stream", "/api/events"):
        async with session.get(path, headers={"Sec-Fetch-Site": "cross-site"}) as answer:
            assert answer.status == 403


async def test_without_the_token_nothing_is_given(guarded: Served) -> None:
    """By no route; a wrong one is as good as none, and it is a header or nothing."""
    session, operator, _, port = guarded
    routes = {route for route in ROUTES[port] if route[1] not in ("/", "/page")}
    assert len(routes) > 30
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Cookie": f"mesh_token={TOKEN}"},
        {"Authorization": f"Bearer {SPANS}"},
        {"Authorization": "Bearer ß"},
    ):
        for method, path in routes:
            if (path, headers.get("Authorization")) == ("/v1/traces", f"Bearer {SPANS}"):
                continue
            url = re.sub(r"{\w+}", "a", path)
            async with session.request(method, f"{url}?token={TOKEN}", headers=headers) as answer:
                assert answer.status == 401, (method, path, headers)
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert "mesh token" in (await answer.json())["error"]
    assert operator.asked == []


async def test_a_token_that_is_no_text_is_wrong_and_no_fault(
    guarded: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """It is compared as bytes."""
    _, _, _, port = guarded
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    head = f"GET /api/status HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\nConnection: close\r\n"
    writer.write(head.encode() + b"Authorization: Bearer \xff\xfe\x80\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert caplog.records == []


async def test_the_page_is_for_everybody_and_gives_no_cookie(guarded: Served) -> None:
    """It holds no secret; what it then asks for needs the token."""
    session, *_ = guarded
    for path in ("/", "/page/js/main.js", f"/?token={TOKEN}"):
        async with session.get(path, allow_redirects=False) as answer:
            assert answer.status == 200
            assert "Set-Cookie" not in answer.headers
            assert TOKEN not in await answer.text()
    async with session.post("/") as answer:
        assert answer.status == 401


async def test_the_token_is_a_header(guarded: Served) -> None:
    """Whatever name of the listener is called; and nothing is left behind for the next request."""
    session, operator, _, port = guarded
    bearer = {"Authorization": f"Bearer {TOKEN}", "Host": f"mesh.test:{port}"}
    async with session.post("/api/instances/a-1/kill", headers=bearer) as answer:
        assert answer.status == 200
        assert "Set-Cookie" not in answer.headers
    assert len(operator.asked) == 1
    async with session.get("/api/status") as answer:
        assert answer.status == 401


async def test_who_sends_spans_may_do_that_only(guarded: Served) -> None:
    """Their token is in the environment of every service."""
    session, operator, *_ = guarded
    senders = {"Authorization": f"Bearer {SPANS}"}
    async with session.post("/v1/traces", headers=senders) as answer:
        assert answer.status == 415, "it is asked for spans"
    for path in ("/v1/traces/", "/v1/traces/../../api/shutdown", "/api/shutdown"):
        async with session.post(URL(path, encoded=True), headers=senders) as answer:
            assert answer.status == 401
    assert operator.asked == []


async def test_the_page_may_load_nothing_from_elsewhere(served: Served) -> None:
    """The policy forbids inline script and other origins, and the page needs neither."""
    session, *_ = served
    async with session.get("/") as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in answer.headers
        html = await answer.text()
    assert re.findall(r"<script(?![^>]*\bsrc=)", html) == []
    assert re.findall(r"\son\w+=|\sstyle=", html) == []
    for path in re.findall(r'(?:src|href)="([^"]+)"', html):
        assert path.startswith("/page/")
        async with session.get(path) as answer:
            assert answer.status == 200, path


@pytest.mark.parametrize(
    "path", ["/page/../control/app.py", "/page/%2e%2e/control/app.py", "/page/", "/page/js"]
)
async def test_only_the_pages_own_files_are_served(served: Served, path: str) -> None:
    """No way out of its folder, no listing."""
    session, *_ = served
    async with session.get(path) as answer:
        assert answer.status in (403, 404)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"x" * (MAX_BODY_BYTES + 1), 413),
        (b"[" * 100_000, 400),
        (b'{"rate": "many"}', 400),
        (b'{"rate": true}', 400),
        (b'{"speed": 1}', 400),
        (b"{}", 400),
        (b"\xff\xfe", 400),
    ],
)
async def test_malformed_bodies_change_nothing(served: Served, body: bytes, status: int) -> None:
    """Words, and no change."""
    session, operator, hub, _ = served
    async with session.put("/api/load", data=io.BytesIO(body)) as answer:
        assert answer.status == status
        assert (await answer.json())["error"]
    assert operator.asked == []
    assert hub.journal.since() == []


@pytest.mark.parametrize("query", ["since=-1", "since=x", "since=" + "9" * 400])
async def test_malformed_questions_are_answered_with_words(served: Served, query: str) -> None:
    """400, not a traceback."""
    session, *_ = served
    async with session.get(f"/api/events?{query}") as answer:
        assert answer.status == 400
        assert "since" in (await answer.json())["error"]


async def test_actions_are_written_down(served: Served) -> None:
    """Who, what, to whom; a refused one as refused."""
    session, _, hub, _ = served
    async with session.post("/api/instances/a-1/kill?part=app", headers={"X-Mesh-Client": "page"}):
        pass
    async with session.post("/api/instances/busy-1/pause", headers={"X-Mesh-Client": "<b>"}):
        pass
    found: list[Any] = [(e["kind"], e["source"], e["action"], e["instance"]) for e in hub.journal.since()]
    assert found == [
        ("action", "page", "kill", "a-1"),
        ("action", "api", "pause", "busy-1"),
        ("refused", "api", "pause", "busy-1"),
    ]


async def test_the_openapi_document_is_the_routes(served: Served) -> None:
    """Every route of the API is described, and nothing else."""
    session, _, _, port = served
    routes = ROUTES[port]
    described = {(method, path) for path, methods in document()["paths"].items() for method in methods}
    assert {one for one in routes if one[1] not in ("/", "/page")} == described
    async with session.get("/api/openapi.json") as answer:
        assert (await answer.json())["openapi"] == "3.1.0"
