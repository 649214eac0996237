"""The metrics page: every name, and histograms whose buckets hold what they say."""

import random

from prometheus_client.parser import text_string_to_metric_families

from loadgen.metrics import exposition
from loadgen.runner import Runner
from loadgen.tally import IN_FLIGHT_CAP
from loadgen.target import parse_target
from tests.fakes.clock import FakeClock


def test_buckets_reasons_and_lamps() -> None:
    """Known requests in, known numbers out."""
    clock = FakeClock()
    runner = Runner(parse_target("http://h/"), 5, clock=clock, rng=random.Random(1))
    tally = runner.measurement.tally_for(clock())
    for ms in (0.4, 4, 40, 400, 4000):
        tally.send(100)
        tally.complete(round(ms * 1000), round(ms * 500), 200, None)
    tally.send(100)
    tally.complete(9_000_000, 9_000_000, None, "timeout")
    tally.drop(IN_FLIGHT_CAP)
    samples = {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(exposition(runner).decode())
        for sample in family.samples
    }
    assert samples["loadgen_requests_planned_total",] == 7
    assert samples["loadgen_requests_sent_total",] == 6
    assert samples["loadgen_requests_dropped_total", IN_FLIGHT_CAP] == 1
    assert samples["loadgen_requests_completed_total", "ok"] == 5
    assert samples["loadgen_errors_total", "timeout"] == 1
    assert samples["loadgen_responses_total", "200"] == 5
    assert samples["loadgen_rate",] == samples["loadgen_rate_now",] == 5
    assert samples["loadgen_generator_ok",] == samples["loadgen_system_ok",] == 1
    for bound, n in (
        ("0.0005", 1),
        ("0.003", 1),
        ("0.005", 2),
        ("0.05", 3),
        ("0.5", 4),
        ("5.0", 5),
        ("+Inf", 5),
    ):
        assert samples["loadgen_response_seconds_bucket", bound, "ok"] == n
    assert samples["loadgen_response_seconds_bucket", "7.5", "failed"] == 0
    assert samples["loadgen_response_seconds_bucket", "10.0", "failed"] == 1
    assert samples["loadgen_service_seconds_bucket", "0.003"] == 2
    assert samples["loadgen_lateness_seconds_count",] == 6
