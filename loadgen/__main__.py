"""The `python -m loadgen` command: arguments in, a run, a summary out."""

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

from guard.door import TIMES, Door
from guard.token import Token, TokenError
from loadgen.duration import parse_duration
from loadgen.patterns import NAMES, Pattern, PatternError, parse_pattern
from loadgen.report import line, summary, text
from loadgen.runner import Runner
from loadgen.server import control_app
from loadgen.settings import MAX_IN_FLIGHT, MAX_RATE, Limits, SettingError, check_rate
from loadgen.target import METHODS, Target, TargetError, parse_target

log = logging.getLogger("loadgen")

DEFAULT_WARMUP = 5.0
"""Seconds left out of the latencies: connections open and caches fill; never over a quarter of the run."""
SPARE_DESCRIPTORS = 64
"""Files that are not sockets in flight: the loop, the control API, the report."""

EXAMPLE = """\
examples:
  python -m loadgen http://127.0.0.1:8080/ --rate 300 --duration 30s
  python -m loadgen http://127.0.0.1:8080/ --rate 100 --pattern sine:amplitude=0.8,period=1m --json run.json
  curl -X PUT -d '{"rate": 500}' http://127.0.0.1:9100/rate

patterns (numbers are multiples of the rate):
  constant | poisson | ramp:start=0,end=1,over=30s | step:levels=0.25/0.5/1,every=10s |
  sine:amplitude=0.5,period=30s | spike:factor=5,lasting=2s,every=20s; each with arrivals=poisson if wanted

Every flag can be given as an environment variable: LOADGEN_RATE for --rate, LOADGEN_URL for the URL.
exit codes: 0 done (also after SIGTERM), 1 the summary could not be written, 2 wrong usage"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the generator until its duration is over or a signal ends it; answers the exit code."""
    try:
        options = _parse(sys.argv[1:] if argv is None else argv, os.environ)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 2
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    _raise_descriptor_limit(options.limits.max_in_flight + SPARE_DESCRIPTORS)
    # what the imports made lives to the end; the collector need not walk through it in the middle of a run
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        return loop.run(_serve(options))


class _Options(argparse.Namespace):
    """The checked arguments."""

    target: Target
    rate: float
    pattern: Pattern
    duration: float | None
    http: tuple[str, int]
    token: Token
    json: str | None
    warmup: float
    limits: Limits
    seed: int
    report_every: float


async def _serve(options: _Options) -> int:
    wall_offset = time.time() - time.monotonic()
    runner = Runner(
        options.target,
        options.rate,
        options.pattern,
        options.limits,
        warmup=options.warmup,
        wall_offset=wall_offset,
        cpu_clock=time.process_time,
        trace_rng=random.Random(),
        clock=time.monotonic,
        rng=random.Random(options.seed),
    )
    host, port = options.http
    server = web.AppRunner(
        control_app(runner, options.token),
        access_log=None,
        shutdown_timeout=1.0,
        **TIMES,
    )
    await server.setup()
    door = Door(server.server)
    try:
        try:
            bound = await door.open(host, port)
        except OSError as error:
            log.error("--http %s: cannot listen: %s", _address(host, port), error.strerror or error)
            return 2
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, runner.stop)
        print(json.dumps({"http": _address(bound[0], bound[1])}), flush=True)
        async with asyncio.TaskGroup() as tasks:
            reporting = tasks.create_task(_report(runner, options.report_every), name="report")
            await runner.run(duration=options.duration, drain=options.limits.timeout)
            reporting.cancel()
    finally:
        door.close()
        await server.cleanup()
    document = summary(
        runner, seed=options.seed, started_at=runner.started + wall_offset, warmup=options.warmup
    )
    print(text(document), file=sys.stderr, flush=True)
    return _write(document, options.json)


async def _report(runner: Runner, every: float) -> None:
    while every > 0:
        await asyncio.sleep(every)
        print(line(runner), file=sys.stderr, flush=True)


def _write(document: Mapping[str, Any], where: str | None) -> int:
    if where is None:
        return 0
    whole = json.dumps(document, indent=1, allow_nan=False) + "\n"
    if where == "-":
        sys.stdout.write(whole)
        sys.stdout.flush()
        return 0
    path = Path(where)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # beside it and then renamed: who reads the file finds it whole or not at all
        with aside.open("x") as file:  # never through a link that somebody put there
            file.write(whole)
        aside.replace(path)
    except OSError as error:
        log.error("cannot write the summary to %s: %s", where, error.strerror or error)
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        return 1
    return 0


