"""The same numbers for Prometheus, computed when they are scraped: nothing is paid per request."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from loadgen.histogram import Histogram
from loadgen.runner import Runner

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The text format that every scraper reads."""

BUCKETS_S = (
    *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 30.0, 60.0),
)
"""Upper bounds in seconds: from half a millisecond, where sidecars differ, to the longest time-outs."""


def exposition(runner: Runner) -> bytes:
    """The metrics page of this run in the text format; names begin with `loadgen_`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Numbers(runner))
    return generate_latest(registry)


class _Numbers(Collector):
    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def collect(self) -> Iterable[Metric]:
        runner = self._runner
        counts = runner.measurement.counts()
        yield _counter("loadgen_requests_planned", "Requests whose intended start has come.", counts.planned)
        yield _counter("loadgen_requests_sent", "Requests sent.", counts.sent)
        done = CounterMetricFamily("loadgen_requests_completed", "Requests that ended.", labels=["result"])
        done.add_metric(["ok"], counts.ok)
        done.add_metric(["failed"], counts.failed)
        yield done
        dropped = CounterMetricFamily(
            "loadgen_requests_dropped", "Planned requests that were not sent.", labels=["reason"]
        )
        for reason, n in sorted(counts.dropped_reasons.items()):
            dropped.add_metric([reason], n)
        yield dropped
        errors = CounterMetricFamily("loadgen_errors", "Failed requests by reason.", labels=["reason"])
        for reason, n in sorted(counts.errors.items()):
            errors.add_metric([reason], n)
        yield errors
        answers = CounterMetricFamily("loadgen_responses", "Answers by status.", labels=["status_code"])
        for status, n in sorted(counts.statuses.items()):
            answers.add_metric([str(status)], n)
        yield answers
        yield _gauge("loadgen_requests_in_flight", "Requests that wait for an answer.", runner.in_flight)
        yield _gauge("loadgen_rate", "Set rate in requests per second.", runner.schedule.rate)
        yield _gauge(
            "loadgen_rate_now",
            "Rate as the pattern shapes it now, in requests per second.",
            runner.schedule.rate_at(runner.now),
        )
        generator, system = runner.generator_lamp().ok, runner.system_lamp().ok
        yield _gauge("loadgen_generator_ok", "1 while the generator keeps its schedule.", float(generator))
        yield _gauge("loadgen_system_ok", "1 while the system keeps up with the load.", float(system))
        yield _gauge("loadgen_cpu_share", "CPU of the generator, in cores.", runner.cpu_share)
        response = HistogramMetricFamily(
            "loadgen_response_seconds", "Time from the intended start to the end.", labels=["result"]
        )
        _add(response, ["ok"], counts.response_ok)
        _add(response, ["failed"], counts.response_failed)
        yield response
        service = HistogramMetricFamily(
            "loadgen_service_seconds", "Time from the send to the end.", labels=[]
        )
        _add(service, [], counts.service)
        yield service
        lateness = HistogramMetricFamily(
            "loadgen_lateness_seconds", "Time from the intended start to the send.", labels=[]
        )
        _add(lateness, [], counts.lateness)
        yield lateness


def _counter(name: str, words: str, value: float) -> Metric:
    return CounterMetricFamily(name, words, value=value)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(name, words, value=value)


def _add(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    counts = histogram.at_most(round(bound * 1e6) for bound in BUCKETS_S)
    buckets: list[tuple[str, float]] = [(str(bound), n) for bound, n in zip(BUCKETS_S, counts, strict=True)]
    buckets.append(("+Inf", histogram.count))
    family.add_metric(labels, buckets, histogram.total_us / 1e6)
