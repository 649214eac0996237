"""What people and programs are told at the end and on the way."""

import asyncio
import json
import random

from loadgen.histogram import Histogram
from loadgen.report import P999_MIN_SAMPLES, SCHEMA, line, spread, status, summary, text
from loadgen.runner import Runner
from loadgen.target import parse_target
from tests.fakes.clock import FakeClock
from tests.loadgen.targets import closed_url, target_server


def test_p999_is_hidden_until_ten_samples_lie_beyond_it() -> None:
    """A number from one sample is no percentile."""
    histogram = Histogram()
    for _ in range(P999_MIN_SAMPLES - 1):
        histogram.record(1000)
    assert spread(histogram)["p999_ms"] is None
    histogram.record(1000)
    assert spread(histogram)["p999_ms"] == 1.0


def test_nothing_measured_is_null_and_still_json() -> None:
    """An idle generator's status has no NaN in it."""
    runner = Runner(parse_target("http://h/"), 0, clock=FakeClock(), rng=random.Random(1))
    document = status(runner)
    assert document["p50_ms"] is None
    assert document["window"]["rps"] == 0
    assert document["generator_ok"] is True
    json.dumps(document, allow_nan=False)
    assert "p50 -" in line(runner)


async def test_the_summary_tells_what_was_run_where_and_how_it_went() -> None:
    """The stable layout: every key that a reader relies on."""
    async with target_server() as server:
        loop = asyncio.get_running_loop()
        runner = Runner(parse_target(server.url), 100, warmup=0.1, clock=loop.time, rng=random.Random(1))
        loop.call_later(0.15, runner.set_rate, 200)
        await runner.run(duration=0.3)
    document = json.loads(json.dumps(summary(runner, seed=7, started_at=0.0, warmup=0.1), allow_nan=False))
    assert document["schema"] == SCHEMA
    assert set(document) == {"schema", "valid", "invalid_reason", "run", "machine", "result", "histograms"}
    run = document["run"]
    assert (run["seed"], run["warmup_s"], run["keep_alive"]) == (7, 0.1, True)
    assert run["started"] == "1970-01-01T00:00:00.000+00:00"
    assert [change["rate"] for change in run["schedule"]] == [100, 200]
    assert run["limits"] == {"timeout": 10.0, "max_in_flight": 1000, "trace_sample": 1.0}
    assert document["machine"]["cpus"] >= 1
    assert set(document["machine"]["versions"]) == {"local-mesh", "uvloop", "httptools", "aiohttp"}
    result = document["result"]
    assert result["unfinished"] == 0
    assert result["measured"] < result["completed"] == result["planned"]  # the warm-up is left out
    assert result["latency"]["all"]["n"] == result["measured"]
    assert sum(n for _, n in document["histograms"]["ok"]["buckets"]) == result["measured"]
    words = text(document)
    assert f"sent {result['sent']}" in words
    assert "keep-alive" in words


async def test_a_run_that_was_not_the_plan_is_labelled_invalid() -> None:
    """The file and the text say so, and why."""
    async with target_server() as server:
        server.mode = "hang"
        loop = asyncio.get_running_loop()
        runner = Runner(parse_target(server.url), 200, clock=loop.time, rng=random.Random(1))
        object.__setattr__(runner.limits, "max_in_flight", 5)
        await runner.run(duration=0.2, drain=0.0)
    document = summary(runner, seed=1, started_at=0.0, warmup=0.0)
    assert document["valid"] is False
    assert "in_flight_cap" in document["invalid_reason"]
    assert "INVALID" in text(document)
    assert "GENERATOR LATE" in line(runner)


async def test_errors_stand_in_the_text() -> None:
    """By reason and number."""
    loop = asyncio.get_running_loop()
    runner = Runner(parse_target(closed_url()), 100, clock=loop.time, rng=random.Random(1))
    await runner.run(duration=0.1)
    assert "errors: refused 10" in text(summary(runner, seed=1, started_at=0.0, warmup=0.0))
