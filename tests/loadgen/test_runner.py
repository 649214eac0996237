"""The runner on real sockets: open loop, honest counts, live changes, bounded ends."""

import asyncio
import random
from itertools import pairwise
from typing import Any

import pytest

from loadgen.patterns import parse_pattern
from loadgen.runner import Runner
from loadgen.settings import Limits, SettingError
from loadgen.target import parse_target
from loadgen.window import KEPT
from tests.loadgen.targets import closed_url, target_server


def runner_for(url: str, rate: float, pattern: str = "constant", **limits: Any) -> Runner:
    return Runner(
        parse_target(url),
        rate,
        parse_pattern(pattern),
        Limits(**limits),
        clock=asyncio.get_running_loop().time,
        rng=random.Random(1),
    )


def assert_adds_up(runner: Runner) -> None:
    """The invariants that hold for every run, however it went."""
    counts = runner.measurement.counts()
    assert counts.planned == counts.sent + counts.dropped
    assert counts.dropped == sum(counts.dropped_reasons.values())
    assert counts.sent == counts.completed + runner.unfinished
    assert counts.failed == sum(counts.errors.values())
    assert counts.ok == counts.response_ok.count
    assert counts.failed == counts.response_failed.count
    assert counts.lateness.count == counts.sent


async def test_a_run_sends_what_it_planned_over_few_connections() -> None:
    """200/s for half a second are 100 requests, all answered, nearly all on one connection."""
    async with target_server() as server:
        runner = runner_for(server.url, 200)
        await runner.run(duration=0.5)
        counts = runner.measurement.counts()
        assert (counts.planned, counts.ok, counts.failed, counts.dropped) == (100, 100, 0, 0)
        assert len(server.arrivals) == 100
        assert server.connections < 20
        assert counts.statuses == {200: 100}
        assert runner.in_flight == 0
        assert_adds_up(runner)


