"""The control API: reading, steering, and refusing nonsense with words."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from guard.token import Token
from loadgen.client import LoadClient, LoadRefused, LoadUnavailable
from loadgen.runner import Runner
from loadgen.server import MAX_BODY_BYTES, control_app
from loadgen.target import parse_target
from tests.loadgen.targets import closed_url, target_server

Api = TestClient[Any, Any]


@pytest.fixture
async def runner() -> Runner:
    loop = asyncio.get_running_loop()
    return Runner(parse_target(closed_url()), 50, clock=loop.time, rng=random.Random(1))


@pytest.fixture
async def api(runner: Runner) -> AsyncIterator[Api]:
    async with TestClient(TestServer(control_app(runner))) as client:
        yield client


async def test_rate_is_changed_live_and_idempotently(api: Api, runner: Runner) -> None:
    """PUT twice is PUT once."""
    for _ in range(2):
        answer = await api.put("/rate", json={"rate": 120})
        assert answer.status == 200
        assert await answer.json() == {"rate": 120.0, "pattern": "constant"}
    assert runner.schedule.rate == 120
    assert len(runner.changes) == 2


async def test_pattern_in_both_notations(api: Api, runner: Runner) -> None:
    """Name and settings, or one text."""
    answer = await api.put("/pattern", json={"pattern": "sine", "period": "10s", "amplitude": 0.8})
    assert (await answer.json())["pattern"] == "sine:amplitude=0.8,period=10"
    answer = await api.put("/pattern", json={"pattern": "step:levels=1/2,every=5s"})
    assert (await answer.json())["pattern"] == "step:levels=1/2,every=5"
    assert runner.schedule.pattern.shape.peak() == 2


async def test_both_at_once(api: Api, runner: Runner) -> None:
    """One after the other they would be out of range half-way; one alone is fine, too."""
    answer = await api.put("/load", json={"rate": 15, "pattern": "spike:factor=1000"})
    assert await answer.json() == {"rate": 15.0, "pattern": "spike:factor=1000,lasting=2,every=20"}
    answer = await api.put("/load", json={"rate": 400, "pattern": {"pattern": "sine", "period": "9s"}})
    assert (await answer.json())["pattern"] == "sine:amplitude=0.5,period=9"
    assert (await (await api.put("/load", json={"rate": 7})).json())["rate"] == 7
    assert (await (await api.put("/load", json={"pattern": "poisson"})).json())["pattern"] == "poisson"


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/rate", b"", "not JSON"),
        ("/rate", b"{", "not JSON"),
        ("/rate", b"\xff\xfe", "not JSON"),
        ("/rate", b"[" * 10_000, "not JSON"),
        ("/rate", b"5", "must be a JSON object"),
        ("/rate", b"{}", 'the body is {"rate"'),
        ("/rate", b'{"rate": 5, "x": 1}', 'the body is {"rate"'),
        ("/rate", b'{"rate": "5"}', "rate must be a number"),
        ("/rate", b'{"rate": null}', "rate must be a number"),
        ("/rate", b'{"rate": true}', "rate must be a number"),
        ("/rate", b'{"rate": NaN}', "between 0 and 20000"),
        ("/rate", b'{"rate": Infinity}', "between 0 and 20000"),
        ("/rate", b'{"rate": 1e999}', "between 0 and 20000"),
        ("/rate", b'{"rate": -1}', "between 0 and 20000"),
        ("/rate", b'{"rate": 1' + b"0" * 400 + b"}", "between 0 and 20000"),
        ("/rate", b'{"rate": 1' + b"0" * 5000 + b"}", "not JSON"),
        ("/pattern", b"{}", "a pattern is its name"),
        ("/pattern", b'{"pattern": 5}', "a pattern is its name"),
        ("/pattern", b'{"pattern": "zigzag"}', "no such pattern 'zigzag'"),
        ("/pattern", b'{"pattern": "sine", "perod": 5}', "no such setting 'perod'"),
        ("/pattern", b'{"pattern": "sine:period=5", "period": 5}', "not in both"),
        ("/pattern", b'{"pattern": "spike:factor=1000"}', "peaks at 50000"),
        ("/load", b"{}", 'the body is {"rate"'),
        ("/load", b'{"rate": 5, "patern": "sine"}', 'the body is {"rate"'),
        ("/load", b'{"rate": 5, "pattern": "zigzag"}', "no such pattern 'zigzag'"),
        ("/load", b'{"rate": -1, "pattern": "sine"}', "between 0 and 20000"),
        ("/load", b'{"rate": 500, "pattern": "spike:factor=1000"}', "peaks at 500000"),
        ("/load", b'{"rate": 5, "pattern": "' + b"s" * 5000 + b'"}', "a pattern is its name"),
    ],
)
async def test_bad_bodies_are_refused_in_one_sentence(
    api: Api, runner: Runner, path: str, body: bytes, words: str
) -> None:
    """400, JSON, and nothing has changed."""
    answer = await api.put(path, data=body)
    assert answer.status == 400
    document = await answer.json()
    assert set(document) == {"error"}
    assert words in document["error"]
    assert "\n" not in document["error"]
    assert (runner.schedule.rate, str(runner.schedule.pattern)) == (50, "constant")
    assert len(runner.changes) == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("POST", "/rate", 405), ("GET", "/reset", 405), ("DELETE", "/status", 405)],
)
async def test_wrong_paths_and_methods(api: Api, method: str, path: str, status: int) -> None:
    """JSON errors here, too."""
    answer = await api.request(method, path)
    assert answer.status == status
    assert "error" in await answer.json()


async def test_large_bodies_are_cut_off(api: Api) -> None:
    """413, not memory."""
    answer = await api.put("/rate", data=b" " * (MAX_BODY_BYTES + 1))
    assert answer.status == 413
    assert str(MAX_BODY_BYTES) in (await answer.json())["error"]


async def test_a_body_that_does_not_come_is_not_waited_for(
    api: Api, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """408, and nothing of it is done."""
    monkeypatch.setattr("loadgen.server.BODY_S", 0.1)

    async def half() -> AsyncIterator[bytes]:
        yield b'{"rate": 7'
        await asyncio.Event().wait()

    answer = await api.put("/rate", data=half())
    assert (answer.status, answer.headers["connection"]) == (408, "close")
    assert await answer.json() == {"error": "the body did not arrive within 0.1 s"}
    assert runner.schedule.rate == 50


async def test_pages_and_rebound_names_are_refused(api: Api, runner: Runner) -> None:
    """A foreign page can neither steer nor read."""
    answer = await api.post("/reset", headers={"origin": "http://evil.example"})
    assert answer.status == 403
    answer = await api.get("/status", headers={"host": "evil.example:9100"})
    assert answer.status == 403
    assert "evil.example" in (await answer.json())["error"]
    assert runner.measurement.resets == 0
    for host in ("localhost:1", "127.0.0.1", "[::1]:80"):
        assert (await api.get("/status", headers={"host": host})).status == 200


async def test_connect_is_refused_and_ends_the_connection(api: Api) -> None:
    """What comes behind it would run as a request of its own."""
    answer = await api.request("CONNECT", "/rate", json={"rate": 9})
    assert (answer.status, answer.headers["connection"]) == (405, "close")


async def test_with_a_token_changes_need_it_and_reading_does_not(runner: Runner) -> None:
    """As Authorization: Bearer; nothing of a refused request takes effect."""
    async with TestClient(TestServer(control_app(runner, Token("secret")))) as client:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer \xff"}):
            for method, path, body in (
                ("PUT", "/rate", {"rate": 7}),
                ("PUT", "/pattern", {"pattern": "poisson"}),
                ("POST", "/reset", None),
            ):
                answer = await client.request(method, path, json=body, headers=headers)
                assert answer.status == 401
                assert "token" in (await answer.json())["error"]
        assert runner.measurement.resets == 0
        assert runner.schedule.rate != 7
        for path in ("/status", "/metrics"):
            assert (await client.get(path)).status == 200
        right = {"authorization": "Bearer secret"}
        assert (await client.put("/rate", json={"rate": 7}, headers=right)).status == 200
        assert runner.schedule.rate == 7


async def test_status_metrics_and_client_tell_the_same_about_real_traffic() -> None:
    """One run, three ways to read it."""
    async with target_server() as server:
        loop = asyncio.get_running_loop()
        runner = Runner(parse_target(server.url), 200, clock=loop.time, rng=random.Random(1))
        async with TestClient(TestServer(control_app(runner))) as api, aiohttp.ClientSession() as session:
            client = LoadClient(str(api.make_url("")), session)
            await runner.run(duration=0.3)
            status = await client.status()
            metrics = await (await api.get("/metrics")).text()
    assert status["planned"] == status["sent"] == status["completed"] == status["ok"] == 60
    assert (status["failed"], status["dropped"], status["in_flight"]) == (0, 0, 0)
    assert status["statuses"] == {"200": 60}
    assert status["errors"] == {}
    assert 0 < status["service_p50_ms"] <= status["p50_ms"] <= status["p90_ms"] <= status["p99_ms"]
    assert status["p99_ms"] <= status["max_ms"]
    assert status["p999_ms"] is None
    assert status["window"]["p99_ms"] == status["p99_ms"]
    assert status["window"]["rps"] == pytest.approx(200, rel=0.1)
    assert status["last_second"]["ok"] == 60
    assert status["system_ok"] is True
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
    }
    assert samples["loadgen_requests_planned_total",] == 60
    assert samples["loadgen_requests_completed_total", "ok"] == 60
    assert samples["loadgen_requests_completed_total", "failed"] == 0
    assert samples["loadgen_responses_total", "200"] == 60
    assert samples["loadgen_response_seconds_count", "ok"] == 60
    assert samples["loadgen_response_seconds_bucket", "+Inf", "ok"] == 60
    assert samples["loadgen_response_seconds_bucket", "10.0", "ok"] == 60
    assert samples["loadgen_response_seconds_sum", "ok"] == pytest.approx(
        status["latency"]["ok"]["mean_ms"] * 60 / 1000, rel=0.01
    )
    assert samples["loadgen_rate",] == 200


async def test_the_client_steers(runner: Runner, api: Api) -> None:
    """Every call of LoadClient, and its errors."""
    async with aiohttp.ClientSession() as session:
        client = LoadClient(f"{api.host}:{api.port}", session)
        assert (await client.set_rate(7))["rate"] == 7
        assert (await client.set_pattern("poisson"))["pattern"] == "poisson"
        assert (await client.set_pattern({"pattern": "spike", "every": "9s"}))["pattern"].startswith("spike")
        assert (await client.reset())["rate"] == 7
        assert (await client.status())["resets"] == 1
        with pytest.raises(LoadRefused, match="between 0 and 20000") as refused:
            await client.set_rate(-1)
        assert refused.value.status == 400


async def test_the_client_tells_when_nobody_answers() -> None:
    """One type for every way of not answering."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(LoadUnavailable, match="load generator at http"):
            await LoadClient(closed_url(), session).status()
        async with target_server() as server:
            server.mode = "close"
            with pytest.raises(LoadUnavailable):
                await LoadClient(server.url, session).status()
            server.mode = "answer"  # it says "hello", which is not JSON
            with pytest.raises(LoadUnavailable):
                await LoadClient(server.url, session).status()
