"""What a run tells people and programs: the status document, the line per second, the final summary."""

import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from loadgen.histogram import Histogram
from loadgen.lamps import generator_lamp
from loadgen.runner import Runner
from loadgen.tally import Tally
from loadgen.window import KEPT, View

SCHEMA = "loadgen/1"
"""Name of the summary's layout; fields may be added under it, none renamed or removed."""

P999_MIN_SAMPLES = 10_000
"""Below this, fewer than 10 samples lie beyond the p99.9, and it says nothing."""

_QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)

Document = dict[str, Any]


def status(runner: Runner) -> Document:
    """The numbers of the run so far, flat, as `GET /status` gives them; times in ms, unknown ones null."""
    now = runner.now
    measurement = runner.measurement
    counts = measurement.counts()
    measured = measurement.measured()
    generator, system = runner.generator_lamp(), runner.system_lamp()
    return {
        "target": runner.target.url,
        "rate": runner.schedule.rate,
        "rate_now": round(runner.schedule.rate_at(now), 3),
        "pattern": str(runner.schedule.pattern),
        **_counts(counts),
        "in_flight": runner.in_flight,
        "elapsed_s": round(now - measurement.begun, 3),
        "warming": measurement.warming(now),
        "resets": measurement.resets,
        **_latencies(measured),
        "latency": {
            "all": spread(measured.response()),
            "ok": spread(measured.response_ok),
            "failed": spread(measured.response_failed),
            "service": spread(measured.service),
            "lateness": spread(measured.lateness),
        },
        "window": _view(measurement.window.last(KEPT, now)),
        "last_second": _view(measurement.window.last(1, now)),
        "errors": dict(sorted(counts.errors.items())),
        "dropped_reasons": dict(sorted(counts.dropped_reasons.items())),
        "statuses": {str(code): n for code, n in sorted(counts.statuses.items())},
        "generator_ok": generator.ok,
        "generator_reason": generator.reason,
        "system_ok": system.ok,
        "system_reason": system.reason,
        "cpu_share": round(runner.cpu_share, 3),
        "exemplars": [
            {
                "trace_id": e.trace_id,
                "intended": round(e.intended, 6),
                "ms": round(e.ms, 3),
                "status": e.status,
                "error": e.error,
                "sampled": e.sampled,
            }
            for e in measurement.exemplars()
        ],
    }


def summary(runner: Runner, *, seed: int, started_at: float, warmup: float) -> Document:
    """The whole run as one stable document: what was run, where, and what came out; `valid` judges it."""
    measured = runner.measurement.measured()
    verdict = generator_lamp(measured)
    return {
        "schema": SCHEMA,
        "valid": verdict.ok,
        "invalid_reason": verdict.reason,
        "run": {
            "target": runner.target.url,
            "started": datetime.fromtimestamp(started_at, UTC).isoformat(timespec="milliseconds"),
            "duration_s": round(runner.now - runner.started, 3),
            "warmup_s": warmup,
            "seed": seed,
            "schedule": [
                {"at_s": round(c.at_s, 3), "rate": c.rate, "pattern": c.pattern} for c in runner.changes
            ],
            "keep_alive": True,
            "limits": asdict(runner.limits),
        },
        "machine": {
            "cpus": cpu_count(),
            "platform": platform.platform(),
            "python": platform.python_version(),
            "versions": {name: _version(name) for name in ("local-mesh", "uvloop", "httptools", "aiohttp")},
        },
        "result": {**status(runner), "unfinished": runner.unfinished, "measured": measured.completed},
        # enough to merge runs and to draw any percentile: [upper edge in us, count]
        "histograms": {
            name: {"overflow": h.overflow, "max_us": h.max_us, "buckets": list(h.buckets())}
            for name, h in (
                ("ok", measured.response_ok),
                ("failed", measured.response_failed),
                ("service", measured.service),
                ("lateness", measured.lateness),
            )
        },
    }