async def test_sends_are_spread_and_not_in_bursts() -> None:
    """At 200/s no two fifths of the gaps are far from 5 ms."""
    async with target_server() as server:
        runner = runner_for(server.url, 200)
        await runner.run(duration=0.5)
        gaps = sorted(b - a for a, b in pairwise(server.arrivals))
        assert gaps[len(gaps) // 5] > 0.002
        assert gaps[len(gaps) * 4 // 5] < 0.008


async def test_each_request_has_its_own_trace() -> None:
    """W3C traceparent: version, trace, span, flags; ids differ from request to request."""
    async with target_server() as server:
        runner = runner_for(server.url, 200, trace_sample=0.5)
        await runner.run(duration=0.5)
        traces = [head.rpartition(b"traceparent: ")[2].decode().split("-") for head in server.heads]
        assert {len(trace) for trace in traces} == {4}
        assert {(len(v), len(t), len(s)) for v, t, s, _ in traces} == {(2, 32, 16)}
        assert len({t for _, t, _, _ in traces}) == len({s for _, _, s, _ in traces}) == 100
        assert 20 < sum(flags == "01" for *_, flags in traces) < 80
        assert {flags for *_, flags in traces} == {"00", "01"}


async def test_a_live_change_of_rate_reaches_the_server() -> None:
    """Arrivals per time follow the knob, the counts go on.

    Expected numbers come from how long each rate was really in force, so that a busy machine changes nothing.
    """
    phases = [(50.0, 0.4), (400.0, 0.4), (0.0, 0.2), (100.0, 0.2)]
    async with target_server() as server:
        runner = runner_for(server.url, phases[0][0])
        loop = asyncio.get_running_loop()
        seen: list[tuple[float, int, int]] = []
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(runner.run())
            await asyncio.sleep(0)
            for rate, seconds in phases:
                runner.set_rate(rate)
                began, before = loop.time(), len(server.arrivals) + runner.in_flight
                await asyncio.sleep(seconds)
                seen.append((rate * (loop.time() - began), before, len(server.arrivals) + runner.in_flight))
            runner.stop()
        for expected, before, after in seen:
            assert after - before == pytest.approx(expected, rel=0.1, abs=3)
        assert runner.measurement.counts().planned == len(server.arrivals)
        assert [change.rate for change in runner.changes] == [rate for rate, _ in phases]
        assert_adds_up(runner)


async def test_setting_the_same_rate_changes_nothing() -> None:
    """PUT is idempotent: a slider that repeats itself does not touch the schedule."""
    runner = runner_for(closed_url(), 50)
    runner.set_rate(50)
    assert len(runner.changes) == 1


async def test_a_refused_change_leaves_all_as_it_was() -> None:
    """Rate and pattern are checked together."""
    runner = runner_for(closed_url(), 5000)
    with pytest.raises(SettingError):
        runner.set_pattern(parse_pattern("spike:factor=100"))
    with pytest.raises(SettingError):
        runner.set_rate(float("nan"))
    assert (runner.schedule.rate, str(runner.schedule.pattern)) == (5000, "constant")


async def test_a_stall_shows_from_the_intended_start() -> None:
    """The oracle on real sockets: S = 0.3 s in P = 1 s gives p95 >= 0.25 s and p99 >= 0.29 s.

    Requests that are due in the stall are sent in the stall: their service time shows it too, and none is
    missing.
    """
    async with target_server() as server:
        runner = runner_for(server.url, 200)
        server.frozen_until = asyncio.get_running_loop().time() + 0.3
        await runner.run(duration=1.0)
        counts = runner.measurement.counts()
        p50, p95, p99 = counts.response().percentiles((0.5, 0.95, 0.99))
        assert counts.ok == 200
        assert p95 is not None
        assert p95 >= 240_000
        assert p99 is not None
        assert p99 >= 280_000
        assert p50 is not None
        assert p50 < 100_000
        during = sum(t < server.frozen_until for t in server.arrivals)
        assert during == pytest.approx(60, abs=10)


async def test_a_late_generator_keeps_intended_times_and_lights_its_lamp() -> None:
    """A loop that is blocked for 0.2 s sends all it owes, says how late, and blames itself."""
    async with target_server() as server:
        runner = runner_for(server.url, 200)
        loop = asyncio.get_running_loop()

        def block() -> None:
            until = loop.time() + 0.2
            while loop.time() < until:
                pass

        loop.call_later(0.1, block)
        await runner.run(duration=0.5)
        counts = runner.measurement.counts()
        assert counts.ok == 100
        assert 150_000 < counts.lateness.max_us < 1_000_000
        assert counts.response_ok.max_us >= counts.lateness.max_us
        # from the send on the server was fast: the two clocks tell whose fault it was
        assert counts.service.percentile(0.9) < 100_000  # type: ignore[operator]
        lamp = runner.generator_lamp()
        assert not lamp.ok
        assert "lateness" in lamp.reason


async def test_the_cap_drops_and_says_so() -> None:
    """A server that hangs holds 10 requests; the others are counted as dropped and the lamp is red."""
    async with target_server() as server:
        server.mode = "hang"
        runner = runner_for(server.url, 200, max_in_flight=10, timeout=5.0)
        await runner.run(duration=0.3, drain=0.0)
        counts = runner.measurement.counts()
        assert counts.sent == 10
        assert counts.dropped_reasons == {"in_flight_cap": 50}
        assert runner.unfinished == 10
        assert "in_flight_cap 50" in runner.generator_lamp().reason
        assert_adds_up(runner)


async def test_timeouts_are_samples_and_errors() -> None:
    """A request without an answer is recorded with the time it waited."""
    async with target_server() as server:
        server.mode = "hang"
        runner = runner_for(server.url, 100, timeout=0.2)
        await runner.run(duration=0.2, drain=2.0)
        counts = runner.measurement.counts()
        assert counts.errors == {"timeout": 20}
        assert counts.response_failed.min_us is not None
        assert counts.response_failed.min_us >= 200_000
        assert counts.response_failed.max_us < 1_000_000
        assert len(runner.measurement.exemplars()) == 20
        assert_adds_up(runner)
        await asyncio.sleep(0.02)
        assert not server.open  # a timed-out connection is never used again


async def test_refused_connections_are_samples_and_errors() -> None:
    """Nobody listens: every request has failed, fast, and was counted."""
    runner = runner_for(closed_url(), 100)
    await runner.run(duration=0.2)
    assert runner.measurement.counts().errors == {"refused": 20}
    assert runner.measurement.counts().response_failed.count == 20
    assert_adds_up(runner)


@pytest.mark.parametrize(("mode", "reason"), [("reset", "reset"), ("close", "closed"), ("half", "truncated")])
async def test_broken_answers_are_counted_by_kind(mode: str, reason: str) -> None:
    """And the next request gets a new connection."""
    async with target_server() as server:
        server.mode = mode
        runner = runner_for(server.url, 100)
        await runner.run(duration=0.2)
        assert runner.measurement.counts().errors == {reason: 20}
        assert server.connections == 20
        assert_adds_up(runner)


async def test_statuses_from_400_are_failures() -> None:
    """2xx and 3xx are ok; each status is counted."""
    async with target_server() as server:
        runner = runner_for(server.url, 100)

        async def turn() -> None:
            for status in (301, 404, 503):
                await asyncio.sleep(0.1)
                server.answer = f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n".encode()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(turn())
            await runner.run(duration=0.4)
        counts = runner.measurement.counts()
        assert set(counts.statuses) == {200, 301, 404, 503}
        assert counts.ok == counts.statuses[200] + counts.statuses[301]
        assert counts.errors == {"http_404": counts.statuses[404], "http_503": counts.statuses[503]}
        assert_adds_up(runner)


async def test_a_server_that_closes_idle_connections_costs_no_request() -> None:
    """A connection that went away while idle is not used; the next request opens another."""
    async with target_server() as server:
        runner = runner_for(server.url, 100)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(runner.run())
            for _ in range(4):
                await asyncio.sleep(0.05)
                # no request may be on its way meanwhile: that one would rightly be a failure
                runner.set_rate(0)
                await asyncio.sleep(0.02)
                for peer in list(server.open):
                    peer.transport.close()
                await asyncio.sleep(0.02)
                runner.set_rate(200)
            runner.stop()
        counts = runner.measurement.counts()
        assert counts.failed == 0
        assert counts.ok == counts.planned == len(server.arrivals) > 20
        assert server.connections >= 4


async def test_requests_later_than_the_timeout_are_dropped_and_counted() -> None:
    """A generator that slept for long does not flood the server with what nobody waits for any more."""
    async with target_server() as server:
        runner = runner_for(server.url, 100, timeout=0.1)
        loop = asyncio.get_running_loop()

        def block() -> None:
            until = loop.time() + 0.4
            while loop.time() < until:
                pass

        loop.call_later(0.05, block)
        await runner.run(duration=0.6)
        counts = runner.measurement.counts()
        assert counts.planned == 60
        assert 20 < counts.dropped_reasons["too_late"] < 55
        assert len(server.arrivals) == counts.sent
        assert_adds_up(runner)


async def test_reset_starts_a_new_window_and_the_traffic_goes_on() -> None:
    """Counts begin at 0, the server notices nothing."""
    async with target_server() as server:
        runner = runner_for(server.url, 200)
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(runner.run())
            await asyncio.sleep(0.3)
            before = len(server.arrivals)
            runner.reset()
            assert runner.measurement.counts().planned == 0
            await asyncio.sleep(0.2)
            stopped = loop.time()
            runner.stop()
        # by the times that really passed: the loop of a busy machine reaches each of these lines late
        begun, planned = runner.measurement.begun, runner.measurement.counts().planned
        assert 200 * (stopped - begun) - 2 <= planned <= 200 * (runner.now - begun) + 2
        assert len(server.arrivals) - before >= planned
        assert_adds_up(runner)


async def test_stop_waits_for_answers_but_not_for_ever() -> None:
    """What has no end when the wait is over is told as unfinished."""
    async with target_server() as server:
        server.mode = "hang"
        runner = runner_for(server.url, 100, timeout=10.0)
        loop = asyncio.get_running_loop()
        loop.call_later(0.1, runner.stop)
        loop.call_later(0.2, runner.stop)  # in a hurry
        began = loop.time()
        await runner.run()
        assert 0.15 < loop.time() - began < 2
        assert runner.unfinished == pytest.approx(10, abs=2)
        assert_adds_up(runner)


async def test_what_was_due_before_the_end_is_sent_after_it() -> None:
    """A loop that is blocked over the end of the plan still owes what the plan said."""
    async with target_server() as server:
        runner = runner_for(server.url, 500)
        loop = asyncio.get_running_loop()

        def block() -> None:
            until = loop.time() + 0.3
            while loop.time() < until:
                pass

        loop.call_later(0.05, block)
        await runner.run(duration=0.3)
        counts = runner.measurement.counts()
        assert (counts.planned, counts.ok, len(server.arrivals)) == (150, 150, 150)


async def test_answers_that_come_in_the_drain_count() -> None:
    """The end of the plan is not the end of the measuring."""
    async with target_server() as server:
        server.frozen_until = asyncio.get_running_loop().time() + 0.4
        runner = runner_for(server.url, 100)
        await runner.run(duration=0.2, drain=2.0)
        assert runner.measurement.counts().ok == 20
        assert runner.unfinished == 0


async def test_a_mistake_of_ours_ends_the_run_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator that died must not look like one that idles."""
    runner = runner_for(closed_url(), 100)
    monkeypatch.setattr(runner, "_send", lambda intended: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await runner.run(duration=5.0)


async def test_cancelling_the_run_leaves_no_connection() -> None:
    """The task group owns all; nothing outlives it."""
    async with target_server() as server:
        server.mode = "hang"
        runner = runner_for(server.url, 100)
        task = asyncio.get_running_loop().create_task(runner.run())
        await asyncio.sleep(0.1)
        assert runner.in_flight >= 3
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.02)
        assert runner.in_flight == 0
        assert not server.open


async def test_poisson_arrivals_really_vary() -> None:
    """Exponential gaps reach the server: some bunch, some lie far apart."""
    async with target_server() as server:
        runner = runner_for(server.url, 200, "poisson")
        await runner.run(duration=0.5)
        gaps = sorted(b - a for a, b in pairwise(server.arrivals))
        assert gaps[len(gaps) // 5] < 0.003
        assert gaps[-1] > 0.012
        assert runner.measurement.window.last(KEPT, runner.now).tally.ok == len(server.arrivals)