def _parse(argv: Sequence[str], env: Mapping[str, str]) -> _Options:
    parser = argparse.ArgumentParser(
        prog="python -m loadgen",
        description="Open-loop HTTP load: requests start by the schedule, whatever the answers do.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def flag(
        name: str, words: str, *, default: str | None = None, convert: Callable[[str], Any] = str
    ) -> None:
        variable = "LOADGEN_" + name.strip("-").upper().replace("-", "_")
        shown = f" (default {default})" if default is not None else ""
        parser.add_argument(
            name, type=_typed(convert), default=env.get(variable, default), metavar="X", help=words + shown
        )

    parser.add_argument(
        "url", nargs="?", default=env.get("LOADGEN_URL"), metavar="URL", help="what to request"
    )
    flag("--rate", f"requests per second, 0 to {MAX_RATE:g}; 0 idles", default="10", convert=float)
    flag("--pattern", f"shape of the rate: {', '.join(NAMES)}", default="constant", convert=parse_pattern)
    flag("--duration", "stop after this time, as in 30s or 2m; without it, run until told", convert=_positive)
    flag("--http", "HOST:PORT of the control API", default="127.0.0.1:0", convert=_host_port)
    flag(
        "--token-file",
        "holds the token of --http (0600; it may appear or change later): with one, changes need it as "
        "Authorization: Bearer, and other machines for all but /metrics; or LOADGEN_TOKEN",
    )
    flag("--json", "write the summary to this file at the end; - is stdout")
    flag(
        "--warmup",
        "leave this time out of the latencies (default 5s, a quarter of a short run)",
        convert=parse_duration,
    )
    flag("--timeout", "a request without an answer by then has failed", default="10s", convert=parse_duration)
    flag(
        "--max-in-flight",
        f"requests waiting at once, to {MAX_IN_FLIGHT}; more are dropped",
        default="1000",
        convert=int,
    )
    flag("--method", f"one of {', '.join(METHODS)}; there is no body", default="GET", convert=str.upper)
    flag(
        "--trace-sample",
        "share of requests whose traceparent says sampled, 0 to 1",
        default="1",
        convert=float,
    )
    flag("--seed", "seed of the random gaps; chosen and reported when not given", convert=int)
    flag(
        "--report-every",
        "seconds between report lines on stderr; 0 for none",
        default="1s",
        convert=parse_duration,
    )
    parser.add_argument(
        "--header", action="append", default=[], metavar="'Name: value'", help="may be repeated"
    )
    raw = parser.parse_args(argv)
    headers = raw.header or [h for h in env.get("LOADGEN_HEADER", "").split("\n") if h.strip()]
    options = _Options()
    try:
        if not raw.url:
            raise TargetError("URL: say what to request, as in python -m loadgen http://127.0.0.1:8080/")
        options.target = parse_target(raw.url, method=raw.method, headers=headers)
        options.pattern = raw.pattern
        options.rate = check_rate(raw.rate, raw.pattern)
        options.limits = Limits(raw.timeout, raw.max_in_flight, raw.trace_sample)
        options.duration = raw.duration
        options.warmup = _warmup(raw.warmup, raw.duration)
        if raw.json not in (None, "-") and not Path(raw.json).absolute().parent.is_dir():
            raise SettingError(f"--json {raw.json}: there is no such directory; make it first")
        options.token = _token(env.get("LOADGEN_TOKEN", ""), raw.token_file)
    except (TargetError, SettingError) as error:
        parser.error(str(error))
    options.http = raw.http
    options.json = raw.json
    options.seed = raw.seed if raw.seed is not None else random.Random().getrandbits(32)
    options.report_every = raw.report_every
    return options


def _token(given: str, file: str | None) -> Token:
    try:
        token = Token(given, None if file is None else Path(file), log.warning)
        token.check()
    except TokenError as error:
        raise SettingError(f"{'LOADGEN_TOKEN' if given else '--token-file'}: {error}") from error
    return token


def _warmup(asked: float | None, duration: float | None) -> float:
    if asked is None:
        return DEFAULT_WARMUP if duration is None else min(DEFAULT_WARMUP, duration / 4)
    if duration is not None and asked >= duration:
        raise SettingError(f"--warmup {asked:g}s leaves nothing of a run of {duration:g}s to measure")
    return asked


def _typed(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """Argparse shows its own words for ValueError; ours say what is wrong."""

    def converted(value: str) -> Any:
        try:
            return convert(value)
        except (PatternError, ValueError) as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return converted


def _positive(value: str) -> float:
    seconds = parse_duration(value)
    if seconds <= 0:
        raise ValueError("a duration must be longer than 0; leave it out to run until told")
    return seconds


def _host_port(value: str) -> tuple[str, int]:
    host, colon, port = value.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ValueError(f"{value!r} is not HOST:PORT, as in 127.0.0.1:9100; port 0 takes a free one")
    return host.strip("[]"), int(port)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _raise_descriptor_limit(wanted: int) -> None:
    try:
        import resource
    except ImportError:  # not a Unix
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    top = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it; then EMFILE is counted
        resource.setrlimit(resource.RLIMIT_NOFILE, (top, hard))


if __name__ == "__main__":
    sys.exit(main())
