"""The self-test of the whole method: a server that stalls must show in the percentiles.

A server that freezes S seconds in every P, and is fast otherwise, delays every request intended during the
freeze to its end; so a share (S - x) / P of all requests takes longer than x, which means
quantile(p) >= S - (1 - p) * P.
"""

import random

import pytest

from loadgen.measurement import Measurement
from loadgen.patterns import parse_pattern
from loadgen.schedule import Schedule

SERVICE = 0.001


def frozen_until(t: float, stall: float, period: float) -> float:
    """When a server that freezes at the end of every period can work on something that comes at `t`."""
    phase = t % period
    return t if phase < period - stall else t - phase + period


def open_loop(text: str, rate: float, seconds: float, stall: float, period: float) -> Measurement:
    """The real schedule and the real accounting before one server with one queue, in virtual time."""
    schedule = Schedule(rate, parse_pattern(text), start=0.0, rng=random.Random(3))
    measurement = Measurement(0.0)
    free = 0.0
    while schedule.peek(seconds) is not None:
        intended = schedule.pop()
        tally = measurement.tally_for(intended)
        measurement.send(tally, intended, intended)
        free = frozen_until(max(intended, free), stall, period) + SERVICE
        measurement.complete(
            tally, free, intended=intended, sent=intended, status=200, error=None, trace_id="", sampled=False
        )
    return measurement


def closed_loop(workers: int, rate: float, seconds: float, stall: float, period: float) -> Measurement:
    """What must not be built: workers that wait for the answer before they send again."""
    measurement = Measurement(0.0)
    tally = measurement.tally_for(0.0)
    for worker in range(workers):
        at = worker / rate
        while at < seconds:
            done = frozen_until(at, stall, period) + SERVICE
            measurement.send(tally, at, at)
            measurement.complete(
                tally, done, intended=at, sent=at, status=200, error=None, trace_id="", sampled=False
            )
            at = max(done, at + workers / rate)
    return measurement


def bounds_hold(measurement: Measurement, stall: float, period: float) -> bool:
    found = measurement.counts().response().percentiles((0.95, 0.99))
    bounds = [stall - (1 - p) * period for p in (0.95, 0.99)]
    # one request's share of slack, because requests are not a continuum
    return all(us is not None and us / 1e6 >= bound * 0.99 for us, bound in zip(found, bounds, strict=True))


@pytest.mark.parametrize("text", ["constant", "poisson"])
@pytest.mark.parametrize(("stall", "period"), [(1.0, 10.0), (0.5, 5.0), (2.0, 30.0)])
def test_stalls_show_in_the_percentiles(text: str, stall: float, period: float) -> None:
    """S = 1 s in every 10 s gives p95 >= 0.5 s and p99 >= 0.9 s, and likewise for others."""
    measurement = open_loop(text, 100, 4 * period, stall, period)
    planned = measurement.counts().planned
    assert planned == pytest.approx(400 * period, rel=0.1)
    assert measurement.counts().completed == planned
    if text == "poisson":  # drawn arrivals meet the freeze a little more or less often
        found = measurement.counts().response().percentile(0.99)
        assert found is not None
        assert found / 1e6 >= (stall - 0.01 * period) * 0.9
    else:
        assert bounds_hold(measurement, stall, period)


def test_a_closed_loop_fails_the_same_bounds() -> None:
    """The oracle can fail: the classic generator reports milliseconds for the same server."""
    measurement = closed_loop(4, 100, 40.0, 1.0, 10.0)
    assert not bounds_hold(measurement, 1.0, 10.0)
    found = measurement.counts().response().percentile(0.99)
    assert found is not None
    assert found < 10_000


def test_the_bounds_are_sharp() -> None:
    """A stall of half the length does not pass for the whole one."""
    assert not bounds_hold(open_loop("constant", 100, 40.0, 0.5, 10.0), 1.0, 10.0)