def line(runner: Runner) -> str:
    """The last second in one line for a terminal or a log."""
    now = runner.now
    view = runner.measurement.window.last(1, now)
    counts = runner.measurement.counts()
    p50, p99 = view.tally.response().percentiles((0.5, 0.99))
    generator, system = runner.generator_lamp(), runner.system_lamp()
    words = [
        f"{now - runner.started:6.0f}s",
        f"rate {runner.schedule.rate_at(now):.4g}/s",
        f"done {view.per_second(view.tally.completed):.0f}/s",
        f"p50 {_words(p50)}",
        f"p99 {_words(p99)}",
        f"failed {counts.failed}",
        f"dropped {counts.dropped}",
        f"in flight {runner.in_flight}",
        "generator ok" if generator.ok else f"GENERATOR LATE: {generator.reason}",
        "system ok" if system.ok else f"SYSTEM SATURATED: {system.reason}",
    ]
    return "  ".join(words)


def text(document: Document) -> str:
    """The summary for people: a few lines."""
    result = document["result"]
    latency = result["latency"]
    lines = [
        f"{document['run']['target']}: {document['run']['duration_s']:g} s, keep-alive, "
        f"planned {result['planned']}, sent {result['sent']}, ok {result['ok']}, failed {result['failed']}, "
        f"dropped {result['dropped']}, unfinished {result['unfinished']}",
    ]
    for name, what in (
        ("all", "response time from the intended start"),
        ("service", "service time from the send"),
        ("lateness", "lateness of the generator"),
    ):
        numbers = latency[name]
        found = "  ".join(
            f"{key[:-3]} {numbers[key]:g}"
            for key in ("p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms")
            if numbers[key] is not None
        )
        lines.append(f"  {what}, ms: {found or 'nothing measured'}  (n {numbers['n']})")
    if result["errors"]:
        lines.append("  errors: " + ", ".join(f"{reason} {n}" for reason, n in result["errors"].items()))
    if not document["valid"]:
        lines.append(f"  INVALID: {document['invalid_reason']}")
    return "\n".join(lines)


def spread(histogram: Histogram) -> Document:
    """The percentiles of one histogram in ms, with the number of samples behind them."""
    found = histogram.percentiles(_QUANTILES)
    p50, p90, p95, p99, p999 = map(_ms, found)
    mean = histogram.mean_us()
    return {
        "n": histogram.count,
        "mean_ms": None if mean is None else round(mean / 1000, 3),
        "p50_ms": p50,
        "p90_ms": p90,
        "p95_ms": p95,
        "p99_ms": p99,
        "p999_ms": p999 if histogram.count >= P999_MIN_SAMPLES else None,
        "max_ms": _ms(histogram.max_us) if histogram.count else None,
        "overflow": histogram.overflow,
    }


def cpu_count() -> int:
    """CPUs that this process may use, which a container limits; where that is unknown, all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _counts(tally: Tally) -> Document:
    return {
        "planned": tally.planned,
        "sent": tally.sent,
        "completed": tally.completed,
        "ok": tally.ok,
        "failed": tally.failed,
        "dropped": tally.dropped,
        "error_rate": round(tally.failed / tally.completed, 6) if tally.completed else 0.0,
    }


def _latencies(tally: Tally) -> Document:
    response, service, lateness = spread(tally.response()), spread(tally.service), spread(tally.lateness)
    return {
        **{key: response[key] for key in ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms")},
        "service_p50_ms": service["p50_ms"],
        "service_p99_ms": service["p99_ms"],
        "lateness_p99_ms": lateness["p99_ms"],
    }


def _view(view: View) -> Document:
    return {
        "span_s": round(view.span_s, 3),
        "offered_rps": round(view.per_second(view.tally.planned), 3),
        "rps": round(view.per_second(view.tally.completed), 3),
        **_counts(view.tally),
        "errors": dict(sorted(view.tally.errors.items())),
        **_latencies(view.tally),
    }


def _ms(us: int | None) -> float | None:
    return None if us is None else round(us / 1000, 3)


def _words(us: int | None) -> str:
    return "-" if us is None else f"{us / 1000:.1f}ms"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
